//! Chance as an argument.

/// The randomness of one decision, from one seed.
///
/// A decision needs several independent numbers (which origin, which endpoint, which of equals); they are drawn
/// from one seed by SplitMix64, so that the caller pays for one random number and a test can repeat a decision.
#[derive(Clone, Copy, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Chance from a random number.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, all values equally likely.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product is uniform up to one part in 2^64 / bound.
        u64::try_from((u128::from(self.draw()) * u128::from(bound)) >> 64).unwrap_or(0)
    }

    /// An index below `length`, 0 when `length` is 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }
}

//! How long to wait before the next try to reach a replica.

use std::time::Duration;

/// The longest pause before the first new try.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause at all.
const MOST: Duration = Duration::from_secs(5);

/// The pause after so many failures in a row, 1 or more: it doubles up to 5 s, and chance (0 to 1) takes up to half of
/// it away, so that proxies that lost a replica together do not come back together.
pub(crate) fn pause(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(MOST).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_a_tenth_of_a_second_to_five_seconds() {
        let millis = |failures, chance| pause(failures, chance).as_millis();
        let range = |failures| (millis(failures, 1.0), millis(failures, 0.0));
        let expected = [(100, 200), (200, 400), (400, 800), (800, 1_600), (1_600, 3_200), (2_500, 5_000)];
        assert_eq!([1, 2, 3, 4, 5, 6].map(range), expected);
        assert_eq!((range(0), range(u32::MAX)), ((100, 200), (2_500, 5_000)));
    }
}

//! Chance with a seed: `HEADGATE_SEED=N` repeats a run.

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A source of chance and the seed that repeats it. The seed is printed; the test runner shows it when a test fails.
pub fn chance() -> StdRng {
    let seed = match std::env::var("HEADGATE_SEED") {
        Ok(text) => text.parse().expect("HEADGATE_SEED is not a number"),
        Err(_) => rand::rng().random(),
    };
    println!("chance: repeat with HEADGATE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

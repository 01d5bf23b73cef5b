use std::{pin::pin, time::Duration};

use crate::binary;
use crate::clock::{self, Stopwatch};

/// How often a condition is looked at. Short, since some tests measure by it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Runs a test on its own runtime and fails it when it takes longer than `limit`.
pub fn within(limit: Duration, test: impl Future<Output = ()>) {
    // A second provider in the build would make rustls ask which one is meant; the first test to come says it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Building is not a part of any test's time.
    let _ = binary::path();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("failed to start a runtime for the test");
    runtime.block_on(async {
        let mut test = pin!(test);
        let outcome = tokio::time::timeout(limit, test.as_mut()).await;
        // The test's processes are dropped by this failure, and so know that they have to show their output.
        assert!(outcome.is_ok(), "the test took longer than {limit:?}");
    });
    runtime.shutdown_background();
}

/// Looks at a condition until it holds, and fails with what was seen last when it does not within `limit`.
pub async fn eventually<T>(limit: Duration, what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let outcome = try_eventually(limit, look).await;
    outcome.unwrap_or_else(|seen| panic!("not within {limit:?}: {what}; last seen: {seen}"))
}

/// Looks at a condition until it holds, and gives what was seen last when it does not within `limit`. For tests that
/// tell all that is wrong at once.
pub async fn try_eventually<T>(limit: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let watch = Stopwatch::start();
    loop {
        match look().await {
            Err(_) if watch.elapsed() < limit => clock::pass(LOOK_EVERY).await,
            outcome => return outcome,
        }
    }
}

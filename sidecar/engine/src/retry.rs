//! Which requests are sent again, and how many at most.
//!
//! A failed connect sent nothing: it costs neither attempts nor budget. What was sent is sent again only if that
//! changes nothing at the origin (GET, HEAD, OPTIONS without a body) and no byte of an answer has come. So that
//! retries never become a load of their own, those in flight stay at or below the larger of three and a share of
//! the requests in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use headgate_snapshot as wire;
use http::Method;

use crate::pool::PoolState;

/// Retries that are always possible, however little traffic there is.
const RETRIES_ALWAYS: u32 = 3;

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It may.
    Allowed,
    /// It might change something at the origin twice.
    Never,
}

/// Whether a request has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    Absent,
    /// One, or one of unknown length.
    Present,
}

impl Replay {
    /// GET, HEAD and OPTIONS without a body may be sent again.
    pub fn of(method: &Method, body: Body) -> Self {
        match (body, method) {
            (Body::Absent, &Method::GET | &Method::HEAD | &Method::OPTIONS) => Self::Allowed,
            (Body::Absent | Body::Present, _) => Self::Never,
        }
    }
}

/// The retries of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryRules {
    pub(crate) attempts: u32,
    budget_percent: u32,
}

impl RetryRules {
    /// Absent: the contract's default.
    pub(crate) fn compile(retry: Option<&wire::Retry>) -> Self {
        let wire::Retry { attempts, budget_percent } =
            retry.copied().unwrap_or(wire::Retry { attempts: 1, budget_percent: 20 });
        Self { attempts, budget_percent }
    }

    fn limit(self, requests: u32) -> u32 {
        let share = u64::from(requests) * u64::from(self.budget_percent) / 100;
        u32::try_from(share).unwrap_or(u32::MAX).max(RETRIES_ALWAYS)
    }
}

/// Requests and retries of a pool in flight.
#[derive(Debug, Default)]
pub(crate) struct Load {
    requests: AtomicU32,
    retries: AtomicU32,
}

impl Load {
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// A request in a pool, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestTicket(Arc<PoolState>);

impl RequestTicket {
    pub(crate) fn new(state: Arc<PoolState>) -> Self {
        state.load.requests.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for RequestTicket {
    fn drop(&mut self) {
        self.0.load.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that is being sent again, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct RetryTicket(Arc<PoolState>);

impl RetryTicket {
    /// Nothing where the budget is used up.
    pub(crate) fn take(state: &Arc<PoolState>, rules: RetryRules) -> Option<Self> {
        let limit = rules.limit(state.load.requests());
        let one_more = |retries: u32| (retries < limit).then_some(retries + 1);
        let taken = state.load.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self(state.clone()))
    }
}

impl Drop for RetryTicket {
    fn drop(&mut self) {
        self.0.load.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_changes_nothing_may_be_sent_again() {
        for (method, body, expected) in [
            (Method::GET, Body::Absent, Replay::Allowed),
            (Method::HEAD, Body::Absent, Replay::Allowed),
            (Method::OPTIONS, Body::Absent, Replay::Allowed),
            (Method::GET, Body::Present, Replay::Never),
            (Method::POST, Body::Absent, Replay::Never),
            (Method::PUT, Body::Absent, Replay::Never),
            (Method::DELETE, Body::Absent, Replay::Never),
        ] {
            assert_eq!(Replay::of(&method, body), expected, "{method} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_retry_begins_beyond_the_budget(
            budget_percent in 0u32..=100,
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let state = Arc::new(PoolState::default());
            let rules = RetryRules { attempts: 1, budget_percent };
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for (step, index) in steps {
                match step {
                    0 | 1 => requests.push(RequestTicket::new(state.clone())),
                    2 => {
                        // The model in whole numbers: a hundred times both sides.
                        let allowed = retries.len() < 3
                            || (retries.len() + 1) * 100 <= requests.len() * budget_percent as usize;
                        let ticket = RetryTicket::take(&state, rules);
                        prop_assert_eq!(ticket.is_some(), allowed);
                        retries.extend(ticket);
                    }
                    _ if retries.is_empty() => {}
                    _ => {
                        retries.swap_remove(index.index(retries.len()));
                    }
                }
                prop_assert_eq!(state.load.requests() as usize, requests.len());
            }
            drop(retries);
            prop_assert_eq!(state.load.retries.load(Ordering::Relaxed), 0);
        }
    }
}

//! `RateLimit` and `RateLimit-Policy`, as draft-ietf-httpapi-ratelimit-headers-11 has them: lists of strings with
//! parameters (RFC 9651). `q` is the quota, `w` its period in seconds, `r` what remains, `t` the seconds until there is
//! more of it.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};

use super::limit::RateLimit;
use super::terms::Figures;

/// What applies to a client.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is left of it.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Both headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The value of [`RATE_LIMIT_POLICY`].
    pub policy: HeaderValue,
    /// The value of [`RATE_LIMIT`].
    pub limit: HeaderValue,
}

/// One limit in both headers.
pub(crate) struct Item<'a> {
    name: &'a str,
    quota: u32,
    period_ms: u32,
    figures: Figures,
}

impl<'a> Item<'a> {
    pub(crate) fn new(limit: &'a RateLimit, variant: u8, figures: Figures) -> Self {
        let quota = limit.quota(variant);
        Self { name: &limit.key().name, quota: quota.limit, period_ms: quota.period, figures }
    }
}

impl Fields {
    /// Nothing where there is no limit.
    pub(crate) fn write<'a>(items: impl Iterator<Item = Item<'a>>) -> Option<Self> {
        let (mut policy, mut limit) = (String::new(), String::new());
        for Item { name, quota, period_ms, figures: Figures { remaining, reset_after } } in items {
            let comma = if policy.is_empty() { "" } else { ", " };
            let seconds = period_ms.div_ceil(1_000);
            // Names of objects have nothing that a string would need escaped. Writing to memory does not fail.
            let _ = write!(policy, "{comma}\"{name}\";q={quota};w={seconds}");
            let _ = write!(limit, "{comma}\"{name}\";r={remaining};t={}", reset_after.div_ceil(1_000));
        }
        let value = |text: String| HeaderValue::try_from(text).ok().filter(|value| !value.is_empty());
        Some(Self { policy: value(policy)?, limit: value(limit)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_in_the_form_of_the_draft() {
        let item = |name, quota, period_ms, remaining, reset_after| Item {
            name,
            quota,
            period_ms,
            figures: Figures { remaining, reset_after },
        };
        let of = |items: Vec<Item<'static>>| {
            Fields::write(items.into_iter()).map(|Fields { policy, limit }| (policy, limit))
        };
        let pair = |policy, limit| Some((HeaderValue::from_static(policy), HeaderValue::from_static(limit)));
        assert_eq!(of(Vec::new()), None);
        let burst = item("burst", 100, 60_000, 50, 29_001);
        assert_eq!(of(vec![burst]), pair("\"burst\";q=100;w=60", "\"burst\";r=50;t=30"));
        let two = vec![item("a", 10, 1_500, 0, 1), item("b", 5, 86_400_000, 5, 0)];
        assert_eq!(of(two), pair("\"a\";q=10;w=2, \"b\";q=5;w=86400", "\"a\";r=0;t=1, \"b\";r=5;t=0"));
    }
}

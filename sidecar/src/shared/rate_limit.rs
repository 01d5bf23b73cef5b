//! Limits on a server: what the engine's store in memory does, as scripts.

use std::sync::LazyLock;

use headgate_engine::{
    Algorithm, Counts, EpochMillis, Joined, KeyHash, LimitStore, Member, Shared, StoreError, Take, Taken, Totals,
};
use headgate_snapshot::Key;
use redis::Value;

use super::redis::{
    Called, Operation, RedisStore, array, from_hexadecimal, hexadecimal, integer, moment, number, unreadable,
};

static WINDOW: LazyLock<Operation> = LazyLock::new(|| Operation::new(include_str!("window.lua")));
static BUCKET: LazyLock<Operation> = LazyLock::new(|| Operation::new(include_str!("bucket.lua")));
static JOIN: LazyLock<Operation> = LazyLock::new(|| Operation::new(include_str!("join.lua")));

impl LimitStore for RedisStore {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Taken>, StoreError> {
        if takes.is_empty() {
            return Ok(Vec::new());
        }
        let calls: Vec<Called> = takes.iter().map(|take| self.called(take)).collect();
        let answers = self.call(&calls).await?;
        takes.iter().zip(&answers).map(|(take, answer)| read_taken(take, answer)).collect()
    }

    async fn join(&self, member: &Member) -> Result<Joined, StoreError> {
        let Member { group, proxy, secret, lives_for } = member;
        let call = Called {
            operation: &JOIN,
            keys: vec![format!("hg:{{/proxies}}:{group}"), "hg:{/proxies}:secret".to_owned()],
            arguments: vec![self.now(), hexadecimal(&proxy.to_be_bytes()), number(*lives_for), hexadecimal(secret)],
        };
        let answers = self.call(&[call]).await?;
        let answer = answers.first().and_then(array);
        let joined = answer.and_then(|answer| {
            let [proxies, secret, now] = answer else { return None };
            Some(Joined {
                proxies: u32::try_from(integer(proxies)?).ok()?,
                secret: from_hexadecimal(secret)?,
                now: EpochMillis(u64::try_from(integer(now)?).ok()?),
            })
        });
        joined.ok_or_else(|| unreadable(answers.first()))
    }
}

impl RedisStore {
    fn called(&self, take: &Take) -> Called {
        let Take { limit, hash, teller, totals, blocked_until, cost, quota } = take;
        let mut arguments = vec![
            self.now(),
            number(quota.period),
            number(quota.limit),
            number(quota.block_for),
            number(*cost),
            hexadecimal(&teller.proxy.to_be_bytes()),
            number(teller.memory),
        ];
        let operation: &'static Operation = match totals {
            Totals::Window { index, previous, current } => {
                arguments.extend([number(*index), number(*previous), number(*current)]);
                &WINDOW
            }
            Totals::Bucket { total, told, used } => {
                arguments.extend([number(*total), number(*told), used.to_string().into_bytes(), number(quota.burst)]);
                &BUCKET
            }
        };
        arguments.push(number(blocked_until.0));
        Called { operation, keys: vec![counter(limit, *hash)], arguments }
    }
}

/// The key of a counter. What is in braces chooses the slot.
fn counter(limit: &Key, hash: KeyHash) -> String {
    let Key { kind: _, namespace, name } = limit;
    format!("hg:{{{namespace}/{name}/{:016x}{:016x}}}", hash.high, hash.low)
}

fn read_taken(take: &Take, answer: &Value) -> Result<Taken, StoreError> {
    let numbers: Option<Vec<i64>> = array(answer).map(|values| values.iter().filter_map(integer).collect());
    let taken = numbers.and_then(|numbers| match take.algorithm() {
        Algorithm::SlidingWindow => {
            let [admitted, index, previous, current, own_previous, own_current, blocked, now] =
                <[i64; 8]>::try_from(numbers).ok()?;
            let count = |number: i64| u32::try_from(number).ok();
            let others = Counts { previous: count(previous)?, current: count(current)? };
            let own = Counts { previous: count(own_previous)?, current: count(own_current)? };
            let shared = Shared::Window { index: count(index)?, others, own };
            Some(Taken { admitted: admitted != 0, shared, blocked_until: moment(blocked)?, now: moment(now)? })
        }
        Algorithm::TokenBucket => {
            let [admitted, used, at, own, blocked, now] = <[i64; 6]>::try_from(numbers).ok()?;
            let shared = Shared::Bucket { used, at: moment(at)?, own: u64::try_from(own).ok()? };
            Some(Taken { admitted: admitted != 0, shared, blocked_until: moment(blocked)?, now: moment(now)? })
        }
    });
    taken.ok_or_else(|| unreadable(Some(answer)))
}

//! How complete the view of the world is, source by source.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use headgate_translate::{Dependency, Reference};

use crate::watch::{Absence, Source};
use crate::world::ObjectKind;

/// How long a kind must be missing or denied before the others go on without it. An API server that starts denies and
/// misses what it has not loaded yet.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long a kind that was never listed must be missing, without a break, before claims of hosts may end without it.
pub const MISSING_LIMIT: Duration = Duration::from_mins(10);

/// How long a kind that was never listed must be missing before nothing is taken to depend on it any more. An API server
/// that starts knows its kinds within a few seconds.
pub const INSTALLED_LIMIT: Duration = Duration::from_secs(30);

/// How long a publication waits for a Secret or ConfigMap that was not looked for before: always after the first
/// publication, and for the first one where it cannot be read.
pub const REFERENCE_LIMIT: Duration = Duration::from_secs(2);

/// What is known of one source.
#[derive(Clone, Debug)]
struct State {
    /// Since when it has been followed.
    asked: Instant,
    /// When its last complete listing began.
    listed: Option<Instant>,
    /// Why it has nothing to tell, the sentence for people, and since when.
    absent: Option<(Absence, String, Instant)>,
}

impl State {
    fn new(now: Instant) -> Self {
        Self { asked: now, listed: None, absent: None }
    }

    /// Whether the others go on without it.
    fn is_given_up(&self, now: Instant) -> bool {
        self.absent.as_ref().is_some_and(|(absence, _, since)| {
            *absence != Absence::Unreachable && now.saturating_duration_since(*since) >= PATIENCE
        })
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.listed.is_some() || self.is_given_up(now)
    }

    /// As [`State::is_given_up`], of a Secret or ConfigMap: one that cannot be read, for whatever reason, keeps nobody.
    fn is_given_up_alone(&self, now: Instant) -> bool {
        self.absent.as_ref().is_some_and(|(_, _, since)| now.saturating_duration_since(*since) >= REFERENCE_LIMIT)
    }
}

/// All sources.
#[derive(Debug)]
pub struct Sources {
    states: BTreeMap<Source, State>,
}

impl Sources {
    /// Sources of which none has told anything.
    pub fn new(sources: impl IntoIterator<Item = Source>, now: Instant) -> Self {
        Self { states: sources.into_iter().map(|source| (source, State::new(now))).collect() }
    }

    /// Whether something told by a source counts: it is still followed.
    pub fn follows(&self, source: &Source) -> bool {
        self.states.contains_key(source)
    }

    /// Follows exactly these Secrets and ConfigMaps. Returns those that are followed no longer.
    pub fn refer(&mut self, references: &BTreeSet<Reference>, now: Instant) -> Vec<Reference> {
        for reference in references {
            self.states.entry(Source::One(reference.clone())).or_insert_with(|| State::new(now));
        }
        let dropped: Vec<Reference> = self
            .states
            .keys()
            .filter_map(|source| match source {
                Source::One(reference) if !references.contains(reference) => Some(reference.clone()),
                Source::One(_) | Source::Kind(_) | Source::Claims => None,
            })
            .collect();
        for reference in &dropped {
            self.states.remove(&Source::One(reference.clone()));
        }
        dropped
    }

    /// A source has told everything that existed when its listing began.
    pub fn listed(&mut self, source: &Source, began: Instant) {
        if let Some(state) = self.states.get_mut(source) {
            state.listed = Some(began);
            state.absent = None;
        }
    }

    /// A source goes on where it had stopped.
    pub fn resumed(&mut self, source: &Source) {
        if let Some(state) = self.states.get_mut(source) {
            state.absent = None;
        }
    }

    /// A source has nothing to tell. Returns true where that is new.
    pub fn absent(&mut self, source: &Source, absence: Absence, message: String, now: Instant) -> bool {
        let Some(state) = self.states.get_mut(source) else { return false };
        let before = state.absent.as_ref().filter(|(known, _, _)| *known == absence);
        let since = before.map_or(now, |(_, _, since)| *since);
        let is_new = before.is_none();
        state.absent = Some((absence, message, since));
        is_new
    }

    /// Whether all kinds are known as far as they can be.
    pub fn are_settled(&self, now: Instant) -> bool {
        let of_kinds = self.states.iter().filter(|(source, _)| !matches!(source, Source::One(_)));
        of_kinds.into_iter().all(|(_, state)| state.is_settled(now))
    }

    /// Whether all Secrets and ConfigMaps are known as far as they can be, or have been waited for long enough.
    pub fn references_are_settled(&self, is_first: bool, now: Instant) -> bool {
        self.states.iter().all(|(source, state)| match source {
            Source::One(_) => {
                let is_late = now.saturating_duration_since(state.asked) >= REFERENCE_LIMIT;
                state.listed.is_some() || state.is_given_up_alone(now) || (is_late && !is_first)
            }
            Source::Kind(_) | Source::Claims => true,
        })
    }

    /// Whether everything that was followed at a moment has been listed since. Secrets and ConfigMaps that objects have
    /// come to refer to later are what an edit brings at any time.
    pub fn are_fresh(&self, since: Instant, now: Instant) -> bool {
        self.states.iter().all(|(source, state)| {
            let is_listed = state.listed.is_some_and(|began| began >= since);
            is_listed
                || match source {
                    Source::One(_) => state.asked > since || state.is_given_up_alone(now),
                    Source::Kind(_) | Source::Claims => state.is_given_up(now),
                }
        })
    }

    /// Whether every object of every installed kind is known. A kind that was never listed counts as not installed only
    /// once it has been missing for [`MISSING_LIMIT`]: until then routes of it may still be served.
    pub fn knows_all(&self, now: Instant) -> bool {
        self.states.iter().all(|(source, state)| {
            let is_missing = state.absent.as_ref().is_some_and(|(absence, _, since)| {
                *absence == Absence::Missing && now.saturating_duration_since(*since) >= MISSING_LIMIT
            });
            matches!(source, Source::One(_)) || state.listed.is_some() || is_missing
        })
    }

    /// The kinds of which nothing was ever listed.
    pub fn unknown(&self) -> BTreeSet<ObjectKind> {
        let unknown = self.states.iter().filter_map(|(source, state)| match source {
            Source::Kind(kind) if state.listed.is_none() => Some(*kind),
            Source::Kind(_) | Source::One(_) | Source::Claims => None,
        });
        unknown.collect()
    }

    /// What objects may depend on and nobody could read so far. A kind that has been missing for [`INSTALLED_LIMIT`] is not
    /// installed: nothing of it is there.
    pub fn unread(&self, now: Instant) -> BTreeSet<Dependency> {
        let is_installed = |state: &State| match &state.absent {
            Some((Absence::Missing, _, since)) => now.saturating_duration_since(*since) < INSTALLED_LIMIT,
            Some((Absence::Denied | Absence::Unreachable, _, _)) | None => true,
        };
        let unread = self.states.iter().filter(|(_, state)| state.listed.is_none() && is_installed(state));
        let dependency = |(source, state): (&Source, &State)| match source {
            Source::Kind(kind) => dependency(*kind),
            // One that may not be read is not there for us, and one that was asked for just now is waited for elsewhere.
            Source::One(reference) => {
                let is_unreachable = |(absence, _, _): &&(Absence, String, Instant)| *absence == Absence::Unreachable;
                state.absent.as_ref().filter(is_unreachable).map(|_| Dependency::One(reference.clone()))
            }
            Source::Claims => None,
        };
        unread.filter_map(dependency).collect()
    }

    /// Whether the claims that are kept are known.
    pub fn knows_claims(&self) -> bool {
        self.states.get(&Source::Claims).is_some_and(|state| state.listed.is_some())
    }

    /// What cannot be read, one sentence each.
    pub fn troubles(&self) -> Vec<String> {
        let sentences = self.states.iter().filter_map(|(source, state)| {
            let (absence, message, _) = state.absent.as_ref()?;
            Some(match absence {
                Absence::Missing => format!("{source}: the API server does not know the kind; install its CRD"),
                Absence::Denied => format!("{source}: not permitted; grant get, list and watch: {message}"),
                Absence::Unreachable => format!("{source}: {message}"),
            })
        });
        sentences.collect()
    }
}

/// What it is for others that a kind cannot be read.
fn dependency(kind: ObjectKind) -> Option<Dependency> {
    match kind {
        ObjectKind::OriginPool => Some(Dependency::OriginPools),
        ObjectKind::GatewayClass => Some(Dependency::GatewayClasses),
        ObjectKind::Gateway => Some(Dependency::Gateways),
        ObjectKind::ReferenceGrant => Some(Dependency::ReferenceGrants),
        ObjectKind::IngressClass => Some(Dependency::IngressClasses),
        ObjectKind::Service => Some(Dependency::Services),
        ObjectKind::EndpointSlice => Some(Dependency::EndpointSlices),
        ObjectKind::Namespace => Some(Dependency::Namespaces),
        ObjectKind::HttpRoute => Some(Dependency::HttpRoutes),
        ObjectKind::Ingress => Some(Dependency::Ingresses),
        // Nothing depends on a policy, and each of the others is a source of its own.
        ObjectKind::RateLimit | ObjectKind::WaitingRoom | ObjectKind::Secret | ObjectKind::ConfigMap => None,
    }
}

#[cfg(test)]
mod tests {
    use headgate_translate::{ObjectKey, ReferredKind};

    use super::*;

    const ROUTES: Source = Source::Kind(ObjectKind::HttpRoute);
    const POOLS: Source = Source::Kind(ObjectKind::OriginPool);

    fn second(start: Instant, count: u64) -> Instant {
        start + Duration::from_secs(count)
    }

    fn secret() -> Reference {
        Reference { kind: ReferredKind::Secret, key: ObjectKey::new("shop", "tls") }
    }

    #[test]
    fn nothing_goes_on_before_every_kind_is_listed_or_has_long_been_missing() {
        let start = crate::clock::instant();
        let mut sources = Sources::new([ROUTES, POOLS], start);
        sources.listed(&POOLS, start);
        assert!(!sources.are_settled(second(start, 60)));
        assert!(sources.absent(&ROUTES, Absence::Missing, String::new(), second(start, 1)));
        assert!(!sources.absent(&ROUTES, Absence::Missing, String::new(), second(start, 3)));
        assert_eq!([3, 4].map(|at| sources.are_settled(second(start, at))), [false, true]);
        assert_eq!(sources.unknown(), BTreeSet::from([ObjectKind::HttpRoute]));
        assert_eq!(sources.troubles(), ["HTTPRoute: the API server does not know the kind; install its CRD"]);
        assert_eq!([600, 601].map(|at| sources.knows_all(second(start, at))), [false, true]);
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_waited_for_at_the_start_and_changes_nothing_later() {
        let start = crate::clock::instant();
        let mut sources = Sources::new([POOLS], start);
        sources.absent(&POOLS, Absence::Unreachable, "refused".to_owned(), start);
        assert!(!sources.are_settled(second(start, 600)));
        sources.listed(&POOLS, second(start, 601));
        sources.absent(&POOLS, Absence::Unreachable, "refused".to_owned(), second(start, 602));
        assert!(sources.are_settled(second(start, 602)));
        sources.resumed(&POOLS);
        assert_eq!(sources.troubles(), Vec::<String>::new());
    }

    #[test]
    fn a_term_is_fresh_once_every_source_was_listed_since_it_began() {
        let start = crate::clock::instant();
        let mut sources = Sources::new([POOLS, ROUTES], start);
        sources.listed(&POOLS, start);
        sources.listed(&ROUTES, second(start, 5));
        assert!(!sources.are_fresh(second(start, 1), second(start, 9)));
        sources.listed(&POOLS, second(start, 6));
        assert!(sources.are_fresh(second(start, 1), second(start, 9)));
    }

    #[test]
    fn a_term_is_fresh_whatever_secrets_are_referred_to_after_it_began() {
        let start = crate::clock::instant();
        let mut sources = Sources::new([POOLS], start);
        sources.listed(&POOLS, second(start, 2));
        sources.refer(&BTreeSet::from([secret()]), second(start, 2));
        assert!(sources.are_fresh(second(start, 1), second(start, 2)));
        // Known when the next term begins, it counts, until it has long been out of reach.
        sources.listed(&POOLS, second(start, 3));
        sources.absent(&Source::One(secret()), Absence::Unreachable, String::new(), second(start, 4));
        assert_eq!([5, 6].map(|at| sources.are_fresh(second(start, 3), second(start, at))), [false, true]);
    }

    #[test]
    fn a_secret_that_cannot_be_read_keeps_no_first_publication() {
        for absence in [Absence::Missing, Absence::Denied, Absence::Unreachable] {
            let start = crate::clock::instant();
            let mut sources = Sources::new([POOLS], start);
            sources.refer(&BTreeSet::from([secret()]), start);
            sources.absent(&Source::One(secret()), absence, String::new(), second(start, 30));
            let settled = [31, 32].map(|at| sources.references_are_settled(true, second(start, at)));
            assert_eq!(settled, [false, true], "{absence:?}");
        }
    }

    #[test]
    fn a_new_secret_is_waited_for_at_first_without_limit_and_then_for_a_while() {
        let start = crate::clock::instant();
        let mut sources = Sources::new([POOLS], start);
        let one = BTreeSet::from([secret()]);
        assert_eq!(sources.refer(&one, start), []);
        assert!(!sources.references_are_settled(true, second(start, 60)));
        assert_eq!([1, 2].map(|at| sources.references_are_settled(false, second(start, at))), [false, true]);
        sources.listed(&Source::One(secret()), start);
        assert!(sources.references_are_settled(true, start));
        assert_eq!(sources.refer(&BTreeSet::new(), start), [secret()]);
        assert!(!sources.follows(&Source::One(secret())));
    }
}

//! How far the proxies are, key by key.

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::sync::Arc;

use headgate_snapshot::{Key, Refusal, Report, ResourceSet};
use headgate_translate::{Kind, ObjectKey, ObjectRef};

/// The published set and how far every connected proxy is with it, at one moment.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Number of the latest publication.
    pub sequence: u64,
    /// What is published.
    pub set: Arc<ResourceSet>,
    pub(super) changed: Arc<BTreeMap<Key, u64>>,
    /// Connected proxies by name.
    pub proxies: Vec<ProxyProgress>,
}

/// How far one proxy is.
#[derive(Clone, Debug)]
pub struct ProxyProgress {
    /// Its name.
    pub name: String,
    /// The latest publication that it has applied, 0 before the first.
    pub applied: u64,
    /// What it told last.
    pub report: Arc<Report>,
}

/// Where one key stands with the proxies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Connected proxies.
    pub expected: usize,
    /// Those that enforce the published resource.
    pub programmed: usize,
    /// Those that refuse it, by name.
    pub refused: Vec<(String, Refusal)>,
}

impl Progress {
    /// Where a key stands. A key that is not published is programmed nowhere.
    pub fn standing(&self, key: &Key) -> Standing {
        let mut standing = Standing { expected: self.proxies.len(), ..Standing::default() };
        let Some(changed) = self.changed.get(key) else { return standing };
        for proxy in self.proxies.iter().filter(|proxy| proxy.applied >= *changed) {
            match proxy.report.refusals.iter().find(|refusal| refusal.key.as_ref() == Some(key)) {
                Some(refusal) => standing.refused.push((proxy.name.clone(), refusal.clone())),
                None => standing.programmed += 1,
            }
        }
        standing
    }

    /// Where objects stand, for whoever asks about all of them.
    pub fn standings(&self) -> Standings<'_> {
        let mut refusals: BTreeMap<&Key, BTreeMap<&str, &Refusal>> = BTreeMap::new();
        for proxy in &self.proxies {
            for refusal in &proxy.report.refusals {
                if let Some(key) = &refusal.key {
                    refusals.entry(key).or_default().entry(&proxy.name).or_insert(refusal);
                }
            }
        }
        Standings { progress: self, refusals, kind: None, ahead: self.changed.range(Key::default()..).peekable() }
    }

    /// True once every connected proxy has applied a publication, or refused parts of it. Nobody connected: false.
    pub fn reached(&self, sequence: u64) -> bool {
        !self.proxies.is_empty() && self.proxies.iter().all(|proxy| proxy.applied >= sequence)
    }
}

/// Where objects stand that are asked about in their order: one walk over what is published, instead of a look-up each.
#[derive(Debug)]
pub struct Standings<'p> {
    progress: &'p Progress,
    /// By key and name of the proxy.
    refusals: BTreeMap<&'p Key, BTreeMap<&'p str, &'p Refusal>>,
    /// The kind that was asked about last.
    kind: Option<Kind>,
    /// What is published from there on.
    ahead: Peekable<Range<'p, Key, u64>>,
}

impl Standings<'_> {
    /// Where an object stands. Objects of one kind are asked about in the order of their keys.
    pub fn of(&mut self, object: &ObjectRef) -> Standing {
        let ObjectRef { kind, key: ObjectKey { namespace, name } } = object;
        let Progress { sequence: _, set: _, changed, proxies } = self.progress;
        if self.kind != Some(*kind) {
            self.kind = Some(*kind);
            self.ahead = changed.range(Key::new(kind.as_str(), "", "")..).peekable();
        }
        let order = |key: &Key| {
            let Key { kind: of_kind, namespace: of_namespace, name: of_name } = key;
            let known = (of_kind.as_str(), of_namespace.as_str(), of_name.as_str());
            known.cmp(&(kind.as_str(), namespace.as_str(), name.as_str()))
        };
        while self.ahead.next_if(|(key, _)| order(key).is_lt()).is_some() {}
        let mut standing = Standing { expected: proxies.len(), ..Standing::default() };
        let Some((key, changed)) = self.ahead.next_if(|(key, _)| order(key).is_eq()) else { return standing };
        let refusals = self.refusals.get(key);
        for proxy in proxies.iter().filter(|proxy| proxy.applied >= *changed) {
            match refusals.and_then(|refusals| refusals.get(proxy.name.as_str())) {
                Some(refusal) => standing.refused.push((proxy.name.clone(), Refusal::clone(refusal))),
                None => standing.programmed += 1,
            }
        }
        standing
    }
}

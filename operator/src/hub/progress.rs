//! How far the proxies are, key by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_snapshot::{Key, Refusal, Report, ResourceSet};
use jiff::Timestamp;

use super::presence::Attendance;
use super::scope::Scope;

/// The published set and how far every known proxy is with it, at one moment.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Number of the latest publication.
    pub sequence: u64,
    /// What is published.
    pub set: Arc<ResourceSet>,
    pub(super) views: Vec<ScopeProgress>,
    /// All proxies by name: those that are there, those that are expected back, and those that are away.
    pub proxies: Vec<ProxyProgress>,
}

/// What is published for one scope.
#[derive(Clone, Debug)]
pub(super) struct ScopeProgress {
    pub(super) scope: Scope,
    pub(super) changed: Arc<BTreeMap<Key, u64>>,
}

/// How far one proxy is.
#[derive(Clone, Debug)]
pub struct ProxyProgress {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub attendance: Attendance,
    /// The latest publication that it has applied, 0 before the first.
    pub applied: u64,
    /// What it told last.
    pub report: Arc<Report>,
    /// Which of the views is its own.
    pub(super) view: usize,
}

impl ProxyProgress {
    /// What the proxy says against a key.
    fn refusal(&self, key: &Key) -> Option<&Refusal> {
        self.report.refusals.iter().find(|refusal| refusal.key.as_ref() == Some(key))
    }

    /// Whether the proxy is there, so that what it told last is how it is now.
    pub fn is_present(&self) -> bool {
        self.attendance == Attendance::Present
    }
}

/// Where one key stands with the proxies that it concerns: those whose scope has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Proxies that should enforce the key: connected, or lost without goodbye a short while ago.
    pub expected: usize,
    /// Those that enforce the published resource.
    pub programmed: usize,
    /// Those that refuse it, by name.
    pub refused: Vec<(String, Refusal)>,
    /// Those that are connected and do not answer, by name.
    pub silent: Vec<String>,
    /// Those that were lost without goodbye and are expected back, by name.
    pub lost: Vec<String>,
    /// Those that are not expected any more, by name, with the time when they were last heard.
    pub away: Vec<(String, Timestamp)>,
}

impl Progress {
    /// The part of the set that a proxy gets.
    pub fn scope(&self, proxy: &ProxyProgress) -> &Scope {
        &self.views[proxy.view].scope
    }

    /// Whether a proxy has a say about a key: it gets it.
    pub fn gets(&self, proxy: &ProxyProgress, key: &Key) -> bool {
        let ScopeProgress { scope, changed } = &self.views[proxy.view];
        changed.contains_key(key) || scope.concerns(key)
    }

    /// Where a key stands. A key that is not published is programmed nowhere.
    pub fn standing(&self, key: &Key) -> Standing {
        let changed: Vec<Option<u64>> = self.views.iter().map(|view| view.changed.get(key).copied()).collect();
        let mut standing = Standing::default();
        for proxy in &self.proxies {
            let changed = changed[proxy.view];
            if changed.is_none() && !self.views[proxy.view].scope.concerns(key) {
                continue;
            }
            standing.expected += usize::from(proxy.attendance.is_expected());
            match proxy.attendance {
                Attendance::Present => {
                    if changed.is_some_and(|changed| proxy.applied >= changed) {
                        match proxy.refusal(key) {
                            Some(refusal) => standing.refused.push((proxy.name.clone(), refusal.clone())),
                            None => standing.programmed += 1,
                        }
                    }
                }
                Attendance::Silent => standing.silent.push(proxy.name.clone()),
                Attendance::Lost => standing.lost.push(proxy.name.clone()),
                Attendance::Away { since } => standing.away.push((proxy.name.clone(), since)),
            }
        }
        standing
    }

    /// Names of the proxies that enforce the published resource of a key, in their order.
    pub fn enforcing(&self, key: &Key) -> impl Iterator<Item = &str> {
        let changed: Vec<Option<u64>> = self.views.iter().map(|view| view.changed.get(key).copied()).collect();
        let enforces = move |proxy: &&ProxyProgress| {
            let has_applied = changed[proxy.view].is_some_and(|changed| proxy.applied >= changed);
            has_applied && proxy.is_present() && proxy.refusal(key).is_none()
        };
        self.proxies.iter().filter(enforces).map(|proxy| proxy.name.as_str())
    }

    /// True once every proxy that is there has applied a publication, or refused parts of it. Nobody there: false.
    pub fn reached(&self, sequence: u64) -> bool {
        let mut present = self.proxies.iter().filter(|proxy| proxy.is_present()).peekable();
        present.peek().is_some() && present.all(|proxy| proxy.applied >= sequence)
    }
}

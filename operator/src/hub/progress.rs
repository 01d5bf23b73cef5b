//! How far the proxies are, key by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_snapshot::{Key, Refusal, Report, ResourceSet};

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

    /// True once every connected proxy has applied a publication, or refused parts of it. Nobody connected: false.
    pub fn reached(&self, sequence: u64) -> bool {
        !self.proxies.is_empty() && self.proxies.iter().all(|proxy| proxy.applied >= sequence)
    }
}

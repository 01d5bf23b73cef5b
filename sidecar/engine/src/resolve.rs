//! What DNS names stand for.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses by DNS name. The adapter asks the resolver and writes the answers here; pools read them when they are
/// compiled and when [`crate::Plan::resolve`] is called. The last good answer stays when a later question fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolutions {
    names: BTreeMap<String, Resolution>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Resolution {
    addresses: Vec<IpAddr>,
    trouble: Option<String>,
}

impl Resolutions {
    /// An answer. Says whether it differs from what was known.
    pub fn answered(&mut self, name: &str, mut addresses: Vec<IpAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        self.put(name, Resolution { addresses, trouble: None })
    }

    /// A failure, with a sentence for status. Says whether it differs from what was known.
    pub fn failed(&mut self, name: &str, trouble: impl Into<String>) -> bool {
        let addresses = self.names.get(name).map(|known| known.addresses.clone()).unwrap_or_default();
        self.put(name, Resolution { addresses, trouble: Some(trouble.into()) })
    }

    /// Forgets the names that are not among these.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.names.retain(|name, _| wanted(name));
    }

    /// Whether an answer or a failure is known.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub(crate) fn addresses(&self, name: &str) -> &[IpAddr] {
        self.names.get(name).map(|known| known.addresses.as_slice()).unwrap_or_default()
    }

    /// Why a name has no addresses, or old ones.
    pub(crate) fn trouble(&self, name: &str) -> Option<&str> {
        match self.names.get(name) {
            None => Some("not resolved yet"),
            Some(known) => known.trouble.as_deref(),
        }
    }

    fn put(&mut self, name: &str, resolution: Resolution) -> bool {
        if self.names.get(name) == Some(&resolution) {
            return false;
        }
        self.names.insert(name.to_owned(), resolution);
        true
    }
}

//! How a key is written: `HTTPRoute/default/shop`.

use std::fmt;

use crate::Key;

impl Key {
    /// The key of an object.
    pub fn new(kind: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The key of the default listeners, which belong to no object.
    pub fn default_listeners() -> Self {
        Self::new("Defaults", "", "listeners")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() { write!(f, "{kind}/{name}") } else { write!(f, "{kind}/{namespace}/{name}") }
    }
}

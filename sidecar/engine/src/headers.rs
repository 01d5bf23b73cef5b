//! Headers as the engine changes them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that can be read and changed.
///
/// Pingora keeps the spelling of names beside the map, so its headers are changed through its own methods: the
/// adapter implements this trait for them, and the rules stay here.
pub trait Headers {
    /// What is there.
    fn map(&self) -> &HeaderMap;
    /// Puts one value in place of all values of this name.
    fn set(&mut self, name: &HeaderName, value: HeaderValue);
    /// Adds a value to those of this name.
    fn add(&mut self, name: &HeaderName, value: HeaderValue);
    /// Removes all values of this name.
    fn remove(&mut self, name: &HeaderName);
}

impl Headers for HeaderMap {
    fn map(&self) -> &HeaderMap {
        self
    }

    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        self.insert(name, value);
    }

    fn add(&mut self, name: &HeaderName, value: HeaderValue) {
        self.append(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        HeaderMap::remove(self, name);
    }
}

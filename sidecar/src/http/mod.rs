//! HTTP as clients and origins see it: headers on their way through, and the answers of our own.

pub(crate) mod answer;
pub(crate) mod headers;

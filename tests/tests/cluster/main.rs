//! headgate in a cluster: a real API server, real processes. One module a theme, one test a promise.
#![cfg(target_os = "linux")]

mod control_plane;
mod failures;
mod leadership;
mod traffic;

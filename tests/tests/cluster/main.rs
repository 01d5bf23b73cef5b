//! headgate in a cluster: a real API server, real processes. One module a theme, one test a promise.
#![cfg(target_os = "linux")]

mod command_line;
mod control_plane;
mod edits;
mod failures;
mod leadership;
mod refusals;
mod strangers;
mod traffic;

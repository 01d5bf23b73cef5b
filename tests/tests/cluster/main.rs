//! headgate in a cluster: a real API server, real processes. One module a theme, one test a promise.
#![cfg(target_os = "linux")]
// A test fails by panicking, also within its helpers; counters are whole numbers, and small ones.
#![allow(clippy::panic, clippy::float_cmp, clippy::cast_precision_loss)]

mod command_line;
mod control_plane;
mod denials;
mod edits;
mod failures;
mod leadership;
mod limits;
mod refusals;
mod rooms;
mod strangers;
mod traffic;

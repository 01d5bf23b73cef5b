//! The command line: standalone, validate, status, explain.
//!
//! ```text
//! files -> manifest -> registry -> World -> translate -> Hub -> proxy, all in one process
//!                                                   |             |
//!                                                status <----- reports
//! ```
//!
//! The only crate that sees both the control plane and the data plane. What `standalone` runs is what a cluster
//! runs; only the source of the objects (files) and the carrier of the batches (a task) differ.
//!
//! Invariants: [`clock`] is the only file that reads clocks; every sentence about a manifest names its file, and its
//! line and field where there is one; nothing that a user writes ends the process after it has started.

mod client;
pub mod clock;
mod cluster;
pub mod command;
mod explain;
pub mod manifest;
mod registry;
mod review;
mod standalone;
mod status;
mod terminal;
mod validate;

//! The control plane: input and output around the pure translation.
//!
//! ```text
//! objects -> World -> Inputs -> translate -> Translation -> Hub -> batches -> proxies
//!                                    |                       |
//!                                 verdicts ---> status <--- reports
//! ```
//!
//! The source of objects and the carrier of batches are not in here: a cluster and `headgate standalone` differ
//! in those two only.
//!
//! Invariants: time is an argument (the hub's pace uses the runtime's timer); nothing here opens a socket; what a
//! user did wrong is data and stops nothing.

pub mod claims;
pub mod clock;
pub mod cluster;
pub mod control;

pub mod election;
pub mod events;
pub mod hub;
pub mod leadership;
pub mod metrics;
pub mod settings;
pub mod status;
pub mod watch;
pub mod world;
pub mod write;

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

pub mod access;
pub mod admin;
pub mod api;
pub mod authority;
pub mod clock;
pub mod hub;
pub mod leadership;
pub mod status;
pub mod stream;
pub mod tls;
pub mod world;

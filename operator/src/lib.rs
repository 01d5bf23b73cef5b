//! The control plane: input and output around the pure translation.
//!
//! ```text
//! objects -> World -> Inputs -> translate -> Translation -> Hub -> batches -> proxies
//!                                    |                       |
//!                                 verdicts ---> status <--- reports
//! ```
//!
//! A cluster and `headgate standalone` differ in the source of objects and in the carrier of batches. In a cluster:
//!
//! ```text
//! proxies --- tls --> stream --> hub            access: whose token is it, and what may its owner do?
//! people  --- tls --> api ----> status list     authority: the certificates that tls serves
//! probes  ----------> admin                     leadership: whether this replica may send and write
//! ```
//!
//! Invariants: time is an argument, which only the tasks at the edge take from `clock` (the hub's pace uses the
//! runtime's timer); every queue has a bound; what a user did wrong is data and stops nothing; secrets are neither
//! logged nor shown.

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

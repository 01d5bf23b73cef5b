//! The control plane: input and output around the pure translation.
//!
//! ```text
//! objects -> World -> Inputs -> translate -> Translation -> Hub -> batches -> proxies
//!                                    |                       |
//!                                 verdicts ---> status <--- reports
//! ```
//!
//! `headgate standalone` takes the pure parts (world, hub, status) and brings a source of objects and a carrier of
//! batches of its own; `headgate-operator` has the API server and the streams, joined in [`process`]:
//!
//! ```text
//! proxies --- tls --> stream --> hub            access: whose token is it, and what may its owner do?
//! people  --- tls --> api ----> status list     authority: the certificates that tls serves
//! probes  ----------> admin                     leadership: whether this replica may send and write
//! ```
//!
//! Invariants: time is an argument, which only the tasks at the edge take from `clock` (the hub's pace uses the
//! runtime's timer); every queue has a bound; what a user did wrong is data and stops nothing; only the leader writes;
//! secrets are neither logged nor shown.

pub mod access;
pub mod admin;
pub mod api;
pub mod authority;
pub mod claims;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod election;
pub mod events;
pub mod hub;
pub mod leadership;
pub mod master;
pub mod metrics;
pub mod process;
pub mod settings;
pub mod status;
pub mod stream;
pub mod tls;
pub mod watch;
pub mod world;
pub mod write;

//! The whole system from outside: the real `headgate` binary as a process, real origins and real clients on loopback.
//!
//! | module | what it is |
//! |---|---|
//! | [`standalone`] | `headgate standalone` as a process, with its folder of manifests |
//! | [`origin`] | origin servers that answer their name, and can be ill, slow, dead and alive again |
//! | [`client`], [`load`] | one request, or a bounded stream of them with failures counted by kind |
//! | [`manifests`], [`folder`] | the YAML that a user would write, and the folder that it lies in |
//! | [`examples`] | the manifests of `examples/` and the origins that they refer to |
//! | [`certificates`], [`name_server`] | an own authority, and a DNS server that can be slow |
//! | [`cluster`] | a Kubernetes control plane: etcd, API server, controller manager, kubectl |
//! | [`namespace`] | a network of a test's own |
//! | [`store`] | a Redis that proxies share |
//! | [`grpc`], [`envoy`] | Envoy's rate limit service, by hand and as Envoy calls it |
//! | [`process`], [`measure`] | a child process, and what the system says about its memory, threads and files |
//! | [`within`], [`eventually`] | time limits: of a whole test, and of one condition |
//!
//! Invariants: a test asks only what a user could ask (command line, HTTP, files); it listens on loopback alone, on
//! addresses that this process has claimed, or in a network namespace of its own, so that any number of runs share a
//! machine; it waits for conditions with
//! a limit and never for time to pass; what it started is gone when it ends; chance comes from a seed that a failure
//! prints.
#![allow(clippy::missing_panics_doc, reason = "a harness tells a failure by panicking")]
#![allow(clippy::panic, reason = "a harness tells a failure by panicking")]

pub mod binary;
pub mod certificates;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod envoy;
pub mod examples;
pub mod folder;
pub mod grpc;
pub mod load;
pub mod loopback;
pub mod manifests;
pub mod measure;
pub mod name_server;
#[cfg(target_os = "linux")]
pub mod namespace;
pub mod origin;
pub mod process;
pub mod seed;
pub mod standalone;
pub mod store;
mod waiting;

pub use waiting::{eventually, try_eventually, within};

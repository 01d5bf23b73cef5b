//! A network of a test's own.
//!
//! An API server refuses loopback addresses in EndpointSlices, and a control plane has well-known ports. So a test with
//! a cluster runs in a network namespace in which every address of [`NETWORK`] is local, and nothing else exists: ports
//! of two tests never clash, and nothing leaves the machine.
//!
//! A namespace belongs to a thread, and what a thread starts inherits it: its child processes, and the threads of a
//! runtime that is built on it. [`inside`] runs a test on a thread that has just got one; libtest's own thread stays as
//! it is. The namespace ends with the last thread and process in it.

use std::{net::Ipv4Addr, panic, thread};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};
use rtnetlink::LinkUnspec;

/// Every address of this network is local in a namespace.
pub const NETWORK: &str = "10.77.0.0/16";
/// The source of connections to any of them.
pub const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PREFIX_LENGTH: u8 = 16;
/// A new namespace has one interface, `lo`.
const LOOPBACK_INDEX: u32 = 1;

/// Runs this on a thread in a new network namespace, and fails as it fails.
pub fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let on_a_thread = || {
        enter();
        work()
    };
    match thread::scope(|scope| scope.spawn(on_a_thread).join()) {
        Ok(value) => value,
        Err(failure) => panic::resume_unwind(failure),
    }
}

fn enter() {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {}
        Err(Errno::EPERM) => panic!(
            "tests with a cluster make a network namespace, which this user may not: run them as root, or by \
             `unshare --user --map-root-user make test` after a first `tests/cluster/build`"
        ),
        Err(error) => panic!("failed to make a network namespace: {error}"),
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("failed to start a runtime");
    runtime.block_on(address()).expect("failed to set the addresses of a network namespace");
}

/// Brings `lo` up. The kernel takes the whole network of an address on `lo` as local, as it does with 127.0.0.0/8.
async fn address() -> Result<(), rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().expect("failed to open a netlink socket");
    let connection = tokio::spawn(connection);
    handle.link().set(LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build()).execute().await?;
    handle.address().add(LOOPBACK_INDEX, FIRST_ADDRESS.into(), PREFIX_LENGTH).execute().await?;
    connection.abort();
    Ok(())
}

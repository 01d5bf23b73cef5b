//! One writer at a time, and no proxy ever goes back, whoever stands still and whenever it wakes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use headgate_tests::{
    client::Connection,
    clock::{self, Stopwatch},
    cluster::{
        self, Cluster,
        audit::Write,
        fleet::{self, EDIT, Fleet, ROUTE},
        headgate::{EDIT_LIMIT, LEASE, Member},
    },
    eventually, seed,
};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet};

const LIMIT: Duration = Duration::from_mins(4);
/// How often a leader stands still until another has taken its place.
const LONG_FREEZES: usize = 2;
/// How often it stands still for about as long as its lease lasts.
const CLOSE_FREEZES: usize = 3;
/// Connections of clients to each gateway.
const CLIENTS: usize = 3;
/// Between two requests of one client.
const PACE: Duration = Duration::from_millis(20);
/// A leader that is told to stop hands over; the other looks at the lease every second, and lists everything anew.
const HANDOVER_LIMIT: Duration = Duration::from_secs(5);
const LEASE_OBJECT: &str = "leases/headgate-system/headgate-operator";
/// Who holds a lease that was just made: it is taken like any other.
const NOBODY: &str = "nobody-yet";
/// Whoever comes first makes the authority, before anybody leads.
const AUTHORITY: &str = "configmaps/headgate-system/headgate-ca";

#[test]
fn never_two_write_and_no_proxy_goes_back() {
    cluster::within(LIMIT, async |mut cluster| {
        let mut chance = seed::chance();
        cluster.audit().await;
        let fleet = Fleet::start(&cluster).await;
        let witnesses = Witnesses::start(&fleet);
        let (edits, pace) = (Edits::default(), StdRng::seed_from_u64(chance.random()));
        let story = async {
            for _ in 0..LONG_FREEZES {
                the_leader_stands_still_until_another_has_written(&cluster, &fleet, &edits, &mut chance).await;
            }
            for _ in 0..CLOSE_FREEZES {
                the_leader_wakes_about_when_its_lease_ends(&cluster, &fleet, &edits, &mut chance).await;
            }
            the_leader_is_told_to_stop(&cluster, &fleet, &edits).await;
        };
        tokio::select! {
            () = story => {}
            never = edits.go_on(&cluster, pace) => match never {},
        }
        fleet.enforces(edits.newest(), EDIT_LIMIT).await;
        let answers = witnesses.stop().await;
        println!("measured: {} edits, {answers} answers, none older than one before it", edits.newest());
        let writes = cluster.writes();
        one_writes_at_a_time(&cluster, &writes);
        each_write_knows_the_one_before(&writes);
    });
}

/// Edits that go on all the time.
#[derive(Default)]
struct Edits {
    newest: AtomicU64,
}

impl Edits {
    async fn go_on(&self, cluster: &Cluster, mut chance: StdRng) -> std::convert::Infallible {
        loop {
            let number = self.newest() + 1;
            cluster.edit(number).await;
            self.newest.store(number, Ordering::Relaxed);
            clock::pass(Duration::from_millis(chance.random_range(20..150))).await;
        }
    }

    /// The newest edit that the API server has accepted.
    fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Waits until an edit that is made from now on is enforced by both gateways.
    async fn are_enforced(&self, fleet: &Fleet, limit: Duration) {
        fleet.enforces(self.newest() + 1, limit).await;
    }
}

async fn the_leader_stands_still_until_another_has_written(
    cluster: &Cluster,
    fleet: &Fleet,
    edits: &Edits,
    chance: &mut StdRng,
) {
    let (old, new) = fleet.leader_and_other(EDIT_LIMIT).await;
    clock::pass(Duration::from_millis(chance.random_range(0..2_000))).await;
    old.process.freeze();
    let watch = Stopwatch::start();
    edits.are_enforced(fleet, 2 * LEASE).await;
    let enforced = watch.elapsed();
    eventually(EDIT_LIMIT, "whose configuration is taken says that it leads", async || {
        if new.leads().await { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    let token = cluster.token_of(&new.name);
    let before = cluster.writes().last().map_or(0, |write| write.version);
    eventually(EDIT_LIMIT, "the new leader writes status", async || {
        let is_new =
            |write: &Write| write.version > before && write.token == token && write.object.contains("/status/");
        if cluster.writes().iter().any(is_new) { Ok(()) } else { Err("nothing".to_owned()) }
    })
    .await;
    println!(
        "measured: edits enforced again {enforced:.2?}, status written {:.2?} after {} was frozen",
        watch.elapsed(),
        old.name
    );
    old.process.thaw();
    wakes_as_a_follower(fleet, edits, old).await;
}

/// Waits until a thawed operator has found out that it leads no more, and edits go on with both operators there.
async fn wakes_as_a_follower(fleet: &Fleet, edits: &Edits, old: &Member) {
    let watch = Stopwatch::start();
    let (_, other) = fleet.leader_and_other(EDIT_LIMIT).await;
    assert_eq!(other.name, old.name, "whoever stood still does not lead again");
    println!("measured: {} knew {:.2?} after its thaw that it leads no more", old.name, watch.elapsed());
    for gateway in &fleet.gateways {
        eventually(EDIT_LIMIT, "both operators are heard again", async || {
            let connected = gateway.metric("headgate_operator_connected").await;
            if connected >= 2.0 { Ok(()) } else { Err(format!("{connected}")) }
        })
        .await;
    }
    edits.are_enforced(fleet, EDIT_LIMIT).await;
}

async fn the_leader_wakes_about_when_its_lease_ends(
    cluster: &Cluster,
    fleet: &Fleet,
    edits: &Edits,
    chance: &mut StdRng,
) {
    let (old, _) = fleet.leader_and_other(EDIT_LIMIT).await;
    let frozen_for = Duration::from_millis(chance.random_range(4_000..12_000));
    old.process.freeze();
    clock::pass(frozen_for).await;
    old.process.thaw();
    let (leader, _) = fleet.leader_and_other(2 * LEASE).await;
    edits.are_enforced(fleet, 2 * LEASE).await;
    println!("measured: {} was frozen for {frozen_for:?}, then {} led", old.name, leader.name);
    cluster.says(ROUTE, "Programmed", "True", EDIT_LIMIT).await;
}

async fn the_leader_is_told_to_stop(cluster: &Cluster, fleet: &Fleet, edits: &Edits) {
    let (leader, other) = fleet.leader_and_other(EDIT_LIMIT).await;
    leader.process.terminate();
    let watch = Stopwatch::start();
    eventually(HANDOVER_LIMIT, "the other one leads", async || {
        if other.leads().await { Ok(()) } else { Err("it does not".to_owned()) }
    })
    .await;
    let led = watch.elapsed();
    edits.are_enforced(fleet, HANDOVER_LIMIT).await;
    println!(
        "measured: SIGTERM to {}: {} led after {led:.2?}, an edit was enforced after {:.2?}",
        leader.name,
        other.name,
        watch.elapsed()
    );
    let status = leader.process.exit(EDIT_LIMIT).await;
    assert!(status.success(), "{status}: {}", leader.process.log());
    println!("measured: it had ended {:.2?} after SIGTERM", watch.elapsed());
    for gateway in &fleet.gateways {
        let log = gateway.process.log();
        let goodbye = |line: &str| line.contains(&leader.address.to_string()) && line.contains("has stopped");
        assert!(log.lines().any(goodbye), "{} got no goodbye:\n{log}", gateway.name);
    }
    leader.process.stop();
    leader.process.start();
    leader.ready().await;
    let (still, _) = fleet.leader_and_other(EDIT_LIMIT).await;
    assert_eq!(still.name, other.name, "who comes back follows");
    cluster.says(ROUTE, "Programmed", "True", EDIT_LIMIT).await;
}

/// Each write is of the process that held the lease when it was stored.
fn one_writes_at_a_time(cluster: &Cluster, writes: &[Write]) {
    let names: BTreeMap<String, &str> =
        ["operator-1", "operator-2"].into_iter().map(|name| (cluster.token_of(name), name)).collect();
    let (mut holder, mut term) = (None, 0);
    let mut counts: Vec<(u64, &str, usize)> = Vec::new();
    for Write { token, object, over, version, content } in writes {
        if object == AUTHORITY && over.is_none() {
            continue;
        }
        let name = names[token];
        if object == LEASE_OBJECT {
            let held_by = content["spec"]["holderIdentity"].as_str().filter(|it| *it != NOBODY).unwrap_or_default();
            let next = content["spec"]["leaseTransitions"].as_u64().expect("a term");
            assert!(next >= term, "terms only rise: {next} after {term}");
            assert!(held_by.is_empty() || held_by.starts_with(name), "{name} wrote a lease for {held_by}");
            assert!(next > term || held_by.is_empty() || holder == Some(name), "{name} continued a term of {holder:?}");
            holder = (!held_by.is_empty()).then_some(name);
            term = next;
            continue;
        }
        assert_eq!(
            Some(name),
            holder,
            "in term {term}, at version {version}, {name} wrote {object} while the lease was another's"
        );
        match counts.last_mut() {
            Some((of, _, count)) if *of == term => *count += 1,
            _ => counts.push((term, name, 1)),
        }
    }
    println!("measured: writes by term, holder: {counts:?}");
    assert!(counts.len() > LONG_FREEZES + 1, "leaders changed, and each wrote: {counts:?}");
}

/// Each status was made from a version that is not older than the status before it, and only headgate owns it.
fn each_write_knows_the_one_before(writes: &[Write]) {
    let mut last = BTreeMap::<&str, u64>::new();
    for Write { object, over, version, content, .. } in writes.iter().filter(|write| write.object.contains("/status/"))
    {
        let over = over.expect("a write of status names the version that it was made from");
        let before = last.insert(object, *version).unwrap_or_default();
        assert!(before <= over && over <= *version, "{object}: {before}, then {version} over {over}");
        let fields = content["metadata"]["managedFields"].as_array().expect("managed fields");
        let of_status = fields.iter().filter(|entry| entry["subresource"] == "status");
        let managers: Vec<&str> = of_status.filter_map(|entry| entry["manager"].as_str()).collect();
        assert_eq!(managers, ["headgate"], "{object} at {version}");
    }
}

/// Clients that ask all the time and remember the newest edit that they have seen.
struct Witnesses {
    stop: watch::Sender<()>,
    seen: [Arc<Seen>; 2],
    clients: JoinSet<()>,
}

/// What the clients of one gateway saw.
#[derive(Default)]
struct Seen {
    newest: AtomicU64,
    answers: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl Witnesses {
    fn start(fleet: &Fleet) -> Self {
        let (stop, stopped) = watch::channel(());
        let seen: [Arc<Seen>; 2] = [Arc::default(), Arc::default()];
        let mut clients = JoinSet::new();
        for (gateway, seen) in fleet.gateways.iter().zip(&seen) {
            for _ in 0..CLIENTS {
                let (address, seen, mut stopped) = (gateway.http(), Arc::clone(seen), stopped.clone());
                clients.spawn(async move {
                    let mut connection = Connection::plain(address).await.expect("a connection");
                    loop {
                        tokio::select! {
                            _ = stopped.changed() => return,
                            () = clock::pass(PACE) => {}
                        }
                        seen.ask(&mut connection).await;
                    }
                });
            }
        }
        Self { stop, seen, clients }
    }

    /// How many answers there were; each of them was right.
    async fn stop(self) -> u64 {
        let Self { stop, seen, clients } = self;
        drop(stop);
        clients.join_all().await;
        for (index, seen) in seen.iter().enumerate() {
            let faults = seen.faults.lock();
            assert!(faults.is_empty(), "gateway-{}: {faults:?}", index + 1);
        }
        seen.iter().map(|seen| seen.answers.load(Ordering::Relaxed)).sum()
    }
}

impl Seen {
    /// Whoever asks after an answer was seen gets that edit or a later one.
    async fn ask(&self, connection: &mut Connection) {
        let least = self.newest.load(Ordering::SeqCst);
        let answer = connection.send(&fleet::ask()).await;
        self.answers.fetch_add(1, Ordering::Relaxed);
        let fault = match &answer {
            Ok(answer) => match answer.header(EDIT).parse::<u64>() {
                Ok(edit) if edit >= least => {
                    self.newest.fetch_max(edit, Ordering::SeqCst);
                    return;
                }
                Ok(edit) => format!("edit {edit} after {least}"),
                Err(_) => format!("{} {}", answer.status, answer.reason()),
            },
            Err(failure) => format!("{failure:?}"),
        };
        self.faults.lock().push(fault);
    }
}

//! The lease on the API server.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Action, Elector, LEASE, NOBODY, Record};
use crate::clock;
use crate::leadership::{Leadership, Pen};

/// Name of the lease.
pub const NAME: &str = "headgate-operator";

/// How long a request about the lease may take. It is shorter than the time between the deadline of the holder and
/// the moment in which another may take the lease.
const LIMIT: Duration = Duration::from_secs(2);

/// Takes part in the election until `stop` says so, then lets the lease go, once all that was written with `pen` is
/// answered. `leadership` has term and deadline; the
/// field `synced` of it is the watches' and is cleared where a term begins.
pub async fn run(
    client: Client,
    namespace: &str,
    identity: String,
    leadership: &watch::Sender<Leadership>,
    pen: &Pen,
    mut stop: watch::Receiver<bool>,
) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut elector = Elector::new(identity);
    let mut is_told = false;
    while !*stop.borrow() {
        match turn(&api, &mut elector).await {
            Ok(()) => is_told = false,
            Err(error) => {
                if !is_told {
                    warn!(%error, lease = NAME, "cannot read or write the lease; the present leader keeps leading until its deadline");
                }
                is_told = true;
            }
        }
        announce(&elector, leadership);
        tokio::select! {
            () = sleep(elector.pause(clock::instant())) => {}
            _ = stop.changed() => {}
        }
    }
    let released = elector.release();
    announce(&elector, leadership);
    if let Some((version, term)) = released {
        if !pen.is_laid_down(LIMIT).await {
            warn!("a write of this replica is still under way; the lease ends by itself");
            return;
        }
        let body = lease(Some(version), "", term, None);
        match timeout(LIMIT, api.replace(NAME, &PostParams::default(), &body)).await {
            Ok(Ok(_)) => info!(term, "let the lease go"),
            Ok(Err(error)) => warn!(%error, "cannot let the lease go; it ends by itself"),
            Err(_) => warn!("cannot let the lease go in time; it ends by itself"),
        }
    }
}

async fn turn(api: &Api<Lease>, elector: &mut Elector) -> anyhow::Result<()> {
    let stored = timeout(LIMIT, api.get_opt(NAME)).await??;
    let record = stored.as_ref().map(record);
    let action = elector.decide(record.as_ref(), clock::instant());
    let sent = clock::instant();
    let (term, written) = match action {
        Action::Look => return Ok(()),
        Action::Found { term } => {
            let body = lease(None, NOBODY, term, None);
            return match timeout(LIMIT, api.create(&PostParams::default(), &body)).await? {
                Ok(_) => Ok(()),
                // Another replica was faster.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        Action::Take { over: version, term } => {
            let body = lease(Some(version), elector.identity(), term, None);
            (term, timeout(LIMIT, api.replace(NAME, &PostParams::default(), &body)).await?)
        }
        Action::Renew { over: version, term } => {
            let acquired = stored.and_then(|lease| lease.spec?.acquire_time);
            let body = lease(Some(version), elector.identity(), term, acquired);
            (term, timeout(LIMIT, api.replace(NAME, &PostParams::default(), &body)).await?)
        }
    };
    match written {
        Ok(lease) => elector.written(term, lease.metadata.resource_version.unwrap_or_default(), sent, clock::instant()),
        Err(kube::Error::Api(status))
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            elector.refused();
        }
        // It may have been written all the same. The deadline stands as it is, and the next look tells.
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn announce(elector: &Elector, leadership: &watch::Sender<Leadership>) {
    let now = clock::instant();
    let (term, until) = (elector.term(now), elector.until(now));
    leadership.send_if_modified(|known| {
        let led = known.until.is_some_and(|until| now < until);
        let is_new = until.is_some() && (!led || known.term != term);
        match (is_new, led && until.is_none()) {
            (true, _) => info!(term, "leads"),
            (false, true) => warn!(term, "leads no more"),
            (false, false) => {}
        }
        let next = Leadership { term, until, synced: known.synced && !is_new };
        let is_changed = *known != next;
        *known = next;
        is_changed
    });
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: spec.lease_transitions.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
    }
}

/// The lease to write. `acquired` is when the term began, absent: now.
fn lease(version: Option<String>, holder: &str, term: u64, acquired: Option<MicroTime>) -> Lease {
    let now = MicroTime(Timestamp::now());
    Lease {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), resource_version: version, ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            lease_transitions: i32::try_from(term).ok(),
            renew_time: Some(now.clone()),
            acquire_time: Some(acquired.unwrap_or(now)),
            ..LeaseSpec::default()
        }),
    }
}

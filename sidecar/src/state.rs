//! What is in force now. Requests and handshakes read it; one swap replaces it.

use std::collections::BTreeMap;
use std::sync::Arc;

use headgate_engine::Plan;
use headgate_snapshot::{Certificate, Key, Refusal};

use crate::listen::certificates::ServerCertificate;
use crate::origin::peer::TrustByGroup;
use crate::origin::tls::Trust;

/// A certificate as it came, and ready to be served.
pub(crate) type Certificates = BTreeMap<Key, (Arc<Certificate>, Arc<ServerCertificate>)>;

/// A plan with what only an adapter can make of it.
#[derive(Debug, Default)]
pub(crate) struct Current {
    pub(crate) plan: Arc<Plan>,
    pub(crate) certificates: Certificates,
    pub(crate) trust: TrustByGroup,
    /// What is refused here and not by the plan: CAs that cannot be read. Their origins get no traffic.
    pub(crate) refusals: Vec<Refusal>,
}

impl Current {
    /// Completes a plan with the parts that did not change since `previous`, and new ones.
    pub(crate) fn new(plan: Arc<Plan>, previous: &Self) -> Self {
        let certificates = certificates(&plan, &previous.certificates);
        let mut current = Self { plan, certificates, trust: TrustByGroup::default(), refusals: Vec::new() };
        current.read_trust(&previous.trust);
        current
    }

    fn read_trust(&mut self, previous: &TrustByGroup) {
        let plan = Arc::clone(&self.plan);
        for pool in plan.pools() {
            for (index, origin) in pool.origins().iter().enumerate() {
                let Some(tls) = &origin.tls else { continue };
                let Some(pem) = &tls.ca_pem else { continue };
                if self.trust.contains_key(&tls.group) {
                    continue;
                }
                let read = previous.get(&tls.group).cloned().map_or_else(|| Trust::from_pem(pem), Ok);
                match read {
                    Ok(trust) => {
                        self.trust.insert(tls.group, trust);
                    }
                    Err(error) => self.refusals.push(Refusal {
                        key: Some(pool.key().clone()),
                        reason: "Invalid".to_owned(),
                        message: format!(
                            "origins[{index}].tls.caCertificateRef: {error}; no traffic goes to this origin"
                        ),
                    }),
                }
            }
        }
    }
}

fn certificates(plan: &Plan, previous: &Certificates) -> Certificates {
    let first = Key::new("Secret", "", "");
    let keys = plan.resources().entries().range(first..).map(|(key, _)| key);
    let mut certificates = Certificates::new();
    for key in keys.take_while(|key| key.kind == "Secret") {
        let Some(certificate) = plan.certificate(key) else { continue };
        let known = previous.get(key).filter(|(known, _)| Arc::ptr_eq(known, certificate));
        // The plan has checked it, so that reading it again cannot fail.
        let ready = known
            .map(|(_, ready)| Arc::clone(ready))
            .or_else(|| ServerCertificate::new(certificate).ok().map(Arc::new));
        if let Some(ready) = ready {
            certificates.insert(Key::clone(key), (Arc::clone(certificate), ready));
        }
    }
    certificates
}

/// Whether traffic should be sent to this proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Readiness {
    WaitingForPlan,
    WaitingForProbes,
    Ready,
    Draining,
}

//! Objects that could not be read.

use std::sync::Arc;

use crate::inputs::{Inputs, Kind};
use crate::output::{Output, wire_key};
use crate::verdict::{Force, Verdict};

/// Tells the mistakes. What was read before the mistake is in force already; where nothing was, proxies keep what they
/// have.
pub(crate) fn judge(inputs: &Inputs, out: &mut Output) {
    for (object, problem) in &inputs.malformed {
        if let Some(verdict) = out.verdicts.get_mut(object) {
            let verdict = Arc::make_mut(verdict);
            if !verdict.problems.contains(problem) {
                verdict.problems.insert(0, problem.clone());
                if verdict.force == Force::Current {
                    verdict.force = Force::LastAccepted;
                }
            }
            continue;
        }
        let force = match object.kind {
            Kind::GatewayClass | Kind::IngressClass => Force::Nothing,
            Kind::Gateway
            | Kind::HttpRoute
            | Kind::Ingress
            | Kind::OriginPool
            | Kind::RateLimit
            | Kind::WaitingRoom => {
                out.hold(wire_key(object.kind, &object.key));
                Force::Held
            }
        };
        let verdict = Verdict { force, problems: vec![problem.clone()], ..Verdict::default() };
        out.verdicts.insert(object.clone(), Arc::new(verdict));
    }
}

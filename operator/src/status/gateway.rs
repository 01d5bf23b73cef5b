//! Status of the Gateway API's kinds, in that API's words and within its schema.
//!
//! The schema takes conditions of any type, at most 8 of each object, and of a condition's status only `True`, `False` and
//! `Unknown`. So `Enforced`, which is `Partial` for kinds of ours, is `False` here, with the same reason.

use headgate_crds::conditions::{ACCEPTED, PARTIAL, PROGRAMMED};
use headgate_crds::gateway_api::{GatewayStatus, GatewayStatusAddress, ListenerStatus, SupportedFeature};
use headgate_translate::{Force, GatewayAddress};
use jiff::Timestamp;

use super::condition::{Draft, degraded_by_trouble, programmed, ready, settle};
use super::{Observation, Status};

/// Most addresses of a Gateway.
pub const MAX_ADDRESSES: usize = 16;

/// Features of the Gateway API that headgate has, in the words of its conformance suite, sorted.
const FEATURES: [&str; 23] = [
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

/// The features that a GatewayClass tells.
pub fn supported_features() -> Vec<SupportedFeature> {
    FEATURES.iter().map(|name| SupportedFeature { name: (*name).to_owned() }).collect()
}

/// The status of a Gateway.
pub fn status(observation: &Observation<'_>, previous: Option<&Status>, now: Timestamp) -> GatewayStatus {
    let Observation { verdict, standing, health: _, limit: _, room: _, troubles, installation: _ } = *observation;
    let before = previous.map_or(&[][..], Status::conditions);
    let mut drafts: Vec<Draft> = verdict.conditions().into_iter().map(Draft::from).collect();
    drafts.extend(degraded_by_trouble(troubles));
    drafts.push(match verdict.unprogrammed() {
        Some((reason, message)) if verdict.force == Force::Current => {
            Draft::fails(PROGRAMMED, reason.as_str(), message)
        }
        Some(_) | None => programmed(verdict.force, standing),
    });
    drafts.push(ready(&drafts));
    GatewayStatus {
        addresses: verdict.addresses.iter().take(MAX_ADDRESSES).map(address).collect(),
        conditions: settle(in_words_of_the_api(drafts), verdict.generation, before, now),
        listeners: listeners(observation, previous, now),
    }
}

fn address(address: &GatewayAddress) -> GatewayStatusAddress {
    let address_type = match address {
        GatewayAddress::Ip(_) => "IPAddress",
        GatewayAddress::Hostname(_) => "Hostname",
    };
    GatewayStatusAddress { address_type: Some(address_type.to_owned()), value: address.to_string() }
}

fn listeners(observation: &Observation<'_>, previous: Option<&Status>, now: Timestamp) -> Vec<ListenerStatus> {
    let Observation { verdict, standing, health: _, limit: _, room: _, troubles: _, installation: _ } = *observation;
    let before = match previous {
        Some(Status::Gateway(status)) => status.listeners.as_slice(),
        _ => &[],
    };
    let listeners = verdict.listeners.iter().map(|listener| {
        let mut drafts: Vec<Draft> = listener.conditions().into_iter().map(Draft::from).collect();
        let force = if listener.is_accepted() { verdict.force } else { Force::Nothing };
        drafts.push(programmed(force, standing));
        let before = before.iter().find(|before| before.name == listener.name);
        let before = before.map_or(&[][..], |before| &before.conditions);
        ListenerStatus {
            name: listener.name.clone(),
            supported_kinds: listener.supported_kinds.clone(),
            attached_routes: i32::try_from(listener.attached_routes).unwrap_or(i32::MAX),
            conditions: settle(in_words_of_the_api(drafts), verdict.generation, before, now),
        }
    });
    listeners.collect()
}

/// Conditions with the statuses that the schema takes and the reasons that the API has for them.
pub fn in_words_of_the_api(mut drafts: Vec<Draft>) -> Vec<Draft> {
    let is_refused = drafts.iter().any(|draft| draft.condition_type == ACCEPTED && draft.status == "False");
    for draft in &mut drafts {
        if draft.status == PARTIAL {
            draft.status = "False";
            draft.message = format!("partial: {}", draft.message);
        }
        if draft.condition_type == PROGRAMMED && is_refused && draft.reason == "NotAccepted" {
            "Invalid".clone_into(&mut draft.reason);
        }
    }
    drafts
}

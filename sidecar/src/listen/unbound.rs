//! Frontends of the plan that are not bound, and whose listeners they are.
//!
//! Several Gateways may have listeners on one port, and then share one socket. So whatever keeps it from being bound is
//! told of each of them, and of no other.

use std::collections::BTreeMap;

use headgate_engine::{FrontendId, Plan};
use headgate_snapshot::{Key, Refusal};

/// Why a frontend is not bound.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unbound {
    /// The proxy needs the port for something else. It stays so until the plan changes.
    Reserved(String),
    /// The system does not give the port. It may later.
    Failed(String),
}

impl Unbound {
    /// A word for machines.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Reserved(_) => "PortReserved",
            Self::Failed(_) => "ListenerNotBound",
        }
    }

    /// A sentence for people.
    pub(crate) fn sentence(&self) -> &str {
        match self {
            Self::Reserved(sentence) | Self::Failed(sentence) => sentence,
        }
    }
}

/// What a port is needed for where the proxy may not bind it under its own number: for another port that is mapped to
/// it, or for the admin listener. Which of two gets a socket must not depend on which comes first.
pub(super) fn reservation(port: u16, mapped: &BTreeMap<u16, u16>, admin: u16) -> Option<String> {
    if mapped.contains_key(&port) {
        return None;
    }
    let remedy = "give the listener another port";
    if let Some((planned, _)) = mapped.iter().find(|(_, bound)| **bound == port) {
        return Some(format!("port {port} is where this proxy binds port {planned} (--map-port); {remedy}"));
    }
    (port == admin).then(|| format!("port {port} is where this proxy has its admin listener (--admin); {remedy}"))
}

/// One refusal for each Gateway that has listeners on these frontends, with a sentence for each listener.
pub(super) fn refusals(unbound: &BTreeMap<FrontendId, Unbound>, plan: &Plan) -> Vec<Refusal> {
    let mut told: BTreeMap<&Key, (&str, Vec<String>)> = BTreeMap::new();
    for (frontend, why) in unbound {
        for (key, listener) in plan.listeners(*frontend) {
            let (_, sentences) = told.entry(key).or_insert((why.reason(), Vec::new()));
            sentences.push(format!("listener `{listener}`: {}", why.sentence()));
        }
    }
    let refusal = |(key, (reason, sentences)): (&Key, (&str, Vec<String>))| Refusal {
        key: Some(key.clone()),
        reason: reason.to_owned(),
        message: sentences.join("; "),
    };
    told.into_iter().map(refusal).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use headgate_engine::{Context, Limits, Listening, Resolutions, Sharing};
    use headgate_snapshot::resource::Body;
    use headgate_snapshot::{Gateway, Listener, Protocol, Resource, ResourceSet};

    use super::*;

    #[track_caller]
    fn check(port: u16, expected: Option<&str>) {
        let mapped = BTreeMap::from([(80, 18_080), (443, 18_443), (9_000, 9_000), (18_443, 7_000)]);
        assert_eq!(reservation(port, &mapped, 9_901).as_deref(), expected, "{port}");
    }

    #[test]
    fn a_port_that_another_one_is_mapped_to_and_that_of_the_admin_listener_are_reserved() {
        check(
            18_080,
            Some("port 18080 is where this proxy binds port 80 (--map-port); give the listener another port"),
        );
        check(
            9_901,
            Some("port 9901 is where this proxy has its admin listener (--admin); give the listener another port"),
        );
        for free in [80, 443, 8_080, 9_000, 18_443] {
            check(free, None);
        }
    }

    fn gateway(name: &str, ports: &[u32]) -> Resource {
        let listener = |port: &u32| Listener {
            name: format!("at-{port}"),
            port: *port,
            protocol: Protocol::Http.into(),
            ..Listener::default()
        };
        let body = Body::Gateway(Gateway { listeners: ports.iter().map(listener).collect() });
        Resource { key: Some(Key::new("Gateway", "shop", name)), generation: 1, requires: Vec::new(), body: Some(body) }
    }

    #[test]
    fn every_gateway_with_a_listener_on_the_port_is_told_and_no_other() {
        let resources = [gateway("both", &[81, 82]), gateway("one", &[80, 82]), gateway("other", &[80])];
        let resources = Arc::new(resources.into_iter().collect::<ResourceSet>());
        let context = Context {
            listening: Listening::ByPort,
            resolutions: &Resolutions::default(),
            check_certificate: &|_| Ok(()),
            limits: &Limits::new(1, [0; 16], Sharing::Nothing),
        };
        let plan = Plan::compile(&resources, None, &context);
        let frontend = |port| FrontendId { port, protocol: headgate_engine::Protocol::Http };
        let unbound = BTreeMap::from([
            (frontend(81), Unbound::Reserved("taken".to_owned())),
            (frontend(82), Unbound::Failed("in use".to_owned())),
        ]);
        let refusal = |name: &str, reason: &str, message: &str| Refusal {
            key: Some(Key::new("Gateway", "shop", name)),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let expected = [
            refusal("both", "PortReserved", "listener `at-81`: taken; listener `at-82`: in use"),
            refusal("one", "ListenerNotBound", "listener `at-82`: in use"),
        ];
        assert_eq!(refusals(&unbound, &plan), expected);
    }
}

//! Where requests come in: ports, listeners and their hosts.
//!
//! A frontend is one port with one protocol. Its listeners are those of all Gateways, joined by hostname: a
//! request belongs to the listener with the most specific hostname, and only to that one, as the Gateway API says.
//! The default listeners, which Ingresses and pool hosts are served on, are merged with all of them: what is
//! attached there is found whatever the listener, and the better match of the two wins.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_snapshot as wire;
use headgate_snapshot::Key;

use crate::host::{HostMap, HostRank, normalise_pattern};
use crate::matcher::Request;
use crate::rate_limit::Entrance;
use crate::refusal::Mistake;
use crate::route::Route;
use crate::table::{Found, HostTable};

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// One port with one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendId {
    /// The port as the Gateway writes it.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// How listeners become frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// Each port is a frontend.
    ByPort,
    /// All HTTP listeners are one frontend (80), and all HTTPS ones another (443), whatever their ports.
    Merged,
}

/// A listener as its Gateway describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) frontend: FrontendId,
    hostname: Arc<str>,
    certificates: Vec<Key>,
}

pub(crate) fn compile_gateway(gateway: &wire::Gateway, listening: Listening) -> Result<Vec<Listener>, Mistake> {
    let wire::Gateway { listeners } = gateway;
    listeners
        .iter()
        .enumerate()
        .map(|(index, listener)| {
            let wire::Listener { name, port, protocol, hostname, certificates } = listener;
            let field = |name: &str| format!("listeners[{index}].{name}");
            let protocol = match wire::Protocol::try_from(*protocol) {
                Ok(wire::Protocol::Http) => Protocol::Http,
                Ok(wire::Protocol::Https) => Protocol::Https,
                Ok(wire::Protocol::Unspecified) | Err(_) => {
                    return Err(Mistake::invalid(field("protocol"), "a protocol that this proxy does not know"));
                }
            };
            let port = match (listening, protocol) {
                (Listening::Merged, Protocol::Http) => 80,
                (Listening::Merged, Protocol::Https) => 443,
                (Listening::ByPort, _) => u16::try_from(*port)
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| Mistake::invalid(field("port"), format!("{port} is no port")))?,
            };
            let hostname =
                normalise_pattern(hostname).map_err(|error| Mistake::invalid(field("hostname"), error.to_string()))?;
            let frontend = FrontendId { port, protocol };
            Ok(Listener { name: name.clone(), frontend, hostname, certificates: certificates.clone() })
        })
        .collect()
}

/// Listeners of one hostname on one frontend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Gateway and listener, in the order of the keys.
    pub(crate) listeners: Vec<(Key, String)>,
    certificates: Vec<Key>,
    hosts: HostMap<Arc<HostTable>>,
}

/// One port with its listeners.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontend {
    groups: HostMap<Arc<Group>>,
    defaults: Option<Arc<Group>>,
    /// Certificates of the groups by hostname, each once, in the order of the keys.
    certificates: Vec<Key>,
}

/// A match with how it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) group: &'a Arc<Group>,
    pub(crate) rank: HostRank,
    pub(crate) found: Found<'a>,
}

/// Where routes of a listener are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Defaults,
    Hostname(Arc<str>),
}

/// Frontend and place by Gateway and listener.
type Directory = BTreeMap<Key, BTreeMap<String, (FrontendId, Place)>>;

/// All frontends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontends {
    map: BTreeMap<FrontendId, Frontend>,
    directory: Arc<Directory>,
}

/// One change of what is attached: the route that was there, and the one that is.
pub(crate) struct Reattachment {
    pub(crate) old: Option<Arc<Route>>,
    pub(crate) new: Option<Arc<Route>>,
}

impl Frontends {
    /// Takes other Gateways. Says whether the routes are still attached: they are where only certificates differ.
    pub(crate) fn replace(&mut self, gateways: &BTreeMap<Key, Arc<Vec<Listener>>>) -> bool {
        let before = std::mem::replace(self, Self::new(gateways));
        if before.directory != self.directory {
            return false;
        }
        for (frontend, before) in self.map.values_mut().zip(before.map.values()) {
            frontend.take_hosts(before);
        }
        true
    }

    /// The frontends of these Gateways, without routes.
    fn new(gateways: &BTreeMap<Key, Arc<Vec<Listener>>>) -> Self {
        let mut directory = Directory::new();
        let mut groups: BTreeMap<(FrontendId, Place), Group> = BTreeMap::new();
        let defaults = Key::default_listeners();
        for (key, listeners) in gateways {
            for Listener { name, frontend, hostname, certificates } in listeners.iter() {
                let place = if *key == defaults { Place::Defaults } else { Place::Hostname(hostname.clone()) };
                let group = groups.entry((*frontend, place.clone())).or_default();
                group.listeners.push((key.clone(), name.clone()));
                group.certificates.extend(certificates.iter().cloned());
                directory.entry(key.clone()).or_default().insert(name.clone(), (*frontend, place));
            }
        }
        let mut map: BTreeMap<FrontendId, Frontend> = BTreeMap::new();
        for ((id, place), group) in groups {
            let frontend = map.entry(id).or_default();
            match place {
                Place::Defaults => frontend.defaults = Some(Arc::new(group)),
                Place::Hostname(hostname) => {
                    frontend.certificates.extend(group.certificates.iter().cloned());
                    frontend.groups.put(&hostname, Some(Arc::new(group)));
                }
            }
        }
        for frontend in map.values_mut() {
            frontend.certificates.sort_unstable();
            frontend.certificates.dedup();
        }
        Self { map, directory: Arc::new(directory) }
    }

    /// Builds the tables of the hosts that the changes touch; all others stay shared with what was before.
    pub(crate) fn reattach(&mut self, changes: &[Reattachment]) {
        let mut edits: BTreeMap<(FrontendId, Place), BTreeMap<Arc<str>, Edit<'_>>> = BTreeMap::new();
        for Reattachment { old, new } in changes {
            for (route, add) in [(old, None), (new, new.as_ref())] {
                for (frontend, place, host) in route.iter().flat_map(|route| self.places(route)) {
                    let edit = edits.entry((frontend, place)).or_default().entry(host).or_default();
                    edit.removed.extend(old.as_ref().map(|old| &old.key));
                    edit.added.extend(add.map(|route| (route.key(), route)));
                }
            }
        }
        for ((id, place), hosts) in edits {
            let Some(frontend) = self.map.get_mut(&id) else { continue };
            let group = match &place {
                Place::Defaults => frontend.defaults.clone(),
                Place::Hostname(hostname) => frontend.groups.get(hostname).cloned(),
            };
            let mut group = Arc::unwrap_or_clone(group.unwrap_or_default());
            for (host, Edit { removed, added }) in hosts {
                let added = added.into_values();
                let table = match group.hosts.get(&host) {
                    Some(before) => before.edited(&host, &removed, added),
                    None => HostTable::new(&host, added),
                };
                group.hosts.put(&host, (!table.is_empty()).then(|| Arc::new(table)));
            }
            match &place {
                Place::Defaults => frontend.defaults = Some(Arc::new(group)),
                Place::Hostname(hostname) => frontend.groups.put(hostname, Some(Arc::new(group))),
            }
        }
    }

    /// Where a route is attached: one item a host.
    fn places(&self, route: &Route) -> Vec<(FrontendId, Place, Arc<str>)> {
        let mut places = Vec::new();
        for attachment in &route.attachments {
            let listeners = self.directory.get(&attachment.gateway).into_iter().flatten();
            let wanted = |name: &String| attachment.listener.as_ref().is_none_or(|wanted| wanted == name);
            for (_, (frontend, place)) in listeners.filter(|(name, _)| wanted(name)) {
                places.extend(attachment.hosts.iter().map(|host| (*frontend, place.clone(), host.clone())));
            }
        }
        places
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = FrontendId> {
        self.map.keys().copied()
    }

    pub(crate) fn get(&self, id: FrontendId) -> Option<&Frontend> {
        self.map.get(&id)
    }
}

/// What changes in one host's table.
#[derive(Default)]
struct Edit<'a> {
    removed: BTreeSet<&'a Key>,
    added: BTreeMap<&'a Key, &'a Arc<Route>>,
}

impl Frontend {
    /// Takes the routes of a frontend with the same listeners.
    fn take_hosts(&mut self, before: &Self) {
        if let (Some(defaults), Some(before)) = (&mut self.defaults, &before.defaults) {
            Arc::make_mut(defaults).hosts = before.hosts.clone();
        }
        for (pattern, before) in before.groups.entries() {
            if let Some(group) = self.groups.get(&pattern) {
                let group = Group { hosts: before.hosts.clone(), ..Group::clone(group) };
                self.groups.put(&pattern, Some(Arc::new(group)));
            }
        }
    }

    /// The listeners that a host belongs to, none where only the default ones are left.
    pub(crate) fn group(&self, host: &str) -> Option<&Arc<Group>> {
        self.groups.matching(host).next().map(|(_, group)| group)
    }

    /// The listeners that a host comes in by: those that it belongs to, and the default ones.
    pub(crate) fn entrances(&self, host: &str) -> Vec<Entrance> {
        let groups = self.group(host).into_iter().chain(&self.defaults);
        groups.flat_map(|group| group.listeners.iter().cloned()).collect()
    }

    pub(crate) fn route(&self, request: &Request<'_>) -> Option<Placed<'_>> {
        let own = self.group(request.host).and_then(|group| Group::find(group, request));
        let default = self.defaults.as_ref().and_then(|group| Group::find(group, request));
        match (own, default) {
            (Some(own), Some(default)) if default.precedence(&own) == Ordering::Less => Some(default),
            (own, default) => own.or(default),
        }
    }

    /// Certificates for a server name, in the order in which they are asked whether they cover it: those of the
    /// listener that the name belongs to, of the less specific ones, of the default one, then all. Those of a
    /// listener that the name belongs to come again among all, which costs less than to leave them out.
    pub(crate) fn certificates(&self, server_name: &str) -> impl Iterator<Item = &Key> {
        let matching = self.groups.matching(server_name).map(|(_, group)| group).chain(&self.defaults);
        matching.flat_map(|group| &group.certificates).chain(&self.certificates)
    }
}

impl Group {
    /// Hosts are tried from the most specific on: a host without a matching rule leaves the request to a wildcard.
    fn find<'a>(group: &'a Arc<Self>, request: &Request<'_>) -> Option<Placed<'a>> {
        group.hosts.matching(request.host).find_map(|(rank, table)| {
            let found = table.find(request)?;
            Some(Placed { group, rank, found })
        })
    }
}

impl Placed<'_> {
    fn precedence(&self, other: &Self) -> Ordering {
        other.rank.cmp(&self.rank).then_with(|| self.found.candidate.precedence(other.found.candidate))
    }
}

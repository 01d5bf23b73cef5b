//! What a caller may read.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use headgate_translate::{Kind, ObjectRef};

use crate::access::{Access, Caller, Denial, Question};
use crate::clock;
use crate::status::StatusList;
use crate::world::ObjectKind;

/// Most permissions of one caller that are asked for at once.
const AT_ONCE: usize = 8;

/// Kinds that a caller may read everywhere, and those that it may read in some namespaces.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Readable {
    everywhere: BTreeSet<Kind>,
    somewhere: BTreeSet<(Kind, String)>,
}

impl Readable {
    /// Asks for each kind, then for each namespace that has objects of a kind that may not be read everywhere.
    pub(super) async fn ask(access: &Access, caller: &Caller, list: &StatusList) -> Result<Self, Denial> {
        let kinds = try_join_all(Kind::ALL.map(|kind| permission(access, caller, kind, String::new()))).await?;
        let everywhere: BTreeSet<Kind> = kinds.into_iter().flatten().map(|(kind, _)| kind).collect();
        let open: BTreeSet<(Kind, String)> = list
            .items
            .iter()
            .map(|(object, _)| (object.kind, object.key.namespace.clone()))
            .filter(|(kind, namespace)| !everywhere.contains(kind) && !namespace.is_empty())
            .collect();
        let open: Vec<(Kind, String)> = open.into_iter().collect();
        let mut somewhere = BTreeSet::new();
        for some in open.chunks(AT_ONCE) {
            let some = some.iter().cloned().map(|(kind, namespace)| permission(access, caller, kind, namespace));
            somewhere.extend(try_join_all(some).await?.into_iter().flatten());
        }
        Ok(Self { everywhere, somewhere })
    }

    /// Whether there is nothing that the caller may read.
    pub(super) fn is_nothing(&self) -> bool {
        self.everywhere.is_empty() && self.somewhere.is_empty()
    }

    /// The part of a list that may be read.
    pub(super) fn part(&self, list: StatusList) -> StatusList {
        let StatusList { mut items, mut proxies, mut complaints } = list;
        let readable = |object: &ObjectRef| {
            self.everywhere.contains(&object.kind)
                || self.somewhere.contains(&(object.kind, object.key.namespace.clone()))
        };
        items.retain(|(object, _)| readable(object));
        if !self.everywhere.contains(&Kind::Gateway) {
            proxies.clear();
            complaints.clear();
        }
        StatusList { items, proxies, complaints }
    }
}

/// A kind and namespace, empty for all, where the caller may read it there.
async fn permission(
    access: &Access,
    caller: &Caller,
    kind: Kind,
    namespace: String,
) -> Result<Option<(Kind, String)>, Denial> {
    let allowed = access.allows(caller, &question(kind, &namespace), clock::instant()).await?;
    Ok(allowed.then_some((kind, namespace)))
}

fn question(kind: Kind, namespace: &str) -> Question {
    let resource = match kind {
        Kind::OriginPool => "originpools",
        Kind::RateLimit => "ratelimits",
        Kind::WaitingRoom => "waitingrooms",
        Kind::GatewayClass => "gatewayclasses",
        Kind::Gateway => "gateways",
        Kind::HttpRoute => "httproutes",
        Kind::IngressClass => "ingressclasses",
        Kind::Ingress => "ingresses",
    };
    Question {
        verb: "get",
        group: ObjectKind::from(kind).group(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
    }
}

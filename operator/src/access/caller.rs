//! What a reviewed token says about its owner.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use serde::Deserialize;

use super::{AUDIENCE, Denial};

/// What user names of service accounts begin with.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Where a bound token names its pod.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// A service account, written `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("\"{text}\" is no service account; write NAMESPACE/NAME")),
        }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The role that a proxy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ingress for many hosts.
    Gateway,
    /// In front of one pod.
    Sidecar,
}

/// Who a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyIdentity {
    /// A gateway, by its account.
    Gateway {
        /// An account of `--gateway-identity`.
        account: ServiceAccount,
    },
    /// A sidecar, by its pod.
    Sidecar {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// UID of the pod.
        uid: String,
    },
}

/// The owner of a token that the API server accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// User name, as Kubernetes writes it.
    pub name: String,
    /// The account, where it is one of a service.
    pub account: Option<ServiceAccount>,
    /// Name and UID of the pod that the token is bound to.
    pub pod: Option<(String, String)>,
    /// When the token ends.
    pub ends: Timestamp,
    /// All that the review says, for questions about permissions.
    pub(super) user: UserInfo,
}

impl Caller {
    /// What permissions depend on, as one text.
    pub(super) fn fingerprint(&self) -> String {
        let UserInfo { extra, groups, uid, username } = &self.user;
        format!("{username:?} {uid:?} {groups:?} {extra:?}")
    }
}

/// The caller that a review of a token found.
pub(super) fn of_review(status: TokenReviewStatus, token: &str) -> Result<Caller, Denial> {
    let TokenReviewStatus { audiences, authenticated, error: _, user } = status;
    let user = user.filter(|_| authenticated == Some(true)).ok_or(Denial::NotAuthenticated)?;
    // An API server that knows nothing of audiences accepts any token and names none.
    if !audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
        return Err(Denial::WrongAudience);
    }
    let ends = end(token).ok_or(Denial::Endless)?;
    let name = user.username.clone().unwrap_or_default();
    let account = name
        .strip_prefix(SERVICE_ACCOUNT)
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, name)| ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() });
    let pod = user.extra.as_ref().and_then(|extra| Some((only(extra, POD_NAME)?, only(extra, POD_UID)?)));
    Ok(Caller { name, account, pod, ends, user })
}

/// The value of an extra that has exactly one.
fn only(extra: &BTreeMap<String, Vec<String>>, name: &str) -> Option<String> {
    match extra.get(name).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.clone()),
        _ => None,
    }
}

/// When a JWT ends. Only asked of tokens that the API server has accepted, so its signature is not looked at.
fn end(token: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let payload = token.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    Timestamp::UNIX_EPOCH.checked_add(jiff::SignedDuration::try_from_secs_f64(exp).ok()?).ok()
}

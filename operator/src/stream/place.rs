//! What a proxy is called, and what it gets.

use std::collections::BTreeSet;

use headgate_snapshot::Hello;

use crate::access::ProxyIdentity;
use crate::hub::Scope;

/// Longest name of a proxy, and of a Gateway that it names.
const LONGEST_NAME: usize = 253;
/// Most Gateways that one proxy names.
const MOST_GATEWAYS: usize = 256;
/// Longest text of a release.
const LONGEST_RELEASE: usize = 32;

/// Name and scope of a proxy. A sidecar's follow from its token alone.
pub(super) fn place(identity: &ProxyIdentity, hello: &Hello) -> Result<(String, Scope), String> {
    match identity {
        ProxyIdentity::Sidecar { namespace, pod, uid: _ } => {
            Ok((format!("{namespace}/{pod}"), Scope::Namespace(namespace.clone())))
        }
        ProxyIdentity::Gateway { account: _ } => {
            let is_name = |text: &str| {
                let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
                !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(known)
            };
            if !is_name(&hello.name) {
                return Err("Hello: the name of a proxy has letters, digits and -._: and at most 253 of them; \
                            set --name"
                    .to_owned());
            }
            if hello.gateways.len() > MOST_GATEWAYS {
                return Err(format!("Hello: at most {MOST_GATEWAYS} Gateways; without --gateway all are served"));
            }
            let gateways = hello.gateways.iter().map(|gateway| match gateway.split_once('/') {
                Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                    Ok((namespace.to_owned(), name.to_owned()))
                }
                _ => Err("Hello: a Gateway is written NAMESPACE/NAME; see --gateway".to_owned()),
            });
            let gateways = gateways.collect::<Result<BTreeSet<_>, _>>()?;
            let scope = if gateways.is_empty() { Scope::All } else { Scope::Gateways(gateways) };
            Ok((hello.name.clone(), scope))
        }
    }
}

/// The release of a proxy, as far as it can be one.
pub(super) fn release(hello: &Hello) -> String {
    hello.release.chars().filter(char::is_ascii_graphic).take(LONGEST_RELEASE).collect()
}

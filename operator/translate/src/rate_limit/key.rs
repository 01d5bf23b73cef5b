//! The key of a limit: checks, and spec to wire.

use headgate_crds::rate_limit::{ClientIpPart, JwtClaimPart, KeyPart, PathPart};
use headgate_snapshot as wire;
use headgate_snapshot::jwt_claim::Source;
use headgate_snapshot::key_part::Part;

use crate::expression::Told;
use crate::findings::Findings;

/// Header that has the token of a claim unless the spec says where it is.
const TOKEN_HEADER: &str = "authorization";

pub(super) fn lower(key: &[KeyPart], told: &mut Told, findings: &mut Findings) -> Vec<wire::KeyPart> {
    let mut lowered: Vec<wire::KeyPart> = Vec::with_capacity(key.len());
    for (index, part) in key.iter().enumerate() {
        let field = format!("spec.key[{index}]");
        let mut parts = parts(part, &field, findings);
        if let Some(expression) = &part.expression {
            told.key(&format!("{field}.expression"), expression, findings);
        }
        let (Some(part), None) = (parts.next(), parts.next()) else {
            let sentence = "is exactly one of clientIP, header, cookie, query, path, jwtClaim and expression; write \
                            several parts for several of them";
            findings.refuse(field, sentence);
            continue;
        };
        let part = wire::KeyPart { part: Some(part) };
        if lowered.contains(&part) {
            findings.refuse(field, "is in the key already; remove it");
        } else {
            lowered.push(part);
        }
    }
    lowered
}

/// The fields that a part has. It may have one.
fn parts(part: &KeyPart, field: &str, findings: &mut Findings) -> impl Iterator<Item = Part> + use<> {
    let KeyPart { client_ip, header, cookie, query, path, jwt_claim, expression } = part;
    let client_ip = client_ip.as_ref().map(|ClientIpPart { prefix_v4, prefix_v6 }| {
        Part::ClientIp(wire::ClientIp { prefix_v4: (*prefix_v4).into(), prefix_v6: (*prefix_v6).into() })
    });
    let path = path.as_ref().map(|PathPart {}| Part::Path(wire::RequestPath {}));
    let found = [
        client_ip,
        header.as_ref().map(|name| Part::Header(name.to_ascii_lowercase())),
        cookie.clone().map(Part::Cookie),
        query.clone().map(Part::Query),
        path,
        jwt_claim.as_ref().map(|claim| Part::JwtClaim(lower_claim(claim, field, findings))),
        expression.clone().map(Part::Expression),
    ];
    found.into_iter().flatten()
}

fn lower_claim(claim: &JwtClaimPart, field: &str, findings: &mut Findings) -> wire::JwtClaim {
    let JwtClaimPart { claim, header, cookie } = claim;
    let source = match (header, cookie) {
        (header, None) => Source::Header(header.as_deref().unwrap_or(TOKEN_HEADER).to_ascii_lowercase()),
        (None, Some(cookie)) => Source::Cookie(cookie.clone()),
        (Some(_), Some(cookie)) => {
            findings.refuse(format!("{field}.jwtClaim"), "has both header and cookie; write the one with the token");
            Source::Cookie(cookie.clone())
        }
    };
    wire::JwtClaim { claim: claim.clone(), source: Some(source) }
}

//! What has a counter of its own.

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One part of the key of a counter: exactly one of the fields.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("[has(self.clientIP), has(self.header), has(self.cookie), has(self.query), has(self.path), has(self.jwtClaim), has(self.expression)].filter(present, present).size() == 1")
        .message("a part of the key is exactly one of clientIP, header, cookie, query, path, jwtClaim and expression: write several parts for several of them")
)]
#[serde(rename_all = "camelCase")]
pub struct KeyPart {
    /// The client's address, by network.
    #[serde(rename = "clientIP", default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpPart>,

    /// A request header, by its name in any case. Several of one name are one value. At most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub header: Option<String>,

    /// A cookie, by its name. Several of one name are one value. At most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub cookie: Option<String>,

    /// A parameter of the query, by its name. Several of one name are one value. At most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub query: Option<String>,

    /// The path, normalised: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathPart>,

    /// A claim of a JSON Web Token.
    ///
    /// The token is not verified here: use this behind something that refuses forged ones, or a client chooses its
    /// counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt_claim: Option<JwtClaimPart>,

    /// A string, int or bool in CEL over the request: `request.path.split('/')[1]`. A failure for a request counts as a
    /// missing value. At most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub expression: Option<String>,
}

/// The client's address, by network.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpPart {
    /// Leading bits of an IPv4 address that count. 0 to 32. Default: 32, each address alone.
    #[schemars(with = "i32", range(min = 0, max = 32))]
    pub prefix_v4: u8,

    /// Leading bits of an IPv6 address that count. 0 to 128. Default: 64, the network that one client usually has.
    #[schemars(with = "i32", range(min = 0, max = 128))]
    pub prefix_v6: u8,
}

impl Default for ClientIpPart {
    fn default() -> Self {
        Self { prefix_v4: 32, prefix_v6: 64 }
    }
}

/// The path, normalised. It has no fields.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct PathPart {}

/// A claim at the top of a JSON Web Token.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new("!(has(self.header) && has(self.cookie))").message("a token is in a header or in a cookie: write one of them")]))]
#[serde(rename_all = "camelCase")]
pub struct JwtClaimPart {
    /// Name of the claim: `sub`. Its value is a string, a number or a bool. At most 256 characters.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,

    /// Request header with the token, after `Bearer ` or alone. At most 256 characters. Default: `authorization`, unless
    /// `cookie` is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub header: Option<String>,

    /// Cookie with the token. At most 256 characters. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"))]
    pub cookie: Option<String>,
}

//! Tokens of service accounts.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};

use super::{Cluster, ISSUER, api::Refusal};

/// A moment that is over, in seconds since 1970.
const LONG_AGO: u64 = 1_700_000_000;

/// A token to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// Where the service account is.
    pub namespace: &'a str,
    /// Who it speaks for.
    pub service_account: &'a str,
    /// Who it is for; empty: the API server itself.
    pub audience: &'a str,
    /// Seconds, 600 or more.
    pub seconds: u32,
    /// The pod that it is bound to, which runs as this service account.
    pub pod: Option<&'a str>,
}

impl<'a> Token<'a> {
    /// One for an hour, bound to nothing.
    pub fn of(namespace: &'a str, service_account: &'a str, audience: &'a str) -> Self {
        Self { namespace, service_account, audience, seconds: 3600, pod: None }
    }

    /// The same, bound to a pod.
    #[must_use]
    pub fn bound_to(self, pod: &'a str) -> Self {
        Self { pod: Some(pod), ..self }
    }
}

impl Cluster {
    /// Asks for a token of a service account, as `kubectl create token` does.
    pub async fn create_token(&self, token: Token<'_>) -> Result<String, Refusal> {
        let mut spec = json!({ "expirationSeconds": token.seconds });
        if !token.audience.is_empty() {
            spec["audiences"] = json!([token.audience]);
        }
        if let Some(pod) = token.pod {
            spec["boundObjectRef"] = json!({ "apiVersion": "v1", "kind": "Pod", "name": pod });
        }
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let (namespace, name) = (token.namespace, token.service_account);
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self.api.create(&path, &request).await?;
        Ok(answer["status"]["token"].as_str().expect("a TokenRequest is answered with a token").to_owned())
    }

    /// What the API server says of a token: the status of a TokenReview.
    pub async fn review_token(&self, token: &str, audience: &str) -> Value {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": { "token": token, "audiences": [audience] },
        });
        let answer = self.api.create("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
        answer.unwrap_or_else(|refusal| panic!("failed to review a token: {refusal:?}"))["status"].take()
    }

    /// A token that the API server could have signed, long ago: right in all but its time.
    pub async fn expired_token(&self, token: Token<'_>) -> String {
        let named = async |kind: &str, name: &str| {
            let object = self.api.find(kind, token.namespace, name).await;
            let object = object.unwrap_or_else(|| panic!("there is no {kind} {}/{name}", token.namespace));
            json!({ "name": name, "uid": object["metadata"]["uid"] })
        };
        let account = named("ServiceAccount", token.service_account).await;
        let mut place = json!({ "namespace": token.namespace, "serviceaccount": account });
        if let Some(pod) = token.pod {
            place["pod"] = named("Pod", pod).await;
        }
        let audience = if token.audience.is_empty() { ISSUER } else { token.audience };
        self.sign(&json!({
            "iss": ISSUER,
            "sub": format!("system:serviceaccount:{}:{}", token.namespace, token.service_account),
            "aud": [audience],
            "iat": LONG_AGO, "nbf": LONG_AGO, "exp": LONG_AGO + u64::from(token.seconds),
            "kubernetes.io": place,
        }))
    }

    /// A JWT with the key that the API server signs with.
    fn sign(&self, claims: &Value) -> String {
        let random = SystemRandom::new();
        let key = &self.files.service_account_key_der;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random).expect("a key of ours");
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(claims));
        let signature = key.sign(&random, signed.as_bytes()).expect("signing does not fail");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

//! Secrets of type `kubernetes.io/tls`: certificates that listeners and Ingresses refer to.
//!
//! Only Secrets that are referred to become resources. A certificate is checked here as a proxy would: what is told
//! to the user at once need not be refused by every proxy later.

use std::sync::Arc;

use headgate_snapshot::resource::Body;
use headgate_snapshot::{Certificate, Key};
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::inputs::{Inputs, ObjectKey, ReferredKind};
use crate::memo::Memo;
use crate::output::Output;

const TLS_TYPE: &str = "kubernetes.io/tls";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// What is in the Secrets that were checked, in this translation or the one before.
pub(crate) type Checks = Memo<ObjectKey, Check>;

/// A Secret, and what was found in it.
#[derive(Debug)]
pub(crate) struct Check {
    secret: Arc<Secret>,
    result: Result<Certificate, String>,
}

/// Checks Secrets, each once until it changes, and emits those that are used.
#[derive(Debug)]
pub(crate) struct Certificates<'a> {
    inputs: &'a Inputs,
    checks: &'a mut Checks,
}

impl<'a> Certificates<'a> {
    pub(crate) fn new(inputs: &'a Inputs, checks: &'a mut Checks) -> Self {
        Self { inputs, checks }
    }

    /// The key on the wire of the certificate in a Secret, or what is wrong with it.
    pub(crate) fn resolve(&mut self, secret: &ObjectKey, out: &mut Output) -> Result<Key, String> {
        out.refer(ReferredKind::Secret, secret);
        let object = self.inputs.secrets.get(secret).ok_or_else(|| format!("Secret {secret} does not exist"))?;
        // An object is never changed, only replaced: the same one has the same content.
        let is_same = |known: &Check| Arc::ptr_eq(&known.secret, object);
        let check = self.checks.recall(secret, is_same, || Check { secret: Arc::clone(object), result: read(object) });
        let certificate = check.result.as_ref().map_err(|mistake| format!("Secret {secret} {mistake}"))?;
        let key = Key::new("Secret", &secret.namespace, &secret.name);
        if !out.resources.contains_key(&key) {
            let body = Body::Certificate(certificate.clone());
            out.emit(key.clone(), object.metadata.generation.unwrap_or(0), body);
        }
        Ok(key)
    }
}

/// The certificate in a Secret, or what is wrong with it as the end of a sentence that begins with its name.
fn read(secret: &Secret) -> Result<Certificate, String> {
    let written = secret.type_.as_deref().unwrap_or("Opaque");
    if written != TLS_TYPE {
        return Err(format!("is of type {written}; a certificate needs a Secret of type {TLS_TYPE}"));
    }
    let chain_pem = entry(secret, CHAIN)?;
    let key_pem = entry(secret, KEY)?;

    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("has a {CHAIN} that is not PEM: {error}"))?;
    let leaf = chain.first().ok_or_else(|| format!("has a {CHAIN} without a certificate"))?;
    for certificate in &chain {
        X509Certificate::from_der(certificate)
            .map_err(|_| format!("has a {CHAIN} with a block that is no X.509 certificate"))?;
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|error| format!("has a {KEY} that is no private key in PEM: {error}"))?;
    let key = any_supported_type(&key).map_err(|_| {
        format!("has a {KEY} of a kind that is not supported; use RSA, ECDSA P-256 or P-384, or Ed25519")
    })?;
    CertifiedKey::new(vec![leaf.clone()], key)
        .keys_match()
        .map_err(|_| format!("has a {KEY} that does not belong to the first certificate of its {CHAIN}"))?;
    Ok(Certificate { chain_pem, key_pem })
}

/// One entry as text. Manifests may write it under `stringData`, which wins, as for the API server.
pub(crate) fn entry(secret: &Secret, name: &str) -> Result<String, String> {
    if let Some(text) = secret.string_data.as_ref().and_then(|data| data.get(name)) {
        return Ok(text.clone());
    }
    let bytes = secret.data.as_ref().and_then(|data| data.get(name)).ok_or_else(|| format!("has no {name}"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("has a {name} that is not text; PEM is expected"))
}

//! Certificates in Secrets and ConfigMaps: those that listeners and Ingresses show, and those that origins are trusted by.
//!
//! Only Secrets of type `kubernetes.io/tls` that are referred to become resources. A certificate is checked here as a proxy would: what is told
//! to the user at once need not be refused by every proxy later.

use std::sync::{Arc, OnceLock};

use headgate_snapshot::resource::Body;
use headgate_snapshot::{Certificate, Key, Resource};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::index::Index;
use crate::inputs::ObjectKey;
use crate::output::{Output, resource};
use crate::view::{Need, View};

const TLS_TYPE: &str = "kubernetes.io/tls";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Entry of certificates to trust in a ConfigMap or Secret.
pub(crate) const CA_ENTRY: &str = "ca.crt";

/// What is in a Secret, each way of reading it tried once.
#[derive(Debug)]
pub(crate) struct SecretContents {
    secret: Arc<Secret>,
    /// As the certificate of a listener.
    certificate: OnceLock<Result<Arc<Resource>, String>>,
    /// As certificates to trust.
    authority: OnceLock<Result<String, String>>,
}

impl SecretContents {
    pub(crate) fn new(secret: Arc<Secret>) -> Self {
        Self { secret, certificate: OnceLock::new(), authority: OnceLock::new() }
    }

    /// The certificate that listeners show, or what is wrong with it as the end of a sentence.
    pub(crate) fn certificate(&self, key: &ObjectKey) -> Result<&Arc<Resource>, &str> {
        let find = || {
            let body = Body::Certificate(read(&self.secret)?);
            Ok(resource(wire_key(key), self.secret.metadata.generation.unwrap_or(0), body))
        };
        self.certificate.get_or_init(find).as_ref().map_err(String::as_str)
    }

    /// The certificates to trust, or what is wrong with them as the end of a sentence.
    pub(crate) fn authority(&self) -> Result<&str, &str> {
        let find = || certificates_to_trust(entry(&self.secret, CA_ENTRY));
        self.authority.get_or_init(find).as_deref().map_err(String::as_str)
    }
}

/// The kind on the wire of a certificate.
pub(crate) const WIRE_KIND: &str = "Secret";

/// What is in a ConfigMap, read once.
#[derive(Debug)]
pub(crate) struct ConfigMapContents {
    map: Arc<ConfigMap>,
    authority: OnceLock<Result<String, String>>,
}

impl ConfigMapContents {
    pub(crate) fn new(map: Arc<ConfigMap>) -> Self {
        Self { map, authority: OnceLock::new() }
    }

    /// The certificates to trust, or what is wrong with them as the end of a sentence.
    pub(crate) fn authority(&self) -> Result<&str, &str> {
        let find = || {
            let text = self.map.data.as_ref().and_then(|data| data.get(CA_ENTRY));
            certificates_to_trust(text.cloned().ok_or_else(|| format!("has no {CA_ENTRY}")))
        };
        self.authority.get_or_init(find).as_deref().map_err(String::as_str)
    }
}

/// The key on the wire of the certificate in a Secret, which is emitted beside what refers to it, or what is wrong
/// with it.
pub(crate) fn resolve(secret: &ObjectKey, view: &View<'_>) -> Result<Key, String> {
    let contents = view.secret(secret).ok_or_else(|| format!("Secret {secret} does not exist"))?;
    contents.certificate(secret).map_err(|mistake| format!("Secret {secret} {mistake}"))?;
    view.need(Need::Certificate(secret.clone()));
    Ok(wire_key(secret))
}

/// Emits the certificates that something refers to.
pub(crate) fn lower(index: &Index, out: &mut Output) {
    for need in &out.needs {
        let Need::Certificate(secret) = need else { continue };
        let resource = index.secret(secret).and_then(|contents| contents.certificate(secret).ok());
        out.resources.extend(resource.cloned());
    }
}

fn wire_key(secret: &ObjectKey) -> Key {
    Key::new(WIRE_KIND, &secret.namespace, &secret.name)
}

fn certificates_to_trust(pem: Result<String, String>) -> Result<String, String> {
    let pem = pem.map_err(|mistake| format!("{mistake}; put the certificates to trust there, in PEM"))?;
    match certificates_in(&pem) {
        Some(1..) => Ok(pem),
        Some(0) | None => Err(format!(
            "has a {CA_ENTRY} that is no list of certificates; put the certificates to trust there, in PEM"
        )),
    }
}

/// How many certificates a text has, nothing when one of them is none.
fn certificates_in(pem: &str) -> Option<usize> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
    certificates.iter().all(|der| X509Certificate::from_der(der).is_ok()).then_some(certificates.len())
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
fn entry(secret: &Secret, name: &str) -> Result<String, String> {
    if let Some(text) = secret.string_data.as_ref().and_then(|data| data.get(name)) {
        return Ok(text.clone());
    }
    let bytes = secret.data.as_ref().and_then(|data| data.get(name)).ok_or_else(|| format!("has no {name}"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("has a {name} that is not text; PEM is expected"))
}

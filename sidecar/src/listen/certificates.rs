//! Certificates for TLS handshakes, chosen by the name that the client asks for.
//!
//! The plan says in which order certificates are asked whether they cover the name. Both the plan and the
//! certificates are read when a handshake begins: one that begins after a swap gets the new certificate, connections
//! that live keep the one they were opened with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use headgate_engine::FrontendId;
use headgate_snapshot::{Certificate, Key};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::state::{Certificates, Current};

/// Why a certificate cannot be served. The sentences name no byte of the key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("tls.crt holds no PEM certificate")]
    NoChain,
    #[error("tls.crt is not PEM: {0}")]
    Chain(#[source] rustls_pki_types::pem::Error),
    #[error("tls.key holds no PEM private key that can be read")]
    Key,
    #[error("tls.key is of a kind that is not supported: use RSA, ECDSA (P-256, P-384) or Ed25519")]
    KeyKind,
    #[error("tls.key does not belong to the first certificate of tls.crt")]
    Mismatch,
    #[error("the first certificate of tls.crt is not X.509")]
    Leaf,
}

/// A certificate with its key, ready to be served.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    key: Arc<CertifiedKey>,
    /// Names that it covers, lower case, `*.` for wildcards.
    names: Vec<String>,
}

impl ServerCertificate {
    /// Reads a chain (leaf first) and its key from PEM.
    pub(crate) fn new(certificate: &Certificate) -> Result<Self, CertificateError> {
        let Certificate { chain_pem, key_pem } = certificate;
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(CertificateError::Chain)?;
        let leaf = chain.first().ok_or(CertificateError::NoChain)?;
        let names = names_of(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| CertificateError::Key)?;
        let key = any_supported_type(&key).map_err(|_| CertificateError::KeyKind)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(CertificateError::Mismatch),
        }
        Ok(Self { key: Arc::new(key), names })
    }

    fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(suffix) => name.split_once('.').is_some_and(|(_, parent)| parent == suffix),
            None => pattern == name,
        })
    }
}

fn names_of(leaf: &CertificateDer<'_>) -> Result<Vec<String>, CertificateError> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::Leaf)?;
    let alternatives = leaf.subject_alternative_name().map_err(|_| CertificateError::Leaf)?;
    let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

/// The first certificate that covers the name, else the first: a client sees whose it is and can say so.
fn choose<'a, 'k>(
    certificates: &'a Certificates,
    order: impl Iterator<Item = &'k Key>,
    name: &str,
) -> Option<&'a Arc<CertifiedKey>> {
    let mut known = order.filter_map(|key| certificates.get(key)).map(|(_, ready)| ready);
    let first = known.next()?;
    let chosen = if first.covers(name) { first } else { known.find(|ready| ready.covers(name)).unwrap_or(first) };
    Some(&chosen.key)
}

/// Answers the TLS library for one frontend.
#[derive(Debug)]
pub(crate) struct CertificateResolver {
    frontend: FrontendId,
    current: Arc<ArcSwap<Current>>,
}

impl CertificateResolver {
    /// A resolver that follows the plan in force.
    pub(crate) fn new(frontend: FrontendId, current: Arc<ArcSwap<Current>>) -> Self {
        Self { frontend, current }
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        let current = self.current.load();
        let order = current.plan.certificates(self.frontend, &name);
        choose(&current.certificates, order, &name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate { chain_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() }
    }

    fn check_choice(served: &[&[&str]], name: &str, expected: Option<&str>) {
        let key = |names: &&[&str]| Key::new("Secret", "default", names[0]);
        let certificates: Certificates = served
            .iter()
            .map(|names| {
                let certificate = certificate(names);
                let ready = ServerCertificate::new(&certificate).unwrap();
                (key(names), (Arc::new(certificate), Arc::new(ready)))
            })
            .collect();
        let order: Vec<Key> = served.iter().map(key).collect();
        let chosen = choose(&certificates, order.iter(), name);
        let is_chosen = |ready: &ServerCertificate| chosen.is_some_and(|chosen| Arc::ptr_eq(&ready.key, chosen));
        let found = certificates.iter().find(|(_, (_, ready))| is_chosen(ready));
        assert_eq!(found.map(|(key, _)| key.name.as_str()), expected, "{served:?} {name}");
    }

    #[test]
    fn the_first_certificate_that_covers_the_name_is_used() {
        let served: &[&[&str]] = &[&["a.example"], &["b.example", "a.example"], &["*.c.example"]];
        check_choice(served, "a.example", Some("a.example"));
        check_choice(served, "b.example", Some("b.example"));
        check_choice(served, "x.c.example", Some("*.c.example"));
    }

    #[test]
    fn a_name_that_none_covers_gets_the_first() {
        check_choice(&[&["a.example"], &["*.c.example"]], "x.y.c.example", Some("a.example"));
        check_choice(&[&["a.example"]], "", Some("a.example"));
        check_choice(&[], "a.example", None);
    }

    fn check_refusal(certificate: &Certificate, expected: &str) {
        assert_eq!(ServerCertificate::new(certificate).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_a_sentence() {
        let one = certificate(&["a.example"]);
        let other = certificate(&["a.example"]);
        let crossed = Certificate { key_pem: other.key_pem, ..one.clone() };
        check_refusal(&crossed, "tls.key does not belong to the first certificate of tls.crt");
        check_refusal(
            &Certificate { key_pem: String::new(), ..one },
            "tls.key holds no PEM private key that can be read",
        );
        check_refusal(&Certificate::default(), "tls.crt holds no PEM certificate");
    }
}

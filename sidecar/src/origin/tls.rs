//! What is trusted on the way to origins: certificates for Pingora's peers, TLS configurations for probes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a bundle of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("the CA is not PEM: {0}")]
    Pem(#[source] rustls_pki_types::pem::Error),
    #[error("the CA holds no certificate")]
    Empty,
    #[error("certificate {number} of the CA is not X.509")]
    NotX509 {
        /// Counted from 1.
        number: usize,
    },
    #[error("certificate {number} of the CA cannot be trusted: {reason}")]
    Unusable { number: usize, reason: rustls::Error },
}

/// A CA of a user's own, in the forms that our two TLS clients want.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// For Pingora.
    pub(crate) authorities: Arc<CaType>,
    /// For probes.
    roots: Arc<RootCertStore>,
    /// Tells it from others: connections to one address are shared only where this is equal.
    pub(crate) fingerprint: u64,
}

impl Trust {
    /// Reads a PEM bundle.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let authorities =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(TrustError::Pem)?;
        if authorities.is_empty() {
            return Err(TrustError::Empty);
        }
        let mut roots = RootCertStore::empty();
        for (index, authority) in authorities.iter().enumerate() {
            let number = index + 1;
            // Pingora's own wrapper panics on what is not X.509.
            X509Certificate::from_der(authority).map_err(|_| TrustError::NotX509 { number })?;
            roots.add(authority.clone()).map_err(|reason| TrustError::Unusable { number, reason })?;
        }
        let wrapped: Vec<WrappedX509> =
            authorities.iter().map(|authority| WrappedX509::new(authority.to_vec(), parse_x509)).collect();
        Ok(Self { authorities: Arc::from(wrapped), roots: Arc::new(roots), fingerprint: fingerprint(pem.as_bytes()) })
    }
}

/// The first eight bytes of a SHA-256.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// TLS configurations of probes, one for each CA and protocol.
#[derive(Debug, Default)]
pub(crate) struct ProbeTls {
    system: Mutex<Option<Arc<RootCertStore>>>,
    configurations: Mutex<HashMap<(u64, bool), Arc<ClientConfig>>>,
}

impl ProbeTls {
    /// The configuration that trusts `trust`, or the system's authorities where there is none.
    pub(crate) fn configuration(&self, trust: Option<&Trust>, http2: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = (trust.map_or(0, |trust| trust.fingerprint), http2);
        if let Some(known) = self.configurations.lock().get(&key) {
            return Ok(Arc::clone(known));
        }
        let roots = match trust {
            Some(trust) => Arc::clone(&trust.roots),
            None => self.system_roots(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut configuration = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        configuration.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let configuration = Arc::new(configuration);
        self.configurations.lock().insert(key, Arc::clone(&configuration));
        Ok(configuration)
    }

    fn system_roots(&self) -> Arc<RootCertStore> {
        let mut known = self.system.lock();
        Arc::clone(known.get_or_insert_with(|| {
            let mut roots = RootCertStore::empty();
            if let Err(error) = pingora::tls::load_platform_certs_incl_env_into_store(&mut roots) {
                tracing::warn!(%error, "the system's certificate authorities cannot be read");
            }
            Arc::new(roots)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pem: &str, expected: &str) {
        assert_eq!(Trust::from_pem(pem).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_bundle_that_is_no_certificate_is_refused_with_a_sentence() {
        check("", "the CA holds no certificate");
        let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        check(garbage, "certificate 1 of the CA is not X.509");
    }

    #[test]
    fn bundles_are_told_apart() {
        let pem = || rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap().cert.pem();
        let (one, other) = (pem(), pem());
        assert_eq!(Trust::from_pem(&one).unwrap().fingerprint, Trust::from_pem(&one).unwrap().fingerprint);
        assert_ne!(Trust::from_pem(&one).unwrap().fingerprint, Trust::from_pem(&other).unwrap().fingerprint);
    }
}

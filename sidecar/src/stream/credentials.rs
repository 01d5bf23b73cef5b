//! The CA and the token on disk, which both change while the proxy runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::session::left;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("cannot read {flag} {}: {cause}", path.display())]
    Read {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The CA is not one.
    #[error("--ca {} holds no PEM certificate that can be trusted; give the ca.crt of ConfigMap headgate-ca", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
    },
    /// The token is empty or has bytes that no token has.
    #[error("--token {} holds no token; give a service account token of audience headgate", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library does not accept its own defaults.
    #[error("TLS cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// The newest credentials that could be read.
pub(crate) struct Credentials {
    ca: PathBuf,
    token: PathBuf,
    tls: Mutex<(Vec<u8>, Arc<ClientConfig>)>,
    tokens: watch::Sender<Arc<str>>,
}

impl Credentials {
    /// Reads both files.
    pub(crate) fn read(ca: &Path, token: &Path) -> Result<Self, CredentialError> {
        let pem = read("--ca", ca)?;
        let configuration = configuration(ca, &pem)?;
        let first = read_token(token)?;
        let (ca, token) = (ca.to_owned(), token.to_owned());
        Ok(Self { ca, token, tls: Mutex::new((pem, configuration)), tokens: watch::Sender::new(first) })
    }

    /// The TLS configuration for the CA as it is on disk now, or for the last one that could be read.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        let mut known = self.tls.lock();
        match read("--ca", &self.ca) {
            Ok(pem) if pem == known.0 => {}
            Ok(pem) => match configuration(&self.ca, &pem) {
                Ok(configuration) => *known = (pem, configuration),
                Err(error) => tracing::warn!("{error}; the one before stays in use"),
            },
            Err(error) => tracing::warn!("{error}; the one before stays in use"),
        }
        Arc::clone(&known.1)
    }

    /// The token as it is on disk now, or the last one that could be read.
    pub(crate) fn token(&self) -> Arc<str> {
        match read_token(&self.token) {
            Ok(token) => {
                self.tokens.send_if_modified(|known| {
                    let changed = *known != token;
                    known.clone_from(&token);
                    changed
                });
            }
            Err(error) => tracing::warn!("{error}; the one before stays in use"),
        }
        Arc::clone(&self.tokens.borrow())
    }

    /// Changes with the token.
    pub(crate) fn tokens(&self) -> watch::Receiver<Arc<str>> {
        self.tokens.subscribe()
    }
}

/// Looks at the token again and again, until the proxy leaves.
pub(crate) async fn follow_token(credentials: Arc<Credentials>, period: Duration, mut leaving: watch::Receiver<bool>) {
    let mut looks = interval(period);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => credentials.token(),
            () = left(&mut leaving) => return,
        };
    }
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, CredentialError> {
    std::fs::read(path).map_err(|cause| CredentialError::Read { flag, path: path.to_owned(), cause })
}

fn read_token(path: &Path) -> Result<Arc<str>, CredentialError> {
    let mistake = || CredentialError::Token { path: path.to_owned() };
    let text = String::from_utf8(read("--token", path)?).map_err(|_| mistake())?;
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(token.into()) } else { Err(mistake()) }
}

/// A configuration that trusts every certificate of a bundle that can be trusted, so that two CAs overlap.
fn configuration(path: &Path, pem: &[u8]) -> Result<Arc<ClientConfig>, CredentialError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(CredentialError::Ca { path: path.to_owned() });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(configuration))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        rcgen::generate_simple_self_signed(vec!["operator.example".into()]).unwrap().cert.pem()
    }

    #[test]
    fn a_file_that_is_no_credential_is_named_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (ca, token) = (file("ca", &pem()), file("token", "t\n"));
        let check = |ca: &Path, token: &Path, expected: &str| {
            let error = Credentials::read(ca, token).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&directory.path().join("none"), &token, "cannot read --ca");
        check(&ca, &directory.path().join("none"), "cannot read --token");
        check(&file("bad", "nonsense"), &token, "holds no PEM certificate that can be trusted");
        check(&ca, &file("empty", " \n"), "holds no token");
        check(&ca, &file("two", "a b"), "holds no token");
    }

    #[test]
    fn changed_files_are_read_again_and_a_broken_one_leaves_the_last_good_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let (ca, token) = (directory.path().join("ca"), directory.path().join("token"));
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&ca, &pem());
        write(&token, "one");
        let credentials = Credentials::read(&ca, &token).unwrap();
        let first = credentials.tls();
        assert!(Arc::ptr_eq(&first, &credentials.tls()));
        write(&ca, &(pem() + &pem()));
        let second = credentials.tls();
        assert!(!Arc::ptr_eq(&first, &second));
        write(&ca, "");
        assert!(Arc::ptr_eq(&second, &credentials.tls()));

        let tokens = credentials.tokens();
        assert_eq!(&*credentials.token(), "one");
        assert!(!tokens.has_changed().unwrap());
        write(&token, "two\n");
        assert_eq!(&*credentials.token(), "two");
        assert!(tokens.has_changed().unwrap());
        write(&token, "");
        assert_eq!(&*credentials.token(), "two");
    }
}

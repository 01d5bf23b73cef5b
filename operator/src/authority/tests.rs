//! Two operators agree on one authority, and none is signed by before it is trusted.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::FutureExt as _;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const DAY: Duration = Duration::from_hours(24);

fn names() -> BTreeSet<String> {
    BTreeSet::from(["localhost".to_owned(), "127.0.0.1".to_owned()])
}

/// A vault in memory.
#[derive(Default)]
struct Memory {
    secret: Mutex<Option<KeptSecret>>,
    map: Mutex<Option<KeptConfigMap>>,
}

fn next(version: &str) -> String {
    (version.parse::<u64>().unwrap_or(0) + 1).to_string()
}

impl Vault for Memory {
    fn secret<'a>(&'a self, _: &'a str) -> Kept<'a, Option<KeptSecret>> {
        async move { Ok(self.secret.lock().clone()) }.boxed()
    }

    fn create_secret<'a>(&'a self, name: &'a str, data: BTreeMap<String, Vec<u8>>) -> Kept<'a, Written> {
        async move {
            let there = self.secret.lock().is_some();
            if there { Ok(Written::Outrun) } else { self.replace_secret(name, "", data).await }
        }
        .boxed()
    }

    fn replace_secret<'a>(
        &'a self,
        _: &'a str,
        version: &'a str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Kept<'a, Written> {
        async move {
            let mut secret = self.secret.lock();
            if secret.as_ref().map_or("", |secret| secret.resource_version.as_str()) != version {
                return Ok(Written::Outrun);
            }
            *secret = Some(KeptSecret { resource_version: next(version), data });
            Ok(Written::Done)
        }
        .boxed()
    }

    fn config_map<'a>(&'a self, _: &'a str) -> Kept<'a, Option<KeptConfigMap>> {
        async move { Ok(self.map.lock().clone()) }.boxed()
    }

    fn create_config_map<'a>(&'a self, name: &'a str, ca: &'a str) -> Kept<'a, Written> {
        async move {
            let there = self.map.lock().is_some();
            if there { Ok(Written::Outrun) } else { self.replace_config_map(name, "", ca).await }
        }
        .boxed()
    }

    fn replace_config_map<'a>(&'a self, _: &'a str, version: &'a str, ca: &'a str) -> Kept<'a, Written> {
        async move {
            *self.map.lock() = Some(KeptConfigMap { resource_version: next(version), ca: ca.to_owned() });
            Ok(Written::Done)
        }
        .boxed()
    }
}

impl Memory {
    fn bundle(&self) -> String {
        self.map.lock().as_ref().map(|map| map.ca.clone()).unwrap_or_default()
    }

    /// Whether a client that trusts the bundle believes a certificate at a time.
    fn trusts(&self, key: &CertifiedKey, at: Timestamp) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.bundle();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().unsigned_abs()));
        let name = ServerName::try_from("localhost").unwrap();
        verifier.verify_server_cert(&key.cert[0], &[], &name, &[], time).is_ok()
    }
}

#[tokio::test]
async fn two_operators_agree_on_one_authority_before_there_is_a_leader() {
    let vault = Memory::default();
    let (mut one, mut other) = (None, None);
    let first = serve(&vault, &names(), || false, &mut one, NOW).await.unwrap().unwrap();
    let second = serve(&vault, &names(), || false, &mut other, NOW).await.unwrap().unwrap();
    assert!(vault.trusts(&first, NOW) && vault.trusts(&second, NOW));
    assert_eq!(vault.bundle().matches("BEGIN CERTIFICATE").count(), 1);
    assert!(serve(&vault, &names(), || true, &mut one, NOW).await.unwrap().is_none(), "a good leaf is kept");
}

#[tokio::test]
async fn over_the_years_every_certificate_that_is_served_is_trusted_by_the_bundle_of_the_day_before() {
    let vault = Memory::default();
    let mut leaf = None;
    let mut authorities = BTreeSet::new();
    let mut most = 0;
    for day in 0..900 {
        let now = NOW + DAY * day;
        let before = vault.bundle();
        serve(&vault, &names(), || true, &mut leaf, now).await.unwrap();
        let served = leaf.clone().unwrap().key;
        let after = std::mem::replace(&mut vault.map.lock().as_mut().unwrap().ca, before.clone());
        assert!(day == 0 || vault.trusts(&served, now), "day {day}: a proxy with the bundle of yesterday");
        vault.map.lock().as_mut().unwrap().ca = after;
        assert!(vault.trusts(&served, now), "day {day}");
        let secret = vault.secret.lock().clone().unwrap();
        let book = Book::read(&secret.data).unwrap();
        authorities.insert(book.current.certificate_pem);
        most = most.max(vault.bundle().matches("BEGIN CERTIFICATE").count());
    }
    assert_eq!((authorities.len(), most), (4, 2));
}

#[tokio::test]
async fn only_the_leader_rotates() {
    let vault = Memory::default();
    let mut leaf = None;
    serve(&vault, &names(), || false, &mut leaf, NOW).await.unwrap();
    let late = NOW + DAY * 300;
    serve(&vault, &names(), || false, &mut leaf, late).await.unwrap();
    assert_eq!(vault.secret.lock().as_ref().unwrap().resource_version, "1");
    serve(&vault, &names(), || true, &mut leaf, late).await.unwrap();
    assert_eq!(vault.secret.lock().as_ref().unwrap().resource_version, "2");
    assert_eq!(vault.bundle().matches("BEGIN CERTIFICATE").count(), 2);
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_told_and_left_alone() {
    let check = async |change: fn(&mut BTreeMap<String, Vec<u8>>), expected: &str| {
        let vault = Memory::default();
        let mut data = Book::begin(NOW).unwrap().data();
        change(&mut data);
        *vault.secret.lock() = Some(KeptSecret { resource_version: "7".to_owned(), data });
        let error = serve(&vault, &names(), || true, &mut None, NOW).await.unwrap_err();
        let expected = format!("Secret headgate-ca: {expected}; repair it, or delete it to have a new authority made");
        assert_eq!(error.to_string(), expected);
        assert_eq!(vault.secret.lock().as_ref().unwrap().resource_version, "7");
    };
    check(BTreeMap::clear, "ca.crt and ca.key are missing").await;
    let remove_key = |data: &mut BTreeMap<String, Vec<u8>>| drop(data.remove("ca.key"));
    check(remove_key, "ca.key is missing").await;
    let other_key = |data: &mut BTreeMap<String, Vec<u8>>| {
        let other = Book::begin(NOW).unwrap().data();
        data.insert("ca.key".to_owned(), other["ca.key"].clone());
    };
    check(other_key, "ca.crt and ca.key: the key is not the certificate's").await;
}

#[test]
fn an_unspecified_address_stands_for_all_local_ones() {
    let check = |listening: &str, expected: &[&str]| {
        let listening: SocketAddr = listening.parse().unwrap();
        let local = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let names = serving_names("headgate-system", &[listening], local);
        let addresses: Vec<&str> =
            names.iter().filter(|name| name.parse::<std::net::IpAddr>().is_ok()).map(String::as_str).collect();
        assert_eq!(addresses, expected, "{listening}");
        for name in ["localhost", "headgate-operator.headgate-system.svc", "*.headgate-operator.headgate-system.svc"] {
            assert!(names.contains(name), "{name}");
        }
    };
    check("192.0.2.1:9443", &["192.0.2.1"]);
    check("0.0.0.0:9443", &["10.0.0.7", "127.0.0.1"]);
    check("[::]:9443", &["10.0.0.7", "127.0.0.1", "::1", "fd00::7"]);
}

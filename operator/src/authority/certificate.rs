//! Certificates of the authority and of those who serve.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

use super::AuthorityError;

/// How long a serving certificate holds.
pub const LEAF_LIFETIME: Duration = Duration::from_hours(14 * 24);

/// How long an authority holds.
const CA_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// Certificates begin a little before now, for machines whose clocks are late.
pub(super) const BACKDATED: Duration = Duration::from_mins(5);

/// An authority.
#[derive(Clone, PartialEq)]
pub(super) struct Ca {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate_pem: _, key_pem: _, begins, ends } = self;
        f.debug_struct("Ca").field("begins", begins).field("ends", ends).finish_non_exhaustive()
    }
}

/// A certificate that is served.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) key: Arc<CertifiedKey>,
    begins: Timestamp,
    ends: Timestamp,
    /// Who signed it.
    issuer_pem: String,
}

impl Ca {
    /// Makes a new authority.
    pub(super) fn generate(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        // Two authorities of different names are never confused while one follows the other.
        name.push(DnType::CommonName, format!("headgate {}", now.as_second()));
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        hold(&mut params, now, CA_LIFETIME)?;
        let certificate = params.self_signed(&key).map_err(crypto)?;
        Self::read(certificate.pem(), key.serialize_pem()).map_err(AuthorityError::Crypto)
    }

    /// Reads an authority, or says what is wrong with it.
    pub(super) fn read(certificate_pem: String, key_pem: String) -> Result<Self, String> {
        let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).map_err(|_| "the certificate is not in PEM")?;
        let certificate = pem.parse_x509().map_err(|_| "the certificate cannot be read")?;
        let key = KeyPair::from_pem(&key_pem).map_err(|_| "the key cannot be read; it must be in PKCS #8")?;
        if certificate.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err("the key is not the certificate's".to_owned());
        }
        if !certificate.is_ca() {
            return Err("the certificate is not one of an authority".to_owned());
        }
        let time = |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|_| "a time is out of range");
        let validity = certificate.validity();
        let (begins, ends) = (time(validity.not_before)?, time(validity.not_after)?);
        Ok(Self { certificate_pem, key_pem, begins, ends })
    }

    /// Whether less than a third of its life is left.
    pub(super) fn is_ending(&self, now: Timestamp) -> bool {
        is_ending(self.begins, self.ends, now)
    }

    /// Signs a serving certificate for these names.
    pub(super) fn sign(&self, names: &BTreeSet<String>, now: Timestamp) -> Result<Leaf, AuthorityError> {
        let issuer = KeyPair::from_pem(&self.key_pem).map_err(crypto)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, issuer).map_err(crypto)?;
        let names: Vec<String> = names.iter().cloned().collect();
        let mut params = CertificateParams::new(names).map_err(crypto)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "headgate-operator");
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        hold(&mut params, now, LEAF_LIFETIME)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        let certificate = params.signed_by(&key, &issuer).map_err(crypto)?;
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, private, &provider).map_err(crypto)?;
        Ok(Leaf {
            key: Arc::new(key),
            begins: now,
            ends: now + LEAF_LIFETIME,
            issuer_pem: self.certificate_pem.clone(),
        })
    }
}

impl Leaf {
    /// Whether another certificate must be served. One from the future is due as well: the clock was set back.
    pub(super) fn is_due(&self, current: &Ca, now: Timestamp) -> bool {
        self.issuer_pem != current.certificate_pem || now < self.begins || is_ending(self.begins, self.ends, now)
    }
}

fn is_ending(begins: Timestamp, ends: Timestamp, now: Timestamp) -> bool {
    let seconds = |duration: SignedDuration| duration.as_secs();
    seconds(ends.duration_since(now)) * 3 < seconds(ends.duration_since(begins))
}

fn hold(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) -> Result<(), AuthorityError> {
    // The library's type of time, which it shares with the parser.
    let time = |time: Timestamp| ASN1Time::from_timestamp(time.as_second()).map(|time| time.to_datetime());
    params.not_before = time(now - BACKDATED).map_err(crypto)?;
    params.not_after = time(now + lifetime).map_err(crypto)?;
    Ok(())
}

fn crypto(error: impl fmt::Display) -> AuthorityError {
    AuthorityError::Crypto(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_before_it_begins_and_in_the_last_third_of_its_life() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let ca = Ca::generate(now).expect("an authority");
        let leaf = ca.sign(&BTreeSet::from(["operator".to_owned()]), now).expect("a certificate");
        let day = Duration::from_hours(24);
        let due = [now - day, now, now + 9 * day, now + 10 * day].map(|at| leaf.is_due(&ca, at));
        assert_eq!(due, [true, false, false, true]);
    }
}

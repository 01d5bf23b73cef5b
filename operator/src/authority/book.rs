//! The authorities of the Secret, and the next step of their rotation. Pure but for making keys.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::certificate::{BACKDATED, Ca, LEAF_LIFETIME};
use super::{AuthorityError, OVERLAP};

const CURRENT: (&str, &str) = ("ca.crt", "ca.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");
const PREVIOUS: &str = "previous.crt";

/// The authorities.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Book {
    /// Signs.
    pub(super) current: Ca,
    /// Is published, and will sign.
    pub(super) next: Option<Ca>,
    /// Signed what may still be served: certificates in PEM.
    pub(super) previous: Option<String>,
}

impl Book {
    /// The first authority.
    pub(super) fn begin(now: Timestamp) -> Result<Self, AuthorityError> {
        Ok(Self { current: Ca::generate(now)?, next: None, previous: None })
    }

    /// The authorities of a Secret.
    pub(super) fn read(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, AuthorityError> {
        let text = |key: &str| match data.get(key) {
            None => Ok(None),
            Some(bytes) => std::str::from_utf8(bytes)
                .map(|text| Some(text.to_owned()))
                .map_err(|_| AuthorityError::Invalid(format!("{key} is no text"))),
        };
        let ca = |(certificate, key): (&str, &str)| match (text(certificate)?, text(key)?) {
            (Some(certificate_pem), Some(key_pem)) => Ca::read(certificate_pem, key_pem)
                .map(Some)
                .map_err(|error| AuthorityError::Invalid(format!("{certificate} and {key}: {error}"))),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(AuthorityError::Invalid(format!("{certificate} is missing"))),
            (Some(_), None) => Err(AuthorityError::Invalid(format!("{key} is missing"))),
        };
        let missing = || AuthorityError::Invalid(format!("{} and {} are missing", CURRENT.0, CURRENT.1));
        Ok(Self { current: ca(CURRENT)?.ok_or_else(missing)?, next: ca(NEXT)?, previous: text(PREVIOUS)? })
    }

    /// What the Secret has.
    pub(super) fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let Self { current, next, previous } = self;
        let mut data = BTreeMap::new();
        for (names, ca) in [(CURRENT, Some(current)), (NEXT, next.as_ref())] {
            let Some(ca) = ca else { continue };
            data.insert(names.0.to_owned(), ca.certificate_pem.clone().into_bytes());
            data.insert(names.1.to_owned(), ca.key_pem.clone().into_bytes());
        }
        if let Some(previous) = previous {
            data.insert(PREVIOUS.to_owned(), previous.clone().into_bytes());
        }
        data
    }

    /// What proxies trust: all of them.
    pub(super) fn bundle(&self) -> String {
        let Self { current, next, previous } = self;
        let next = next.as_ref().map(|ca| ca.certificate_pem.as_str());
        let all = [Some(current.certificate_pem.as_str()), next, previous.as_deref()];
        all.into_iter().flatten().flat_map(|pem| [pem.trim_end(), "\n"]).collect()
    }

    /// The book after the step that is due, nothing where none is.
    pub(super) fn step(&self, now: Timestamp) -> Result<Option<Self>, AuthorityError> {
        let Self { current, next, previous } = self;
        if let Some(next) = next {
            let signs_from = next.begins + BACKDATED + OVERLAP;
            return Ok((now >= signs_from).then(|| Self {
                current: next.clone(),
                next: None,
                previous: Some(current.certificate_pem.clone()),
            }));
        }
        let signed_until = current.begins + BACKDATED + OVERLAP + LEAF_LIFETIME;
        if previous.is_some() && now >= signed_until {
            return Ok(Some(Self { previous: None, ..self.clone() }));
        }
        if current.is_ending(now) {
            return Ok(Some(Self { next: Some(Ca::generate(now)?), ..self.clone() }));
        }
        Ok(None)
    }
}

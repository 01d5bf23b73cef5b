//! Why a resource is refused.

use headgate_snapshot::{Key, Refusal};

/// What is wrong with a resource. Translate has checked the user's object before, so a refusal mostly means that
/// operator and proxy are of different releases; the sentences still say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mistake {
    #[error("the resource requires `{0}`, which this proxy does not know; upgrade the proxy")]
    MissingFeature(String),
    #[error("the resource has no body that this proxy knows; upgrade the proxy")]
    UnknownBody,
    #[error("{field}: {message}")]
    Invalid { field: String, message: String },
}

impl Mistake {
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    pub(crate) fn refusal(&self, key: &Key) -> Refusal {
        let reason = match self {
            Self::MissingFeature(_) => "MissingFeature",
            Self::UnknownBody => "UnknownBody",
            Self::Invalid { .. } => "Invalid",
        };
        Refusal { key: Some(key.clone()), reason: reason.to_owned(), message: self.to_string() }
    }
}

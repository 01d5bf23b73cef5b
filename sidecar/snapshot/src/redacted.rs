//! What may be shown of a resource.

use crate::Resource;
use crate::resource::Body;

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

impl Resource {
    /// The resource with a word in place of each secret, for people.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        match &mut shown.body {
            Some(Body::Certificate(certificate)) => REDACTED.clone_into(&mut certificate.key_pem),
            Some(Body::WaitingRoom(room)) => room.ticket_secret.clear(),
            Some(Body::Gateway(_) | Body::Route(_) | Body::OriginPool(_) | Body::RateLimit(_)) | None => {}
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Certificate;

    #[test]
    fn private_keys_are_not_shown() {
        let certificate = Certificate { chain_pem: "chain".into(), key_pem: "secret".into() };
        let resource = Resource { body: Some(Body::Certificate(certificate)), ..Resource::default() };
        let text = serde_json::to_string(&resource.without_secrets()).unwrap();
        assert!(text.contains("chain") && text.contains(REDACTED) && !text.contains("secret"), "{text}");
    }
}

//! The claim of a token as a key.
//!
//! Nobody has verified the token: a client may write any claim. That is fine for a fair share among honest clients; who
//! must not be evaded by a made-up claim has the token verified first, and refused where it is not valid.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::key::KeyText;

/// Claims longer than this are not read, and count as missing.
const MOST_PAYLOAD_BYTES: usize = 16 * 1024;

const SCHEME: &[u8] = b"Bearer ";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A token without the word before it.
pub(crate) fn without_scheme(value: &[u8]) -> &[u8] {
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => token.trim_ascii(),
        Some(_) | None => value.trim_ascii(),
    }
}

/// Writes a claim at the top of a token.
pub(crate) fn write_claim(token: &[u8], claim: &str, key: &mut KeyText) {
    match read_claim(token, claim) {
        Some(Value::String(text)) => key.text(text.as_bytes()),
        Some(Value::Null) | None => key.missing(),
        Some(value @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => {
            key.typed(&value.to_string());
        }
    }
}

fn read_claim(token: &[u8], claim: &str) -> Option<Value> {
    let payload = token.split(|byte| *byte == b'.').nth(1).filter(|payload| payload.len() <= MOST_PAYLOAD_BYTES)?;
    let mut claims: Value = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
    claims.get_mut(claim).map(Value::take)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(token: &str, expected: Option<&str>) {
        let found = read_claim(without_scheme(token.as_bytes()), "sub").map(|value| value.to_string());
        assert_eq!(found.as_deref(), expected, "{token}");
    }

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", BASE64.encode(payload))
    }

    #[test]
    fn a_claim_is_read_from_the_payload() {
        check(&format!("Bearer {}", token(r#"{"sub":"alice"}"#)), Some(r#""alice""#));
        check(&format!("bearer  {}", token(r#"{"sub":7}"#)), Some("7"));
        check(&token(r#"{"sub":["a"]}"#), Some(r#"["a"]"#));
        check(&token(r#"{"aud":"x"}"#), None);
        check(&token("no json"), None);
        check("Bearer", None);
        check("a.%%%.b", None);
        check(&token(&format!(r#"{{"sub":"{}"}}"#, "x".repeat(20_000))), None);
    }
}

//! A client of Envoy's rate limit service that writes its messages byte by byte, so that it knows nothing of ours.

use http::Method;

use crate::client::{Answer, Connection, get};

/// What the service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// `grpc-status`: 0 is good.
    pub status: u32,
    /// `grpc-message`, as it is on the wire.
    pub message: String,
    /// `overall_code`: 0 unknown, 1 within the limit, 2 over it.
    pub code: u64,
}

/// A call of `ShouldRateLimit`.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The bearer token, absent: none.
    pub token: Option<&'a str>,
    /// The namespace.
    pub domain: &'a str,
    /// The entries of each descriptor.
    pub descriptors: &'a [&'a [(&'a str, &'a str)]],
    /// Requests that are asked for, 0: not said.
    pub hits: u8,
}

impl Call<'_> {
    /// Makes the call.
    pub async fn on(&self, connection: &mut Connection) -> Ruling {
        let mut ask = get("limits", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
            .method(Method::POST)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(framed(&self.message()));
        if let Some(token) = self.token {
            ask = ask.header("authorization", &format!("Bearer {token}"));
        }
        ruling(&connection.send(&ask).await.expect("an answer of the rate limit service"))
    }

    fn message(&self) -> Vec<u8> {
        let mut message = text(1, self.domain);
        for entries in self.descriptors {
            let entries = entries.iter().map(|(key, value)| field(1, &[text(1, key), text(2, value)].concat()));
            message.extend(field(2, &entries.collect::<Vec<_>>().concat()));
        }
        if self.hits > 0 {
            // Field 3, a number.
            message.extend([3 << 3, self.hits]);
        }
        message
    }
}

/// A field of bytes, shorter than 128 so that its length is one byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).expect("a test's field is short");
    [&[number << 3 | 2, length], bytes].concat()
}

fn text(number: u8, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}

/// Not compressed, and its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a test's message is short");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

fn ruling(answer: &Answer) -> Ruling {
    let told = |name: &str| {
        let value = answer.trailers.get(name).or_else(|| answer.headers.get(name));
        value.map_or(String::new(), |value| value.to_str().expect("text").to_owned())
    };
    // Behind five bytes of framing the first field, 1, is the code; zero is left out.
    let code = match answer.body.get(5..7) {
        Some([8, code]) => u64::from(*code),
        _ => 0,
    };
    let status = told("grpc-status").parse().expect("grpc-status is a number");
    Ruling { status, message: told("grpc-message"), code }
}

//! The one form of a path.
//!
//! A path is normalised once, before any decision; routes, policies, the cache and the origin see that form:
//!
//! - dot segments are resolved, never beyond the root; encoded dots count as dots;
//! - percent-encodings of unreserved characters (letters, digits, `-._~`) are decoded, all others are kept, with
//!   capital digits: `%2f` becomes `%2F` and never a slash;
//! - characters that must not stand in a path as they are (`"<>\^{|}` and whatever is not ASCII) are encoded, so
//!   that a backslash never becomes a slash behind us;
//! - empty segments are kept: `/a//b` is not `/a/b`.
//!
//! Incomplete encodings, control characters and an encoded NUL are refused. A path that is in this form already
//! is borrowed. Parameters (`;x`) are ordinary characters.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path does not begin with a slash.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A percent sign is not followed by two hexadecimal digits.
    #[error("`%` is not followed by two hexadecimal digits")]
    IncompleteEncoding,
    /// A control character, a space, `?` or `#`, or an encoded NUL.
    #[error("the path has a character that no path may have")]
    ForbiddenCharacter,
}

/// The one form of a path (without query). An empty path is `/`.
pub fn normalise_path(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(InvalidPath::NotAbsolute);
    }
    if is_normal(path.as_bytes())? {
        return Ok(Cow::Borrowed(path));
    }
    Ok(Cow::Owned(resolve_dot_segments(&recode(path.as_bytes()))))
}

enum Class {
    Unreserved,
    Reserved,
    Percent,
    Encode,
    Forbidden,
}

const fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Unreserved,
        b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
            Class::Reserved
        }
        b'%' => Class::Percent,
        b'[' | b']' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..=0xff => Class::Encode,
        0..=b' ' | b'#' | b'?' | 0x7f => Class::Forbidden,
    }
}

/// The byte that two hexadecimal digits stand for.
fn decode(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = digits? else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Checks the whole path, and says whether it is in its one form already.
fn is_normal(path: &[u8]) -> Result<bool, InvalidPath> {
    let mut normal = true;
    for (at, &byte) in path.iter().enumerate() {
        match class(byte) {
            Class::Unreserved => {}
            Class::Reserved => normal &= !(byte == b'/' && begins_with_dot_segment(&path[at + 1..])),
            Class::Percent => {
                let digits = path.get(at + 1..at + 3);
                match decode(digits).ok_or(InvalidPath::IncompleteEncoding)? {
                    0 => return Err(InvalidPath::ForbiddenCharacter),
                    decoded => {
                        let capital = digits.is_some_and(|digits| !digits.iter().any(u8::is_ascii_lowercase));
                        normal &= capital && !matches!(class(decoded), Class::Unreserved);
                    }
                }
            }
            Class::Encode => normal = false,
            Class::Forbidden => return Err(InvalidPath::ForbiddenCharacter),
        }
    }
    Ok(normal)
}

fn begins_with_dot_segment(rest: &[u8]) -> bool {
    matches!(rest, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// Decodes what is unreserved and encodes what must be encoded. The path has been checked.
fn recode(path: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(path.len() + 8);
    let encode = |out: &mut String, byte: u8| {
        out.push('%');
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    };
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        at += 1;
        match (class(byte), decode(path.get(at..at + 2))) {
            (Class::Percent, Some(decoded)) => {
                at += 2;
                if matches!(class(decoded), Class::Unreserved) {
                    out.push(char::from(decoded));
                } else {
                    encode(&mut out, decoded);
                }
            }
            (Class::Unreserved | Class::Reserved, _) => out.push(char::from(byte)),
            (Class::Encode | Class::Forbidden | Class::Percent, _) => encode(&mut out, byte),
        }
    }
    out
}

fn resolve_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let kept = match segment {
            "." => None,
            ".." => {
                out.truncate(out.rfind('/').unwrap_or(0));
                None
            }
            name => Some(name),
        };
        // What a dot segment at the end leaves is a folder, so its slash stays.
        if kept.is_some() || segments.peek().is_none() {
            out.push('/');
        }
        out.push_str(kept.unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn check(path: &str, expected: Result<&str, InvalidPath>) {
        assert_eq!(normalise_path(path).as_deref(), expected.as_ref().map(|path| *path), "{path}");
    }

    #[test]
    fn every_path_has_one_form() {
        check("", Ok("/"));
        check("/", Ok("/"));
        check("/a/./b", Ok("/a/b"));
        check("/a/../b", Ok("/b"));
        check("/a/b/..", Ok("/a/"));
        check("/a/.", Ok("/a/"));
        check("/../../etc/passwd", Ok("/etc/passwd"));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/a//b", Ok("/a//b"));
        check("/a//../b", Ok("/a/b"));
        check("/%7euser/%41", Ok("/~user/A"));
        check("/a%2fb%3a", Ok("/a%2Fb%3A"));
        check("/a\\..\\b", Ok("/a%5C..%5Cb"));
        check("/ü", Ok("/%C3%BC"));
        check("/...", Ok("/..."));
        check("/.a/..b", Ok("/.a/..b"));
        check("/a;x=1/..;/b", Ok("/a;x=1/..;/b"));
        check("/%252e", Ok("/%252e"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        check("a", Err(InvalidPath::NotAbsolute));
        check("*", Err(InvalidPath::NotAbsolute));
        check("/%", Err(InvalidPath::IncompleteEncoding));
        check("/%4", Err(InvalidPath::IncompleteEncoding));
        check("/%zz", Err(InvalidPath::IncompleteEncoding));
        check("/%+1", Err(InvalidPath::IncompleteEncoding));
        check("/a b", Err(InvalidPath::ForbiddenCharacter));
        check("/a\n", Err(InvalidPath::ForbiddenCharacter));
        check("/a?b", Err(InvalidPath::ForbiddenCharacter));
        check("/%00", Err(InvalidPath::ForbiddenCharacter));
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in ["/", "/a/b", "/a%2Fb", "/.well-known/x", "/a//b/"] {
            assert!(matches!(normalise_path(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    /// A second reading of the rules: a list of segments, each decoded and encoded again character by character.
    fn naive(path: &str) -> String {
        let mut kept: Vec<String> = Vec::new();
        let segments: Vec<String> = path[1..].split('/').map(naive_segment).collect();
        for (at, segment) in segments.iter().enumerate() {
            let last = at + 1 == segments.len();
            match segment.as_str() {
                "." if last => kept.push(String::new()),
                "." => {}
                ".." => {
                    kept.pop();
                    if last {
                        kept.push(String::new());
                    }
                }
                other => kept.push(other.to_owned()),
            }
        }
        format!("/{}", kept.join("/"))
    }

    fn naive_segment(segment: &str) -> String {
        let mut out = String::new();
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            let (byte, encoded) = if byte == b'%' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), true)
            } else {
                (byte, false)
            };
            let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if unreserved || (!encoded && b"!$&'()*+,;=:@".contains(&byte)) {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    }

    fn any_path() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => Just("/".to_owned()),
            3 => Just(".".to_owned()),
            2 => "%[2-7][0-9a-fA-F]",
            1 => Just("%2e".to_owned()),
            1 => Just("%2F".to_owned()),
            3 => "[a-z~;=\\\\|ü]",
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn the_form_agrees_with_a_naive_model(path in any_path()) {
            let normal = normalise_path(&path).unwrap();
            prop_assert_eq!(normal.as_ref(), naive(&path));
        }

        #[test]
        fn the_form_of_a_form_is_itself(path in any_path()) {
            let once = normalise_path(&path).unwrap().into_owned();
            prop_assert!(matches!(normalise_path(&once), Ok(Cow::Borrowed(again)) if again == once));
        }

        #[test]
        fn no_form_has_a_way_out_of_the_root(path in any_path()) {
            let normal = normalise_path(&path).unwrap();
            prop_assert!(normal.starts_with('/'));
            prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
        }

        #[test]
        fn no_text_makes_it_panic(path in "\\PC{0,40}") {
            let _ = normalise_path(&path);
        }
    }
}

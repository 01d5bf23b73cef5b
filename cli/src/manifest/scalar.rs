//! What a plain scalar means, as kubectl reads it: YAML 1.1 as its library resolves it.
//!
//! `yes`, `on`, `y` and their opposites are booleans, `0777` and `0o777` are octal, `0x` and `0b` numbers have their
//! base, digits may be grouped by `_`. A date stays text. Numbers with colons are text, which differs from YAML 1.1
//! and agrees with kubectl.

use serde_json::Number;

use super::tree::Value;

/// The meaning of an unquoted scalar.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Value::Text(text.to_owned());
    }
    integer(text).or_else(|| float(text)).map_or_else(|| Value::Text(text.to_owned()), Value::Number)
}

fn integer(text: &str) -> Option<Number> {
    let digits = text.replace('_', "");
    let (negative, digits) = match digits.strip_prefix(['-', '+']) {
        Some(rest) => (digits.starts_with('-'), rest),
        None => (false, digits.as_str()),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` accepts a sign of its own.
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(value).map(Number::from) } else { Some(Number::from(value)) }
}

fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let well_formed = unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    // Infinity and NaN have no JSON form; they stay text, which no field accepts as a number.
    if well_formed { text.parse().ok().and_then(Number::from_f64) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, json: &str) {
        let node = super::super::tree::Node { place: super::super::tree::Place::default(), value: resolve(text) };
        assert_eq!(node.to_json().to_string(), json, "for `{text}`");
    }

    #[test]
    fn plain_scalars_mean_what_kubectl_reads() {
        for (text, json) in [
            ("yes", "true"),
            ("On", "true"),
            ("y", "true"),
            ("no", "false"),
            ("OFF", "false"),
            ("n", "false"),
            ("nO", r#""nO""#),
            ("", "null"),
            ("~", "null"),
            ("80", "80"),
            ("-1", "-1"),
            ("+7", "7"),
            ("0777", "511"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("08", "8.0"),
            ("1.5", "1.5"),
            (".5", "0.5"),
            ("1e3", "1000.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.2.3", r#""1.2.3""#),
            ("1:30", r#""1:30""#),
            ("10s", r#""10s""#),
            ("200-299", r#""200-299""#),
            ("127.0.0.1:80", r#""127.0.0.1:80""#),
            ("2001-01-01", r#""2001-01-01""#),
            (".inf", r#"".inf""#),
            ("-", r#""-""#),
            ("0x", r#""0x""#),
            ("chat.example.com", r#""chat.example.com""#),
        ] {
            check(text, json);
        }
    }
}

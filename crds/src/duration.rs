//! Durations as users write them: `30s`, `1m30s`, `500ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a duration looks like: one to four numbers of at most five digits, each with its unit.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// Four numbers of five digits, each with the longest unit.
pub const MAX_LENGTH: usize = 28;

const MAX_PARTS: usize = 4;
const MAX_DIGITS: usize = 5;

/// A duration that remembers how it was written.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    text: String,
    value: std::time::Duration,
}

/// Units of a duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// `h`
    Hours,
    /// `m`
    Minutes,
    /// `s`
    Seconds,
    /// `ms`
    Milliseconds,
}

/// The text is no duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotADuration;

impl Duration {
    /// A duration of one unit, written so.
    pub fn of(count: u32, unit: Unit) -> Self {
        Self {
            text: format!("{count}{}", unit.suffix()),
            value: std::time::Duration::from_millis(u64::from(count) * unit.milliseconds()),
        }
    }

    /// The length of time.
    pub fn value(&self) -> std::time::Duration {
        self.value
    }

    /// The length of time in milliseconds. The pattern bounds it far below the type's range.
    pub fn milliseconds(&self) -> u64 {
        u64::try_from(self.value.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Unit {
    // `ms` stands before `m`: the longer suffix is tried first.
    const LONGEST_FIRST: [Self; 4] = [Self::Milliseconds, Self::Hours, Self::Minutes, Self::Seconds];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Hours => "h",
            Self::Minutes => "m",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
        }
    }

    const fn milliseconds(self) -> u64 {
        match self {
            Self::Hours => 3_600_000,
            Self::Minutes => 60_000,
            Self::Seconds => 1_000,
            Self::Milliseconds => 1,
        }
    }
}

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let mut rest = text;
        let mut total = 0;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let unit = Unit::LONGEST_FIRST.into_iter().find(|unit| after.starts_with(unit.suffix()));
            let (1..=MAX_DIGITS, Some(unit)) = (digits, unit) else { return Err(NotADuration) };
            let number: u64 = number.parse().map_err(|_| NotADuration)?;
            total += number * unit.milliseconds();
            rest = &after[unit.suffix().len()..];
            parts += 1;
            if parts > MAX_PARTS {
                return Err(NotADuration);
            }
        }
        if parts == 0 {
            return Err(NotADuration);
        }
        Ok(Self { text: text.to_owned(), value: std::time::Duration::from_millis(total) })
    }
}

impl TryFrom<String> for Duration {
    type Error = NotADuration;

    fn try_from(text: String) -> Result<Self, NotADuration> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(duration: Duration) -> Self {
        duration.text
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for NotADuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a duration: write numbers with the units h, m, s or ms, such as 30s, 1m30s or 500ms")
    }
}

impl std::error::Error for NotADuration {}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_LENGTH, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, milliseconds: Option<u64>) {
        let duration = text.parse::<Duration>().ok();
        assert_eq!(duration.as_ref().map(Duration::milliseconds), milliseconds, "{text}");
        if let Some(duration) = duration {
            assert_eq!(duration.to_string(), text, "is written as it was read");
        }
    }

    #[test]
    fn a_duration_is_read_as_the_pattern_says() {
        check("30s", Some(30_000));
        check("500ms", Some(500));
        check("1m30s", Some(90_000));
        check("23h", Some(82_800_000));
        check("1h1m1s1ms", Some(3_661_001));
        check("0s", Some(0));
        check("99999h99999h99999h99999h", Some(4 * 99_999 * 3_600_000));
    }

    #[test]
    fn what_the_pattern_refuses_is_no_duration() {
        for text in ["", "5", "s", "1.5s", "-1s", " 1s", "1s ", "1d", "100000s", "1s1s1s1s1s", "1 s", "1S", "1µs"] {
            check(text, None);
        }
    }

    #[test]
    fn a_duration_of_one_unit_reads_back_equal() {
        for unit in Unit::LONGEST_FIRST {
            let duration = Duration::of(15, unit);
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}

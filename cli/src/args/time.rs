//! Points in time as docker takes them: `2026-01-02T13:23:37Z`, `2026-01-02`, `1767359017.5`, or `42m` (ago).

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lrun_runtime::{Error, ErrorKind, Result};

/// Reads a point in time. `now` is what durations count back from; a date without an offset is one of `zone`.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    let ago = || duration(text).and_then(|length| now.checked_sub(length).ok());
    seconds(text).or_else(ago).or_else(|| date(text, zone)).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("invalid time \"{text}\"")).hint(
            "use a date as 2026-01-02T13:23:37Z, seconds since 1970, or a length of time up to now as 42m or 1h30m",
        )
    })
}

/// Seconds since 1970, with up to nine digits after a point.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    Timestamp::new(whole.parse().ok()?, sign * nanos).ok()
}

/// Go's notation of a length of time, as in `-1.5h` or `1h30m5s`.
fn duration(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let mut sum: i128 = 0;
    loop {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        sum = sum.checked_add(nanoseconds(number, unit)?)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let sum = i64::try_from(sum).ok()?;
    Some(SignedDuration::from_nanos(sign * sum))
}

fn nanoseconds(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "µs" | "μs" => 1_000,
        "ns" => 1,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let part = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
    // More digits than a nanosecond of an hour has say nothing.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    part(whole)?.checked_mul(unit)?.checked_add(part(fraction)?.checked_mul(unit)? / scale)
}

/// A date, with or without a time of day and an offset.
fn date(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    // Behind the date's own hyphens.
    let (local, offset) = match text.get(10..)?.find(['Z', 'z', '+', '-']) {
        Some(at) => (&text[..10 + at], Some(&text[10 + at..])),
        None => (text, None),
    };
    let zone = match offset {
        None => zone.clone(),
        Some("Z" | "z") => TimeZone::UTC,
        Some(offset) => TimeZone::fixed(numeric_offset(offset)?),
    };
    let time = match local.split_once(['T', 't']) {
        None => local.parse::<civil::Date>().ok()?.at(0, 0, 0, 0),
        // An hour alone is a time of day as well.
        Some((day, hour)) if hour.len() == 2 => day.parse::<civil::Date>().ok()?.at(hour.parse().ok()?, 0, 0, 0),
        Some(_) => local.parse::<civil::DateTime>().ok()?,
    };
    Some(time.to_zoned(zone).ok()?.timestamp())
}

/// `+02:00`
fn numeric_offset(text: &str) -> Option<jiff::tz::Offset> {
    let (sign, rest) = text.split_at(1);
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str| if digits.len() == 2 { digits.parse::<i32>().ok() } else { None };
    let seconds = number(hours)? * 3600 + number(minutes)? * 60;
    jiff::tz::Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let now = "2026-06-30T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        parse(text, now, &zone).ok().map(|time| time.to_string())
    }

    #[test]
    fn dockers_notations() {
        for (text, time) in [
            ("2026-01-02T13:23:37Z", "2026-01-02T13:23:37Z"),
            ("2026-01-02T13:23:37.123456789Z", "2026-01-02T13:23:37.123456789Z"),
            ("2026-01-02T13:23:37+02:00", "2026-01-02T11:23:37Z"),
            ("2026-01-02T13:23-01:30", "2026-01-02T14:53:00Z"),
            ("2026-01-02T13:23:37", "2026-01-02T11:23:37Z"),
            ("2026-01-02T13:23", "2026-01-02T11:23:00Z"),
            ("2026-01-02T13", "2026-01-02T11:00:00Z"),
            ("2026-01-02", "2026-01-01T22:00:00Z"),
            ("2026-01-02Z", "2026-01-02T00:00:00Z"),
            ("1136073845", "2006-01-01T00:04:05Z"),
            ("1136073845.000000001", "2006-01-01T00:04:05.000000001Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("42m", "2026-06-30T11:18:00Z"),
            ("1h30m", "2026-06-30T10:30:00Z"),
            ("1.5h", "2026-06-30T10:30:00Z"),
            ("10ms", "2026-06-30T11:59:59.99Z"),
            ("-1h", "2026-06-30T13:00:00Z"),
            ("0s", "2026-06-30T12:00:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(time), "{text}");
        }
        for text in ["", "yesterday", "1d", "h", "1.h.", "2026-13-01", "2026-01-02T25:00", "1.1234567890", "--5m"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,30}", other in "[-+0-9.:TZhmsµn]{0,24}") {
            parsed(&text);
            parsed(&other);
        }

        #[test]
        fn what_a_timestamp_prints_is_read_back(seconds in -1_000_000_000i64..4_000_000_000, nanos in 0i32..1_000_000_000) {
            let time = Timestamp::new(seconds, nanos).unwrap();
            proptest::prop_assert_eq!(parsed(&time.to_string()), Some(time.to_string()));
        }
    }
}

//! Durations, sizes and times in the words that docker uses for them.
//!
//! Everything here is a pure function of its arguments; the current time is always passed in.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// A length of time in docker's words: `Less than a second`, `About a minute`, `3 weeks`.
///
/// Negative lengths (a clock that was set back) read as less than a second.
pub fn human_duration(seconds: i64) -> String {
    let minutes = seconds / MINUTE;
    let hours = seconds.saturating_add(HOUR / 2) / HOUR;
    let days = hours / 24;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < MINUTE => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{days} days"),
        () if hours < 24 * 30 * 2 => format!("{} weeks", days / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", days / 30),
        () => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

/// The length of time from `then` to `now`, as [`human_duration`] words it.
pub fn elapsed(then: Timestamp, now: Timestamp) -> String {
    human_duration(now.duration_since(then).as_secs())
}

/// `2 minutes ago`.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", elapsed(then, now))
}

/// A number of bytes in powers of 1000 with three significant digits: `0B`, `12.3kB`, `1.09GB`.
pub fn human_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// The same with four digits, as docker gives sums: `16.43MB`.
pub fn human_sum(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// A number of bytes in powers of 1024 with four significant digits: `15.51GiB`.
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

/// Where rounding reaches the next unit, that unit is used: `1MB`, not the `1e+03kB` that docker prints there.
fn scaled(bytes: u64, base: f64, units: &[&str; 9], digits: usize) -> String {
    let mut size = bytes as f64;
    for unit in units {
        let text = significant(size, digits);
        if text.parse::<f64>().is_ok_and(|rounded| rounded < base) {
            return format!("{text}{unit}");
        }
        size /= base;
    }
    // A u64 ends in exabytes.
    format!("{bytes}B")
}

/// A non-negative number with at most this many significant digits and no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = format!("{}", value.trunc()).len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A time as inspect prints it: RFC 3339 in UTC, nanoseconds without trailing zeros. No time is Go's zero time.
pub fn rfc3339(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

/// A time as `history --human=false` prints it: RFC 3339, whole seconds.
pub fn rfc3339_seconds(time: Timestamp, zone: TimeZone) -> String {
    let local = time.to_zoned(zone);
    let offset = if local.offset().is_zero() { "Z" } else { "%:z" };
    local.strftime(&format!("%Y-%m-%dT%H:%M:%S{offset}")).to_string()
}

/// A time in the columns `CREATED AT`: `2026-01-02 15:04:05 +0000 UTC`.
pub fn created_at(time: Timestamp, zone: TimeZone) -> String {
    time.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_dockers_words() {
        const DAY: i64 = 24 * HOUR;
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (HOUR - 1, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 29 * MINUTE + 59, "About an hour"),
            (HOUR + 30 * MINUTE, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (21 * DAY, "3 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (10 * 365 * DAY, "10 years"),
            (i64::MAX, "292471208677 years"),
        ] {
            assert_eq!(human_duration(seconds), words, "{seconds} s");
        }
    }

    #[test]
    fn the_fraction_of_a_second_counts() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(ago(at("2026-01-02T15:04:05.9Z"), at("2026-01-02T15:04:06.8Z")), "Less than a second ago");
        assert_eq!(ago(at("2026-01-02T15:04:05.9Z"), at("2026-01-02T15:04:06.9Z")), "1 second ago");
    }

    #[test]
    fn sizes_with_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (12_345, "12.3kB"),
            (99_960, "100kB"),
            (170_000_000, "170MB"),
            (999_499, "999kB"),
            (999_500, "1MB"),
            (999_999, "1MB"),
            (1_090_000_000, "1.09GB"),
            (1_095_000_000, "1.09GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
        for (bytes, text) in [(0, "0B"), (16_428_714, "16.43MB"), (212, "212B")] {
            assert_eq!(human_sum(bytes), text, "{bytes}");
        }
        for (bytes, text) in [(1023, "1023B"), (1024, "1KiB"), (16_650_000_000, "15.51GiB"), (1 << 40, "1TiB")] {
            assert_eq!(binary_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_as_each_command_prints_them() {
        let time: Timestamp = "2026-01-02T15:04:05.120000000Z".parse().unwrap();
        assert_eq!(rfc3339(Some(time)), "2026-01-02T15:04:05.12Z");
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339_seconds(time, TimeZone::UTC), "2026-01-02T15:04:05Z");
        assert_eq!(created_at(time, TimeZone::UTC), "2026-01-02 15:04:05 +0000 UTC");
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        assert_eq!(rfc3339_seconds(time, zone.clone()), "2026-01-02T10:04:05-05:00");
        assert_eq!(created_at(time, zone), "2026-01-02 10:04:05 -0500 EST");
    }
}

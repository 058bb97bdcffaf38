//! PAX extended header records: `<length> <key>=<value>\n`, as in POSIX `pax(1)`, "pax Extended Header".

use std::ops::Range;

use super::{Time, invalid};
use crate::error::Result;

/// Where a record's key and value lie in the data.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// All records; anything that is not exactly a sequence of records is refused.
pub(crate) fn records(data: &[u8]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let (record, next) = record(data, at).ok_or_else(|| invalid("a damaged PAX header"))?;
        found.push(record);
        at = next;
    }
    Ok(found)
}

fn record(data: &[u8], at: usize) -> Option<(Record, usize)> {
    let rest = data.get(at..)?;
    let space = rest.iter().take(8).position(|b| *b == b' ')?;
    let digits = rest.get(..space)?;
    let length = number(digits)? as usize;
    let body = rest.get(space + 1..length)?;
    let (newline, pair) = body.split_last()?;
    let equals = pair.iter().position(|b| *b == b'=')?;
    if *newline != b'\n' || equals == 0 {
        return None;
    }
    let key = at + space + 1;
    let value = key + equals + 1;
    Some((Record { key: key..key + equals, value: value..at + length - 1 }, at + length))
}

/// A decimal number of digits only.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// A time as PAX writes it: seconds, possibly negative, possibly with a fraction (cut after nanoseconds).
pub(crate) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let secs = i64::try_from(number(text.get(..dot)?)?).ok()?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = (0..9).fold(0u32, |sum, n| sum * 10 + fraction.get(n).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos: 0 },
        (true, _) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// A time in the form [`time`] reads; no fraction where there is none.
pub(crate) fn time_text(time: Time) -> String {
    let (sign, secs, nanos) = match (time.secs < 0, time.nanos) {
        (false, nanos) => ("", time.secs.unsigned_abs(), nanos),
        (true, 0) => ("-", time.secs.unsigned_abs(), 0),
        (true, nanos) => ("-", (time.secs + 1).unsigned_abs(), 1_000_000_000 - nanos),
    };
    if nanos == 0 {
        return format!("{sign}{secs}");
    }
    format!("{sign}{secs}.{nanos:09}").trim_end_matches('0').to_owned()
}

/// Appends a record; its length counts itself.
pub(crate) fn push(data: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + decimal_digits(length) {
        length = rest + decimal_digits(length);
    }
    data.extend_from_slice(format!("{length} ").as_bytes());
    data.extend_from_slice(key);
    data.push(b'=');
    data.extend_from_slice(value);
    data.push(b'\n');
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_records_are_refused() {
        let cases: [&[u8]; 10] = [
            b"x",
            b"5 a=b",
            b"6 a=b",
            b"7 a=b\n",
            b"6 ab\n\n",
            b"6 =ab\n",
            b"-6 a=b\n",
            b"6  a=b\n",
            b"0 a=b\n",
            b"3 \n",
        ];
        for data in cases {
            assert!(records(data).is_err(), "{}", data.escape_ascii());
        }
        assert!(records(b"6 a=b\n").is_ok());
    }

    #[test]
    fn times_have_signs_and_fractions() {
        let cases: [(&[u8], Option<Time>); 9] = [
            (b"0", Some(Time { secs: 0, nanos: 0 })),
            (b"12.5", Some(Time { secs: 12, nanos: 500_000_000 })),
            (b"12.0000000019", Some(Time { secs: 12, nanos: 1 })),
            (b"-1", Some(Time { secs: -1, nanos: 0 })),
            (b"-1.25", Some(Time { secs: -2, nanos: 750_000_000 })),
            (b"", None),
            (b".5", None),
            (b"1.x", None),
            (b"99999999999999999999", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(time(text), wanted, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::vec(("[a-zA-Z.]{1,20}", proptest::collection::vec(any::<u8>(), 0..2000)), 0..5)) {
            let mut data = Vec::new();
            for (key, value) in &pairs {
                push(&mut data, key.as_bytes(), value);
            }
            let got: Vec<_> = records(&data).unwrap().into_iter().map(|r| (data[r.key].to_vec(), data[r.value].to_vec())).collect();
            let wanted: Vec<_> = pairs.into_iter().map(|(key, value)| (key.into_bytes(), value)).collect();
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn times_survive(secs in -1_000_000_000_000i64..1_000_000_000_000, nanos in 0u32..1_000_000_000) {
            let wanted = Time { secs, nanos };
            prop_assert_eq!(time(time_text(wanted).as_bytes()), Some(wanted));
        }

        #[test]
        fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = records(&data);
            let _ = time(&data);
        }
    }
}

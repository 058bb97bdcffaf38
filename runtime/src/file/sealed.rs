//! Small JSON files with a checksum as their last field: whoever reads one notices every changed byte.
//!
//! ```text
//! {"version":1,…,"xxh3":"<32 hex digits>"}\n      the XXH3 hash of 128 bits of all before `,"xxh3"`
//! ```
//!
//! A file without that field, as lrun wrote them before, is taken as it is. One byte that was damaged can be found again:
//! of all files that differ in one byte, only the true one has a checksum that fits. It is against accidents: whoever can
//! write the file can write its checksum. A cryptographic hash would first ask the processor what it can do, for a tenth of
//! a millisecond in a virtual machine, which every command would pay.

use crate::error::{Error, ErrorKind, Result};

const KEY: &[u8] = b",\"xxh3\":\"";
const DIGITS: usize = 32;
const END: &[u8] = b"\"}\n";
/// What begins like this field stands at most so far from the end.
const TAIL: usize = KEY.len() + DIGITS + END.len() + 16;
/// Files up to this size are searched for a damaged byte; larger ones for a damaged bit only.
const SEARCHED: usize = 8 << 10;
/// Beyond this size nothing is searched.
const SEARCHED_BITS: usize = 64 << 10;

fn checksum(body: &[u8]) -> String {
    format!("{:0width$x}", xxhash_rust::xxh3::xxh3_128(body), width = DIGITS)
}

/// Adds a checksum to the bytes of a file that is not JSON.
pub fn seal_bytes(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = xxhash_rust::xxh3::xxh3_128(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    body
}

/// What [`seal_bytes`] was given; `None`: it is not that any more.
pub fn unseal_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let (body, checksum) = bytes.split_last_chunk()?;
    (xxhash_rust::xxh3::xxh3_128(body).to_le_bytes() == *checksum).then_some(body)
}

/// A value as the bytes of a small JSON file.
pub fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::new(ErrorKind::Invalid, format!("encode JSON: {error}")))?;
    Ok(seal(bytes))
}

/// Adds the checksum to a JSON object that has fields and ends with its brace.
pub fn seal(mut object: Vec<u8>) -> Vec<u8> {
    object.pop();
    let checksum = checksum(&object);
    for part in [KEY, checksum.as_bytes(), END] {
        object.extend_from_slice(part);
    }
    object
}

/// What the end of a file says.
enum Seal {
    /// There is none.
    Absent,
    /// It fits what is before it, which has this length.
    Good(usize),
    /// It, or what is before it, was changed.
    Broken,
}

fn look(bytes: &[u8]) -> Seal {
    let Some((body, tail)) = parts(bytes) else { return Seal::Absent };
    let wrong = mismatches(tail);
    let (_, digits) = tail.split_at(KEY.len());
    match wrong {
        0 if digits.starts_with(checksum(body).as_bytes()) => Seal::Good(body.len()),
        0 | 1 => Seal::Broken,
        _ if has_half_a_key(bytes) => Seal::Broken,
        _ => Seal::Absent,
    }
}

/// Whether something was inserted or taken out near the end: one half of the field's name is still as it was.
fn has_half_a_key(bytes: &[u8]) -> bool {
    let tail = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
    let (first, second) = KEY.split_at(KEY.len() / 2);
    [first, second].iter().any(|half| tail.windows(half.len()).any(|window| window == *half))
}

/// What the checksum is of, and the rest.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(bytes.len().checked_sub(KEY.len() + DIGITS + END.len())?)
}

/// How many bytes of the field are not what they are in every file.
fn mismatches(tail: &[u8]) -> usize {
    let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a != b).count();
    let (key, rest) = tail.split_at(KEY.len());
    let (_, end) = rest.split_at(DIGITS);
    differ(key, KEY) + differ(end, END)
}

/// The JSON of a file, without the checksum, which fits.
pub fn unseal(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    match look(&bytes) {
        Seal::Absent => Ok(bytes),
        Seal::Broken => Err(Error::new(ErrorKind::Corrupt, "its checksum does not fit")),
        Seal::Good(length) => {
            bytes.truncate(length);
            bytes.push(b'}');
            Ok(bytes)
        }
    }
}

/// Parses the content of a file; what does not fit is [`ErrorKind::Corrupt`].
pub fn from_json<T: serde::de::DeserializeOwned>(bytes: Vec<u8>) -> Result<T> {
    let bytes = unseal(bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))
}

/// The file as it was before one byte of it was damaged; `None`: more was, or it has no checksum.
pub fn mend(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let Seal::Broken = look(&bytes) else { return None };
    let (body, tail) = parts(&bytes)?;
    let (length, digits) = (body.len(), tail.get(KEY.len()..KEY.len() + DIGITS)?);
    let right = checksum(body);
    let wrong_digits = digits.iter().zip(right.as_bytes()).filter(|(a, b)| a != b).count();
    if mismatches(tail) + wrong_digits == 1 {
        bytes.truncate(length);
        bytes.push(b'}');
        return Some(seal(bytes));
    }
    let wanted = String::from_utf8(digits.to_vec()).ok()?;
    // The body alone is changed, the field stays.
    let mut mended = bytes.get(..length)?.to_vec();
    let found = search_byte(&mut mended, |body| checksum(body) == wanted);
    found.then(|| {
        mended.push(b'}');
        seal(mended)
    })
}

/// Changes one byte such that the bytes are `right`; whether there is one. A damaged bit is looked for first.
pub fn search_byte(bytes: &mut [u8], right: impl Fn(&[u8]) -> bool) -> bool {
    if bytes.len() > SEARCHED_BITS {
        return false;
    }
    let bits: Vec<u8> = (0..8).map(|bit| 1 << bit).collect();
    let others: Vec<u8> = (1..=255u8).filter(|mask| mask.count_ones() > 1).collect();
    let masks = if bytes.len() > SEARCHED { vec![bits] } else { vec![bits, others] };
    for masks in masks {
        for at in 0..bytes.len() {
            let true_byte = masks.iter().find(|mask| {
                bytes[at] ^= **mask;
                let found = right(bytes);
                bytes[at] ^= **mask;
                found
            });
            if let Some(mask) = true_byte {
                bytes[at] ^= mask;
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        number: u64,
        #[serde(flatten)]
        extra: std::collections::BTreeMap<String, serde_json::Value>,
    }

    fn sample() -> Sample {
        Sample { name: "x\"y".to_owned(), number: 7, extra: [("later".to_owned(), serde_json::json!([1]))].into() }
    }

    #[test]
    fn every_changed_byte_is_noticed_and_found_again() {
        let whole = to_json(&sample()).unwrap();
        assert!(whole.ends_with(b"\"}\n"), "{}", String::from_utf8_lossy(&whole));
        assert_eq!(from_json::<Sample>(whole.clone()).unwrap(), sample());
        for at in 0..whole.len() {
            for mask in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= mask;
                assert!(unseal(damaged.clone()).is_err(), "byte {at} ^ {mask:#x}");
                if mask != 0xff || at % 8 == 0 {
                    assert_eq!(mend(damaged).as_deref(), Some(&*whole), "byte {at} ^ {mask:#x}");
                }
            }
            let mut shorter = whole.clone();
            shorter.remove(at);
            assert!(from_json::<Sample>(shorter).is_err(), "without byte {at}");
        }
        for addition in ["\n", " ", "x"] {
            assert!(from_json::<Sample>([&whole, addition.as_bytes()].concat()).is_err(), "{addition:?}");
        }
    }

    #[test]
    fn a_file_without_a_checksum_is_taken_as_it_is() {
        for text in [
            "{\"name\":\"a\",\"number\":1}\n",
            "{\"name\":\"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"number\":1}",
            "{\"number\":1,\"name\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n",
        ] {
            assert_eq!(from_json::<Sample>(text.into()).unwrap().number, 1, "{text}");
            assert_eq!(mend(text.into()), None);
        }
        assert_eq!(mend(to_json(&sample()).unwrap()), None, "nothing is damaged");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = unseal(bytes.clone());
            let _ = unseal(seal([b"{", &*bytes, b"}"].concat())).unwrap();
        }
    }
}

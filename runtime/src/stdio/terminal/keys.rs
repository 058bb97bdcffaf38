//! Detach keys: the key sequence that leaves a container running behind.

use crate::error::{Error, ErrorKind, Result};

/// A detach key sequence in docker's notation: characters or `ctrl-` and one of `a`-`z @ [ \ ] ^ _`, separated by
/// commas. Empty: there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// `ctrl-p,ctrl-q`.
impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// Parses docker's notation, as in `ctrl-p,ctrl-q` or `a,b`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let keys = text.split(',').map(|key| {
            key_byte(key).ok_or_else(|| {
                let message = format!("invalid detach keys ({text}): unknown key '{key}'");
                Error::new(ErrorKind::Invalid, message)
                    .hint("keys are single characters or ctrl-<letter>, separated by commas: ctrl-p,ctrl-q")
            })
        });
        Ok(Self(keys.collect::<Result<_>>()?))
    }
}

fn key_byte(key: &str) -> Option<u8> {
    if let [byte] = *key.as_bytes() {
        return Some(byte);
    }
    if key == "DEL" {
        return Some(0x7f);
    }
    let [byte] = *key.strip_prefix("ctrl-")?.as_bytes() else { return None };
    match byte {
        b'a'..=b'z' => Some(byte - b'a' + 1),
        b'@' | b'['..=b'_' => Some(byte - b'@'),
        _ => None,
    }
}

/// Finds the sequence in a stream of typed bytes. A prefix of the sequence is held back until it is clear whether the
/// rest follows.
#[derive(Debug)]
pub(super) struct KeyFilter {
    keys: Vec<u8>,
    /// How many bytes of `keys` are held back.
    held: usize,
}

impl KeyFilter {
    pub(super) fn new(keys: &DetachKeys) -> Self {
        Self { keys: keys.0.clone(), held: 0 }
    }

    /// Appends to `out` what passes. `true`: the sequence is complete; the bytes after it are dropped.
    pub(super) fn feed(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for &byte in typed {
            self.step(byte, out);
            if self.held == self.keys.len() {
                self.held = 0;
                return true;
            }
        }
        false
    }

    /// Input has ended: what was held back passes.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.keys.get(..self.held).unwrap_or_default());
        self.held = 0;
    }

    /// Takes one byte: the held bytes become the longest end of (held + byte) that begins the sequence.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        let mut tail = self.keys.get(..self.held).unwrap_or_default().to_vec();
        tail.push(byte);
        let skip = (0..=tail.len()).find(|skip| self.keys.starts_with(&tail[*skip..])).unwrap_or(tail.len());
        out.extend_from_slice(&tail[..skip]);
        self.held = tail.len() - skip;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for (text, bytes) in [
            ("", &[][..]),
            ("ctrl-p,ctrl-q", &[0x10, 0x11]),
            ("a", b"a"),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]),
            ("ctrl-z,Z,~,DEL", &[0x1a, b'Z', b'~', 0x7f]),
        ] {
            assert_eq!(DetachKeys::parse(text).unwrap().0, bytes, "{text}");
        }
        for text in [",", "ctrl-", "ctrl-A", "ctrl-1", "ab", "ctrl-p,", "ctrl-pp", "é"] {
            let message = DetachKeys::parse(text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("invalid detach keys ({text})")), "{message}");
        }
        assert_eq!(DetachKeys::default(), DetachKeys::parse("ctrl-p,ctrl-q").unwrap());
    }

    /// Feeds the chunks one by one; what passed, and whether it ended in a detach.
    fn run(keys: &str, chunks: &[&str]) -> (String, bool) {
        let mut filter = KeyFilter::new(&DetachKeys::parse(keys).unwrap());
        let mut out = Vec::new();
        let detached = chunks.iter().any(|chunk| filter.feed(chunk.as_bytes(), &mut out));
        if !detached {
            filter.flush(&mut out);
        }
        (String::from_utf8(out).unwrap(), detached)
    }

    #[test]
    fn sequences() {
        for (keys, chunks, passed, detached) in [
            ("a,b", &["xab"][..], "x", true),
            ("a,b", &["xa", "b"], "x", true),
            ("a,b", &["a", "a", "b", "rest"], "a", true),
            ("a,b", &["a", "c", "b"], "acb", false),
            ("a,b", &["xa"], "xa", false),
            ("a,a,b", &["aaab"], "a", true),
            ("a,b,a,c", &["ababac"], "ab", true),
            ("a", &["xyza"], "xyz", true),
            ("", &["ctrl", "\u{10}\u{11}"], "ctrl\u{10}\u{11}", false),
        ] {
            assert_eq!(run(keys, chunks), (passed.to_owned(), detached), "{keys} {chunks:?}");
        }
    }

    proptest::proptest! {
        /// Whatever the chunks, nothing passes but the bytes before the first occurrence, and all of them.
        #[test]
        fn equals_a_search_in_the_whole(typed in "[ab]{0,40}", keys in "[ab]{1,4}", cut in 0usize..40) {
            let notation = keys.chars().map(String::from).collect::<Vec<_>>().join(",");
            let cut = cut.min(typed.len());
            let expected = match typed.find(&keys) {
                Some(at) => (typed[..at].to_owned(), true),
                None => (typed.clone(), false),
            };
            proptest::prop_assert_eq!(run(&notation, &[&typed[..cut], &typed[cut..]]), expected);
        }
    }
}

//! Subordinate id ranges: pure parsers of `/etc/subuid`, `/etc/subgid`, `getsubids`, `/etc/passwd`,
//! `/etc/nsswitch.conf` and `/proc/<pid>/{uid,gid}_map`, and the arithmetic that makes a mapping of them.
//!
//! All of these files are foreign bytes: a line that does not have the expected form is skipped, never an error.
//! Nothing here reads a file; see [`super::detect`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::Extent;

/// The text of a map has to fit one page (`user_namespaces(7)`); 120 lines of three 10-digit numbers always do.
const MAX_EXTENTS: usize = 120;

/// No id can be `u32::MAX`: it is the "no change" value of `chown(2)` and `setresuid(2)`.
const END_OF_IDS: u64 = u32::MAX as u64;

/// Ids that an administrator gave to a user: `count` from `start` on, as seen in the current user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First id.
    pub start: u32,
    /// How many ids; never 0, and the last id is below `u32::MAX`.
    pub count: u32,
}

impl Range {
    /// A range, if it has an id and lies wholly within the valid ids.
    pub fn new(start: u32, count: u32) -> Option<Self> {
        (count > 0 && u64::from(start) + u64::from(count) <= END_OF_IDS).then_some(Self { start, count })
    }

    fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }
}

/// A user's entry in `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswdEntry {
    /// Login name.
    pub name: String,
    /// Primary group.
    pub gid: u32,
    /// Home directory, if it is an absolute path.
    pub home: Option<PathBuf>,
}

/// Decimal digits only: what `newuidmap` would read as octal, hexadecimal or signed is not a range of ours.
fn number(field: &[u8]) -> Option<u32> {
    if field.is_empty() || !field.iter().all(u8::is_ascii_digit) || (field.len() > 1 && field[0] == b'0') {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The ranges that `subuid(5)` or `subgid(5)` text gives to a user, by name or by numeric uid, in file order.
pub fn parse_subids(text: &[u8], name: Option<&str>, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    let mine = |owner: &[u8]| owner == uid.as_bytes() || name.is_some_and(|name| owner == name.as_bytes());
    lines(text)
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let (owner, start, count) = (fields.next()?, number(fields.next()?)?, number(fields.next()?)?);
            if fields.next().is_some() || !mine(owner) { None } else { Range::new(start, count) }
        })
        .collect()
}

/// The ranges that `getsubids(1)` prints: `0: alice 100000 65536`.
pub fn parse_getsubids(text: &[u8]) -> Vec<Range> {
    lines(text)
        .filter_map(|line| {
            let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
            fields.next()?.strip_suffix(b":").and_then(number)?;
            fields.next()?;
            let (start, count) = (number(fields.next()?)?, number(fields.next()?)?);
            if fields.next().is_some() { None } else { Range::new(start, count) }
        })
        .collect()
}

/// The first entry of this uid in `passwd(5)` text.
pub fn parse_passwd(text: &[u8], uid: u32) -> Option<PasswdEntry> {
    lines(text).find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _, id, gid, rest @ ..] = fields.as_slice() else { return None };
        if number(id) != Some(uid) || name.is_empty() {
            return None;
        }
        let home = rest.get(1).filter(|home| home.starts_with(b"/"));
        let home = home.map(|home| PathBuf::from(OsStr::from_bytes(home)));
        Some(PasswdEntry { name: std::str::from_utf8(name).ok()?.to_owned(), gid: number(gid)?, home })
    })
}

/// Whether `nsswitch.conf(5)` text takes subordinate ids from somewhere else than the files. The first source counts:
/// `newuidmap` asks no other.
pub fn subids_from_nss(nsswitch: &[u8]) -> bool {
    lines(nsswitch)
        .filter_map(|line| line.trim_ascii_start().strip_prefix(b"subid:"))
        .filter_map(|sources| sources.split(u8::is_ascii_whitespace).find(|source| !source.is_empty()))
        .next()
        .is_some_and(|source| source != b"files" && !source.starts_with(b"#"))
}

/// The lines of `/proc/<pid>/uid_map` or `gid_map`: `inside outside count`.
pub fn parse_id_map(text: &[u8]) -> Vec<Extent> {
    lines(text)
        .filter_map(|line| {
            let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
            let (inside, outside) = (number(fields.next()?)?, number(fields.next()?)?);
            let count = number(fields.next()?)?;
            (fields.next().is_none() && count > 0).then_some(Extent { inside, outside, count })
        })
        .collect()
}

/// The identity of everything that the surrounding namespace has. One extent may not span two of the parent's (EPERM),
/// so they are repeated one by one.
pub fn identity(parent: &[Extent]) -> Vec<Extent> {
    parent.iter().map(|e| Extent { inside: e.inside, outside: e.inside, count: e.count }).collect()
}

/// 0 → `own`, then 1 and up → the ranges, in their order. Left out is what the kernel would refuse: ids that were
/// already mapped (overlapping ranges, the user's own id) and ids that the surrounding namespace does not have.
pub fn with_subids(own: u32, ranges: &[Range], parent: &[Extent]) -> Vec<Extent> {
    let mut map = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for range in ranges {
        for piece in usable(*range, &map, parent) {
            if map.len() == MAX_EXTENTS {
                return map;
            }
            let count = piece.count.min(u32::MAX - inside);
            if count == 0 {
                return map;
            }
            map.push(Extent { inside, outside: piece.start, count });
            inside += count;
        }
    }
    map
}

/// The parts of `range` that the parent has and `taken` has not, ascending.
fn usable(range: Range, taken: &[Extent], parent: &[Extent]) -> Vec<Range> {
    let mut pieces: Vec<Range> = parent.iter().filter_map(|e| intersect(range, e.inside, e.count)).collect();
    pieces.sort_by_key(|piece| piece.start);
    for extent in taken {
        pieces = pieces.into_iter().flat_map(|piece| without(piece, extent.outside, extent.count)).collect();
    }
    pieces
}

fn between(start: u64, end: u64) -> Option<Range> {
    let count = end.checked_sub(start)?;
    Range::new(u32::try_from(start).ok()?, u32::try_from(count).ok()?)
}

fn intersect(range: Range, start: u32, count: u32) -> Option<Range> {
    let end = u64::from(start) + u64::from(count);
    between(u64::from(range.start.max(start)), range.end().min(end))
}

fn without(range: Range, start: u32, count: u32) -> Vec<Range> {
    let end = u64::from(start) + u64::from(count);
    let before = between(u64::from(range.start), range.end().min(u64::from(start)));
    let after = between(u64::from(range.start).max(end), range.end());
    before.into_iter().chain(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: &[Extent] = &[Extent { inside: 0, outside: 0, count: u32::MAX }];

    fn r(start: u32, count: u32) -> Range {
        Range { start, count }
    }

    fn e(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    #[test]
    fn subid_lines_of_the_user_are_taken_and_malformed_ones_skipped() {
        let cases: &[(&str, &[Range])] = &[
            ("", &[]),
            ("alice:100000:65536\n", &[r(100_000, 65536)]),
            ("alice:100000:65536", &[r(100_000, 65536)]),
            ("alice:100000:65536\r\nbob:1:1\r\n", &[r(100_000, 65536)]),
            ("1000:5:6\nalice:7:8\n1001:9:9", &[r(5, 6), r(7, 8)]),
            ("bob:100000:65536\nalicia:1:1\nali:1:1\n", &[]),
            ("#alice:1:2\n\n:::\nalice\nalice:\nalice:1\nalice::5\nalice:5:", &[]),
            ("alice:1:2:3\nalice:-1:5\nalice:1:+5\nalice: 1:5\nalice:0x10:5\nalice:010:5", &[]),
            ("alice:5:0\nalice:4294967290:10\nalice:4294967296:1\nalice:99999999999999999999:1", &[]),
            ("alice:4294967290:5", &[r(4_294_967_290, 5)]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_subids(text.as_bytes(), Some("alice"), 1000), *expected, "{text:?}");
        }
        assert_eq!(parse_subids(b"\xff:1:2\nalice:3:4\n", Some("alice"), 1000), [r(3, 4)]);
        assert_eq!(parse_subids(b"alice:3:4\n1000:5:6\n", None, 1000), [r(5, 6)]);
    }

    #[test]
    fn getsubids_output() {
        let text = b"0: alice 100000 65536\n1: alice 300000 10\nError fetching ranges\n2: alice 1 2 3\n";
        assert_eq!(parse_getsubids(text), [r(100_000, 65536), r(300_000, 10)]);
    }

    #[test]
    fn passwd_entries_are_found_by_uid() {
        let text = b"root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7::/:\nalice:x:1000:100:A:/home/a:/bin/sh\n+nis\n";
        let alice = PasswdEntry { name: "alice".into(), gid: 100, home: Some("/home/a".into()) };
        assert_eq!(parse_passwd(text, 1000), Some(alice));
        assert_eq!(parse_passwd(b"a:x:1:1::home:", 1).map(|entry| entry.home), Some(None));
        assert_eq!(parse_passwd(text, 7), None);
        assert_eq!(parse_passwd(text, 12), None);
    }

    #[test]
    fn nsswitch_counts_only_where_the_first_source_is_not_files() {
        let cases = [
            ("passwd: files\n", false),
            ("subid: files sss\n", false),
            ("subid: sss\n", true),
            ("subid:\tsss files\n", true),
            ("#subid: sss\n", false),
            ("subid:\n", false),
            ("subid: # none\n", false),
        ];
        for (text, expected) in cases {
            assert_eq!(subids_from_nss(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn id_maps() {
        assert_eq!(parse_id_map(b"         0          0 4294967295\n"), [e(0, 0, u32::MAX)]);
        assert_eq!(
            parse_id_map(b"0 1000 1\n1 100000 65536\n2 3\nx y z\n9 9 0\n"),
            [e(0, 1000, 1), e(1, 100_000, 65536)]
        );
        assert_eq!(identity(&[e(0, 1000, 1), e(1, 100_000, 65536)]), [e(0, 0, 1), e(1, 1, 65536)]);
    }

    #[test]
    fn maps_of_ranges() {
        let partial = &[e(0, 1000, 1), e(1, 100_000, 65536)];
        type Case<'a> = (&'a str, &'a [Range], &'a [Extent], &'a [Extent]);
        let cases: &[Case<'_>] = &[
            ("none", &[], ALL, &[e(0, 1000, 1)]),
            ("one", &[r(100_000, 65536)], ALL, &[e(0, 1000, 1), e(1, 100_000, 65536)]),
            ("two", &[r(500, 5), r(100, 5)], ALL, &[e(0, 1000, 1), e(1, 500, 5), e(6, 100, 5)]),
            ("twice the same", &[r(500, 5), r(500, 5)], ALL, &[e(0, 1000, 1), e(1, 500, 5)]),
            ("overlapping", &[r(500, 5), r(498, 10)], ALL, &[e(0, 1000, 1), e(1, 500, 5), e(6, 498, 2), e(8, 505, 3)]),
            ("around the own id", &[r(999, 3)], ALL, &[e(0, 1000, 1), e(1, 999, 1), e(2, 1001, 1)]),
            ("outside the parent", &[r(100_000, 65536)], partial, &[e(0, 1000, 1)]),
            ("partly outside", &[r(65530, 100)], partial, &[e(0, 1000, 1), e(1, 65530, 7)]),
            ("over two extents", &[r(0, 3)], partial, &[e(0, 1000, 1), e(1, 0, 1), e(2, 1, 2)]),
        ];
        for (name, ranges, parent, expected) in cases {
            assert_eq!(with_subids(1000, ranges, parent), *expected, "{name}");
        }
    }

    fn disjoint(starts: impl Iterator<Item = (u32, u32)>) -> bool {
        let mut spans: Vec<(u64, u64)> = starts.map(|(s, c)| (u64::from(s), u64::from(s) + u64::from(c))).collect();
        spans.sort_unstable();
        spans.windows(2).all(|pair| pair[0].1 <= pair[1].0)
    }

    proptest! {
        /// Whatever the files say, the map is one that the kernel accepts: no overlap on either side, contiguous inside.
        #[test]
        fn any_ranges_make_an_acceptable_map(
            own in 0..2000u32,
            raw in proptest::collection::vec((0..3000u32, 0..500u32), 0..400),
            parent in proptest::collection::vec((1..800u32, 1..400u32), 0..4),
        ) {
            let ranges: Vec<Range> = raw.into_iter().filter_map(|(s, c)| Range::new(s, c)).collect();
            let mut next = 0;
            let parent: Vec<Extent> = parent.into_iter().map(|(gap, count)| {
                let inside = next + gap;
                next = inside + count;
                e(inside, inside, count)
            }).collect();
            let map = with_subids(own, &ranges, &parent);
            prop_assert!(map.len() <= MAX_EXTENTS);
            prop_assert_eq!(map[0], e(0, own, 1));
            prop_assert!(disjoint(map.iter().map(|x| (x.outside, x.count))));
            prop_assert!(map.windows(2).all(|pair| pair[0].inside + pair[0].count == pair[1].inside));
            for extent in &map[1..] {
                prop_assert!(parent.iter().any(|p| p.inside <= extent.outside
                    && extent.outside + extent.count <= p.inside + p.count));
            }
        }

        #[test]
        fn foreign_bytes_never_panic_and_ranges_are_valid(
            text in proptest::collection::vec(prop_oneof![Just(b':'), Just(b'\n'), Just(b' '), b'0'..=b'9', any::<u8>()], 0..200),
        ) {
            let ranges = parse_subids(&text, Some("1"), 1).into_iter().chain(parse_getsubids(&text));
            for range in ranges {
                prop_assert!(range.count > 0 && range.end() <= END_OF_IDS);
            }
            parse_passwd(&text, 1);
            parse_id_map(&text);
            subids_from_nss(&text);
        }
    }
}

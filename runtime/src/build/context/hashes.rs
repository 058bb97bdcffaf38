//! What files hashed to when they were last read, so that an unchanged file is not read again.
//!
//! One file, made anew whenever something was added, with what others have added meanwhile:
//!
//! ```text
//! "lrunhash"  version u32  count u32                         little endian, all of it
//! count × { dev u64  ino u64  size u64  mtime i64 u32  ctime i64 u32  age u32  hash [u8; 32] }    by dev and ino
//! XXH3 of 128 bits of all before
//! ```
//!
//! A file counts as unchanged while device, inode, size and both times are the same; nobody can set the second one. A
//! change within the same tick of the file system's clock as the one before would not show, so that what was changed just
//! before it was read is not remembered. A file that is damaged, or too large, is as good as none.

use std::collections::HashMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use super::select::Seen;
use crate::error::{Context as _, Result};
use crate::file::{Durability, open_dir, read_small, seal_bytes, unseal_bytes, write_atomic};
use crate::image::tar::Time;

const MAGIC: &[u8; 12] = b"lrunhash\x01\0\0\0";
const RECORD: usize = 84;
const CHECKSUM: usize = 16;
/// Records that are kept: 21 MB.
const MOST: usize = 250_000;
/// Ticks of the coarsest clocks of file systems are two seconds long.
const MARGIN_SECS: i64 = 2;

/// BLAKE3 of a file's content and attributes.
pub(super) type Hash = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Time,
    ctime: Time,
    /// How many times the file was written since this was of use.
    age: u32,
    hash: Hash,
}

impl Record {
    fn new(seen: &Seen, hash: Hash) -> Self {
        Self { dev: seen.dev, ino: seen.ino, size: seen.size, mtime: seen.mtime, ctime: seen.ctime, age: 0, hash }
    }

    fn is_of(&self, seen: &Seen) -> bool {
        *self == Self { age: self.age, ..Self::new(seen, self.hash) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.dev, self.ino, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [self.mtime, self.ctime] {
            out.extend_from_slice(&time.secs.to_le_bytes());
            out.extend_from_slice(&time.nanos.to_le_bytes());
        }
        out.extend_from_slice(&self.age.to_le_bytes());
        out.extend_from_slice(&self.hash);
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (now, later) = bytes.split_first_chunk()?;
            *bytes = later;
            Some(*now)
        }
        let mut long = || take(&mut bytes).map(u64::from_le_bytes);
        let (dev, ino, size) = (long()?, long()?, long()?);
        let mut time = || {
            let secs = i64::from_le_bytes(take(&mut bytes)?);
            Some(Time { secs, nanos: u32::from_le_bytes(take(&mut bytes)?) })
        };
        let (mtime, ctime) = (time()?, time()?);
        let age = u32::from_le_bytes(take(&mut bytes)?);
        Some(Self { dev, ino, size, mtime, ctime, age, hash: take(&mut bytes)? })
    }
}

/// Whether a change after this moment shows in the file's times for sure.
pub(super) fn is_settled(seen: &Seen, now: Time) -> bool {
    seen.ctime.secs.saturating_add(MARGIN_SECS) < now.secs
}

/// The time.
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: i64::try_from(since.as_secs()).unwrap_or(0), nanos: since.subsec_nanos() }
}

/// Hashes of files, by what the files were.
#[derive(Debug, Default)]
pub struct Hashes {
    /// As loaded, by device and inode.
    old: Vec<Record>,
    /// Which of them were of use.
    used: Vec<bool>,
    new: HashMap<(u64, u64), Record>,
}

impl Hashes {
    /// Loads what was saved; nothing where that is not there or damaged.
    pub fn load(path: &Path) -> Self {
        Self::default().again(path)
    }

    /// The same, with what others have saved since.
    #[must_use]
    pub fn again(self, path: &Path) -> Self {
        let most = MAGIC.len() + 4 + MOST * RECORD + CHECKSUM;
        let old = read_small(path, most).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default();
        let used = old.iter().map(|record| self.is_used(record)).collect();
        Self { used, old, new: self.new }
    }

    /// Whether the same was loaded before and of use.
    fn is_used(&self, record: &Record) -> bool {
        self.place(record.dev, record.ino).is_some_and(|at| self.used.get(at) == Some(&true))
    }

    fn place(&self, dev: u64, ino: u64) -> Option<usize> {
        self.old.binary_search_by_key(&(dev, ino), |record| (record.dev, record.ino)).ok()
    }

    /// The hash of a file that is what it was.
    pub(super) fn get(&mut self, seen: &Seen) -> Option<Hash> {
        if let Some(record) = self.new.get(&(seen.dev, seen.ino)).filter(|record| record.is_of(seen)) {
            return Some(record.hash);
        }
        let at = self.place(seen.dev, seen.ino)?;
        let record = self.old.get(at).filter(|record| record.is_of(seen))?;
        if let Some(used) = self.used.get_mut(at) {
            *used = true;
        }
        Some(record.hash)
    }

    /// Remembers a hash, of a file that was read after `began` and was this before and afterwards.
    pub(super) fn put(&mut self, seen: &Seen, began: Time, hash: Hash) {
        if is_settled(seen, began) {
            self.new.insert((seen.dev, seen.ino), Record::new(seen, hash));
        }
    }

    /// Adds what is new to the saved file, if something is. It may be lost in a power cut.
    pub fn save(&self, path: &Path) -> Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        // Others may save at the same time. The lock ends with the descriptor.
        let folder = open_dir(path.parent().unwrap_or(path))?;
        retry_on_intr(|| flock(&folder, FlockOperation::LockExclusive)).context(|| "lock the hashes")?;
        let saved = Self::load(path).old;
        let kept = saved.iter().filter(|record| !self.new.contains_key(&(record.dev, record.ino)));
        let aged = kept.map(|record| match self.place(record.dev, record.ino) {
            // Somebody has added it since.
            None => *record,
            Some(at) if self.used.get(at) == Some(&true) => Record { age: 0, ..*record },
            Some(_) => Record { age: record.age.saturating_add(1), ..*record },
        });
        let mut records: Vec<Record> = aged.chain(self.new.values().copied()).collect();
        if records.len() > MOST {
            records.sort_unstable_by_key(|record| record.age);
            records.truncate(MOST);
        }
        records.sort_unstable_by_key(|record| (record.dev, record.ino));
        write_atomic(path, &encode(&records), Durability::Relaxed)
    }
}

fn encode(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + records.len() * RECORD + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(records.len()).unwrap_or(u32::MAX).to_le_bytes());
    for record in records {
        record.write(&mut bytes);
    }
    seal_bytes(bytes)
}

fn parse(bytes: &[u8]) -> Option<Vec<Record>> {
    let (count, records) = unseal_bytes(bytes)?.strip_prefix(MAGIC)?.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (records, rest) = records.as_chunks::<RECORD>();
    if records.len() != count || !rest.is_empty() {
        return None;
    }
    let records: Vec<Record> = records.iter().filter_map(|bytes| Record::read(bytes)).collect();
    let sorted = records.is_sorted_by(|a, b| (a.dev, a.ino) < (b.dev, b.ino));
    (sorted && records.len() == count).then_some(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(ino: u64) -> Seen {
        let time = Time { secs: 1000, nanos: 5 };
        Seen { dev: 7, ino, mode: 0o100_644, uid: 1, gid: 2, linked: false, size: 10, mtime: time, ctime: time }
    }

    const LATER: Time = Time { secs: 2000, nanos: 0 };

    #[test]
    fn what_was_saved_is_found_while_the_file_is_what_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hashes");
        let mut hashes = Hashes::load(&path);
        hashes.save(&path).expect("nothing is to be saved");
        assert!(!path.exists());
        for ino in [5, 3, 9] {
            hashes.put(&seen(ino), LATER, [ino as u8; 32]);
        }
        assert_eq!(hashes.get(&seen(5)), Some([5; 32]));
        hashes.save(&path).expect("it is saved");
        let mut loaded = Hashes::load(&path);
        assert_eq!(loaded.get(&seen(9)), Some([9; 32]));
        assert_eq!(loaded.get(&Seen { mode: 0o100_755, uid: 9, ..seen(3) }), Some([3; 32]), "these are read anyway");
        let other = Time { secs: 1000, nanos: 6 };
        for changed in [
            Seen { size: 11, ..seen(3) },
            Seen { mtime: other, ..seen(3) },
            Seen { ctime: other, ..seen(3) },
            Seen { dev: 8, ..seen(3) },
            seen(4),
        ] {
            assert_eq!(loaded.get(&changed), None, "{changed:?}");
        }
        // The new one takes the place of the old one.
        let changed = Seen { size: 11, ..seen(3) };
        loaded.put(&changed, LATER, [33; 32]);
        loaded.save(&path).expect("it is saved");
        let mut loaded = Hashes::load(&path);
        assert_eq!((loaded.get(&changed), loaded.get(&seen(3)), loaded.old.len()), (Some([33; 32]), None, 3));
        let ages: Vec<u32> = loaded.old.iter().map(|record| record.age).collect();
        assert_eq!(ages, [0, 1, 0], "of inodes 3, 5 and 9: only 5 was of no use");
    }

    #[test]
    fn what_others_save_meanwhile_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hashes");
        let mut first = Hashes::load(&path);
        first.put(&seen(1), LATER, [1; 32]);
        first.save(&path).expect("it is saved");
        // As workers do, which begin with what their parent has loaded.
        let mut workers = [Hashes::load(&path), Hashes::load(&path)];
        assert_eq!(workers[0].get(&seen(1)), Some([1; 32]));
        for (worker, ino) in workers.iter_mut().zip([2, 3]) {
            worker.put(&seen(ino), LATER, [ino as u8; 32]);
            worker.save(&path).expect("it is saved");
        }
        // One that begins later has what they have hashed, and what it has hashed itself.
        let mut later = first.again(&path);
        for ino in [1, 2, 3] {
            assert_eq!(later.get(&seen(ino)), Some([ino as u8; 32]), "{ino}");
        }
        std::thread::scope(|scope| {
            for ino in 10..20 {
                let path = &path;
                scope.spawn(move || {
                    let mut hashes = Hashes::load(path);
                    hashes.put(&seen(ino), LATER, [ino as u8; 32]);
                    hashes.save(path).expect("it is saved");
                });
            }
        });
        assert_eq!(Hashes::load(&path).old.len(), 13);
    }

    #[test]
    fn what_was_changed_just_now_is_not_remembered() {
        for (secs, remembered) in [(1000, false), (1001, false), (1002, false), (1003, true), (999, false)] {
            let mut hashes = Hashes::default();
            hashes.put(&seen(1), Time { secs, nanos: 0 }, [1; 32]);
            assert_eq!(hashes.get(&seen(1)).is_some(), remembered, "{secs}");
        }
    }

    #[test]
    fn a_damaged_file_is_none() {
        let records: Vec<Record> = (0..3).map(|ino| Record::new(&seen(ino), [1; 32])).collect();
        let whole = encode(&records);
        assert_eq!(parse(&whole), Some(records.clone()));
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&whole[..at]), None, "{at} bytes");
        }
        let twice = [records[1], records[1]];
        assert_eq!(parse(&encode(&twice)), None);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hashes");
        std::fs::write(&path, &whole[..50]).expect("a file");
        assert!(Hashes::load(&path).old.is_empty());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hashes");
        let old: Vec<Record> = (0..MOST as u64).map(|ino| Record::new(&seen(ino), [1; 32])).collect();
        std::fs::write(&path, encode(&old)).expect("a file");
        let mut hashes = Hashes { used: (0..MOST).map(|n| n % 2 == 0).collect(), old, new: HashMap::new() };
        for ino in 0..10 {
            hashes.put(&seen(1_000_000 + ino), LATER, [2; 32]);
        }
        hashes.save(&path).expect("it is saved");
        let mut loaded = Hashes::load(&path);
        assert_eq!(loaded.old.len(), MOST);
        assert!((0..MOST as u64).step_by(2).all(|ino| loaded.get(&seen(ino)).is_some()));
        assert!((0..10).all(|ino| loaded.get(&seen(1_000_000 + ino)).is_some()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let sealed = [&bytes[..], &xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes()[..]].concat();
            let _ = parse(&sealed);
            let _ = Record::read(&bytes);
        }
    }
}

//! The trash: containers that were removed, for a while, so that `lrun undelete` can bring them back.
//!
//! ```text
//! trash/<removed>-<bytes>-<id>[-<found>]/      the container's directory as it was; times in microseconds since 1970
//! ```
//!
//! Runs in the CLI. A removal is a rename either way; what is deleted is what the trash has too much of: [`overdue`] says
//! which, by number, size and age, and when the disk fills. The name says all that it has to know, so nothing is written.
//! A clock may be wrong for a while: what was removed later has a later time in any case, and what is found to be too old
//! goes only if it still is a good while after that was noted in its name.
//! A container in the trash keeps no image and no layer: it goes when a layer that it stands on goes.

use std::path::PathBuf;

use jiff::Timestamp;

use super::engine::Engine;
use super::lifecycle::containers;
use super::names::{ContainerId, ContainerName};
use super::record::{Container, Record};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, Staging};
use crate::paths::ContainerPaths;

pub use crate::settings::Trash as Limits;

/// The trash is never more than this part of what is free beside it…
const SHARE: u64 = 4;
/// …and empty where less than this part of the disk is free.
const RESERVE: u64 = 20;
/// Microseconds.
const HOUR: i64 = 3_600_000_000;
/// What is too old goes after this part of the age more.
const GRACE: i64 = 3;

/// A container in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was removed, in microseconds since 1970.
    pub removed: i64,
    /// Bytes of its own files on disk.
    pub bytes: u64,
    /// Its id.
    pub id: ContainerId,
    /// When it was found to be too old, in microseconds since 1970.
    pub found: Option<i64>,
}

impl Entry {
    fn name(&self) -> String {
        let found = self.found.map(|found| format!("-{found}")).unwrap_or_default();
        format!("{}-{}-{}{found}", self.removed, self.bytes, self.id)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(4, '-');
        let (removed, bytes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let id = ContainerId::parse(parts.next()?).ok()?;
        let found = parts.next().map(str::parse).transpose().ok()?;
        Some(Self { removed, bytes, id, found })
    }

    fn path(&self, engine: &Engine) -> PathBuf {
        engine.root().trash().join(self.name())
    }

    /// When it was removed.
    pub fn removed_at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.removed).unwrap_or_default()
    }
}

/// Room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free: u64,
    all: u64,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is deleted.
    Goes,
    /// It was found to be too old, now or then; or is not any more.
    Noted(Option<i64>),
}

/// What is to be done with these entries, the last removed first; the others stay as they are.
fn overdue(entries: &[Entry], now: Timestamp, room: Room, limits: Limits) -> Vec<(Entry, Fate)> {
    let most = u64::from(limits.size_mib) << 20;
    let most = if room.free < room.all / RESERVE { 0 } else { most.min(room.free / SHARE) };
    let (now, age) = (now.as_microsecond(), i64::from(limits.age_hours) * HOUR);
    let oldest = now.saturating_sub(age);
    let (mut count, mut bytes) = (0, 0u64);
    let fate = |entry: &Entry| {
        let sum = bytes.saturating_add(entry.bytes);
        let found = (entry.removed < oldest).then(|| entry.found.filter(|found| *found <= now).unwrap_or(now));
        let old = found.is_some_and(|found| now - found >= age / GRACE);
        if most == 0 || count >= limits.count || sum > most || old {
            return Some((entry.clone(), Fate::Goes));
        }
        (count, bytes) = (count + 1, sum);
        (found != entry.found).then(|| (entry.clone(), Fate::Noted(found)))
    };
    entries.iter().filter_map(fate).collect()
}

/// The entries, the last removed first.
fn entries(engine: &Engine) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> =
        file::list_dir(&engine.root().trash())?.iter().filter_map(|name| Entry::parse(name)).collect();
    entries.sort_by(|a, b| (b.removed, &b.id).cmp(&(a.removed, &a.id)));
    Ok(entries)
}

/// Moves a locked container to the trash; `false`: it cannot be kept, and is where it was.
pub(super) fn discard(engine: &Engine, container: &Container) -> Result<bool> {
    match file::ensure_dir(&engine.root().trash()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Exhausted => return Ok(false),
        Err(error) => return Err(error),
    }
    // One whose size cannot be told could be of any.
    let Ok(bytes) = engine.disk_usage(&container.paths.layer()) else { return Ok(false) };
    let last = entries(engine)?.first().map_or(0, |last| last.removed);
    let removed = Timestamp::now().as_microsecond().max(last.saturating_add(1));
    let entry = Entry { removed, bytes, id: container.id.clone(), found: None };
    containers(engine).move_out(container, &entry.path(engine))?;
    Ok(true)
}

/// Deletes what the trash has too much of. Best effort: the next command tries again. The limits are asked for only where
/// there is something.
pub fn trim(engine: &Engine, limits: impl FnOnce() -> Limits) {
    let Ok(entries) = entries(engine) else { return };
    if entries.is_empty() {
        return;
    }
    let Ok(disk) = rustix::fs::statvfs(engine.root().path()) else { return };
    let room =
        Room { free: disk.f_bavail.saturating_mul(disk.f_frsize), all: disk.f_blocks.saturating_mul(disk.f_frsize) };
    for (entry, fate) in overdue(&entries, Timestamp::now(), room, limits()) {
        let _ = match fate {
            Fate::Goes => delete(engine, &entry),
            Fate::Noted(found) => {
                let noted = Entry { found, ..entry.clone() };
                rustix::fs::rename(entry.path(engine), noted.path(engine)).map_err(Error::from)
            }
        };
    }
}

/// Deletes an entry; one that is gone counts as deleted.
fn delete(engine: &Engine, entry: &Entry) -> Result<()> {
    // Out of sight first: nobody brings half a container back.
    let grave = Staging::unused_path(engine.root())?;
    match rustix::fs::rename(entry.path(engine), &grave) {
        Ok(()) => engine.remove_tree(&grave),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).context(|| format!("take container {} from the trash", entry.id.short())),
    }
}

/// Deletes everything; the bytes that it took.
pub fn empty(engine: &Engine) -> Result<u64> {
    let mut bytes = 0;
    for entry in entries(engine)? {
        bytes += engine.disk_usage(&entry.path(engine)).unwrap_or(entry.bytes);
        delete(engine, &entry)?;
    }
    Ok(bytes)
}

/// Deletes containers that miss a layer that they stood on; the bytes that they took. For whoever collected layers.
pub fn follow(engine: &Engine) -> Result<u64> {
    let mut bytes = 0;
    for entry in entries(engine)? {
        if record(engine, &entry).is_ok_and(|record| missing_layer(engine, &record)) {
            bytes += engine.disk_usage(&entry.path(engine)).unwrap_or(entry.bytes);
            delete(engine, &entry)?;
        }
    }
    Ok(bytes)
}

/// Bytes of all containers in the trash.
pub fn bytes(engine: &Engine) -> Result<u64> {
    Ok(entries(engine)?.iter().map(|entry| entry.bytes).sum())
}

fn record(engine: &Engine, entry: &Entry) -> Result<Record> {
    file::read_json(&ContainerPaths::at(entry.path(engine)).record(), 16 << 20)
}

fn missing_layer(engine: &Engine, record: &Record) -> bool {
    // If in doubt, it is there.
    !record.layers.iter().all(|layer| engine.store.layer_exists(layer).unwrap_or(true))
}

/// The containers in the trash, the last removed first. One whose record is damaged is left out.
pub fn list(engine: &Engine) -> Result<Vec<(Entry, Record)>> {
    let all = entries(engine)?.into_iter();
    Ok(all.filter_map(|entry| record(engine, &entry).ok().map(|record| (entry, record))).collect())
}

/// A container that is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// The name that it had, which another container has now.
    pub former: Option<ContainerName>,
}

/// Brings a container back, on disk when this returns: the one that was removed last, or the last of that name, id or
/// beginning of an id.
pub fn restore(engine: &Engine, text: Option<&str>) -> Result<Restored> {
    // Its layers stay from now on.
    let _using = engine.store.lock_shared()?;
    loop {
        if let Some(restored) = restore_once(engine, text)? {
            return Ok(restored);
        }
    }
}

/// `None`: another command took the one that was found, or noted something in its name; what is there now counts.
fn restore_once(engine: &Engine, text: Option<&str>) -> Result<Option<Restored>> {
    let found = list(engine)?.into_iter().find(|(entry, record)| match text {
        None => true,
        Some(text) => {
            record.name.as_str() == text.strip_prefix('/').unwrap_or(text) || entry.id.as_str().starts_with(text)
        }
    });
    let Some((entry, record)) = found else {
        let message = match text {
            Some(text) => format!("No such container in the trash: {text}"),
            None => "the trash is empty".to_owned(),
        };
        return Err(
            Error::new(ErrorKind::NotFound, message).hint("`lrun undelete --list` shows what can be brought back")
        );
    };
    if missing_layer(engine, &record) {
        let message = format!("container {} cannot come back: its image is gone", record.name);
        return Err(Error::new(ErrorKind::NotFound, message).hint("import or pull the image again, then undelete"));
    }
    let former = record.name.clone();
    let path = entry.path(engine);
    match containers(engine).move_in(&path, record) {
        Ok(name) => Ok(Some(Restored { id: entry.id, former: (former != name).then_some(former), name })),
        Err(_) if !file::exists(&path)? => Ok(None),
        Err(error) => Err(error.context(format!("bring container {} back", entry.id.short()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const MIB: u64 = 1 << 20;
    const PLENTY: Room = Room { free: 1 << 40, all: 1 << 41 };

    fn entry(minutes: i64, bytes: u64) -> Entry {
        let id = ContainerId::parse(&format!("{minutes:064x}")).unwrap();
        Entry { removed: minutes * MINUTE, bytes, id, found: None }
    }

    #[test]
    fn a_name_says_when_how_much_and_whose() {
        let one = entry(7, 123);
        let noted = Entry { found: Some(9), ..one.clone() };
        for entry in [&one, &noted] {
            assert_eq!(Entry::parse(&entry.name()).as_ref(), Some(entry));
        }
        let id = &one.id;
        for name in ["", "1-2", "1-2-x", &format!("x-2-{id}"), &format!("1--2-{id}"), &format!("1-2-{id}-x")] {
            assert_eq!(Entry::parse(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_too_many_too_large_or_too_old_goes_and_all_when_the_disk_fills() {
        let now = Timestamp::from_microsecond(100 * MINUTE).unwrap();
        let limits = Limits { count: 2, size_mib: 1, age_hours: 1 };
        type Case = (&'static [(i64, u64)], Room, &'static [i64]);
        const fn tight(free: u64) -> Room {
            Room { free: free << 20, all: 1000 << 20 }
        }
        const CASES: &[Case] = &[
            (&[(99, 1), (98, 1)], PLENTY, &[]),
            (&[(99, 1), (98, 1), (97, 1)], PLENTY, &[97]),
            // A large one does not push out those behind it that fit.
            (&[(99, MIB + 1), (98, MIB / 2 + 1), (97, MIB / 2), (96, MIB / 3)], PLENTY, &[99, 97]),
            // From the future: a clock that was set back.
            (&[(200, 1)], PLENTY, &[]),
            (&[(99, 0)], tight(49), &[99]),
            (&[(99, 0)], tight(50), &[]),
            (&[(99, 8 << 10), (98, 8 << 10)], Room { free: 48 << 10, all: 48 << 10 }, &[98]),
        ];
        for (entries, room, gone) in CASES {
            let entries: Vec<Entry> = entries.iter().map(|(minutes, bytes)| entry(*minutes, *bytes)).collect();
            let found: Vec<i64> =
                overdue(&entries, now, *room, limits).iter().map(|(entry, _)| entry.removed / MINUTE).collect();
            assert_eq!(found, *gone, "{entries:?}");
        }
    }

    #[test]
    fn what_is_too_old_is_noted_and_goes_a_good_while_later_unless_the_clock_was_wrong() {
        let limits = Limits { count: 9, size_mib: 1, age_hours: 1 };
        let at = |minutes: i64| Timestamp::from_microsecond(minutes * MINUTE).unwrap();
        let fates = |found: Option<i64>, now: i64| -> Vec<Fate> {
            let old = Entry { found: found.map(|minutes| minutes * MINUTE), ..entry(39, 1) };
            overdue(&[entry(90, 1), old], at(now), PLENTY, limits).into_iter().map(|(_, fate)| fate).collect()
        };
        let noted = |minutes: i64| vec![Fate::Noted(Some(minutes * MINUTE))];
        assert_eq!(fates(None, 99), []);
        assert_eq!(fates(None, 100), noted(100));
        assert_eq!(fates(Some(100), 119), []);
        assert_eq!(fates(Some(100), 120), [Fate::Goes]);
        // The clock was ten years ahead, and is right again; is right, and then ten years behind.
        let years = 10 * 365 * 24 * 60;
        assert_eq!(fates(Some(years), 98), [Fate::Noted(None)]);
        assert_eq!(fates(Some(years), 110), noted(110));
        assert_eq!(fates(None, 98 - years), []);
        let none = Limits { age_hours: 0, ..limits };
        assert_eq!(overdue(&[entry(39, 1)], at(40), PLENTY, none), [(entry(39, 1), Fate::Goes)]);
    }
}

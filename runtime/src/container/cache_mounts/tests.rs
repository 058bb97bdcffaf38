//! Who gets which directory, and what is left when several make, use and remove one at once.

use super::*;
use crate::idmap::{Extent, IdMap, Mode};
use crate::image::store::tests::{open, scratch};

fn engine(dir: &tempfile::TempDir) -> Engine {
    let extent = vec![Extent { inside: 0, outside: rustix::process::geteuid().as_raw(), count: 1 }];
    Engine { store: open(dir), map: IdMap::new(Mode::Single, extent.clone(), extent) }
}

fn held(engine: &Engine, id: &str, sharing: Sharing) -> Held {
    filled(engine, id, sharing, &mut |_| Ok(None))
}

fn filled(engine: &Engine, id: &str, sharing: Sharing, fill: &mut dyn FnMut(&Path) -> Result<Option<Own>>) -> Held {
    hold(engine, (&Digest::of(id.as_bytes()), id), sharing, New { own: None, fill }).unwrap()
}

#[test]
fn who_shares_and_who_does_not() {
    let dir = scratch();
    let engine = engine(&dir);
    let mut made = 0;
    let mut held = |id: &str, sharing| {
        let held = filled(&engine, id, sharing, &mut |_| {
            made += 1;
            Ok(None)
        });
        (held, made)
    };
    let (one, two) = (held("../../etc", Sharing::Shared), held("../../etc", Sharing::Shared));
    assert_eq!((one.1, two.1, &one.0.data), (1, 1, &two.0.data));
    let alone = held("../../etc", Sharing::Private);
    let other = held("../../etc", Sharing::Private);
    assert!(alone.1 == 2 && other.1 == 3 && alone.0.data != one.0.data && alone.0.data != other.0.data);
    drop(alone);
    assert_eq!(held("../../etc", Sharing::Private).1, 3);
    assert_ne!(held("x", Sharing::Locked).0.data, one.0.data);
    for name in file::list_dir(&engine.root().cache_mounts()).unwrap() {
        assert!(name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{name}");
    }
}

#[test]
fn a_prune_takes_what_nobody_has() {
    let dir = scratch();
    let engine = engine(&dir);
    let used = held(&engine, "used", Sharing::Shared);
    drop(held(&engine, "free", Sharing::Locked));
    std::fs::write(engine.root().path().join(&used.data).join("f"), "f").unwrap();
    let listed = list(&engine).unwrap();
    let mut ids: Vec<&str> = listed.iter().filter_map(|one| one.about.as_ref()).map(|a| a.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["free", "used"]);
    assert!(prune(&engine, &|_| false).unwrap().is_empty());
    let pruned = prune(&engine, &|used| used.is_some()).unwrap();
    assert_eq!(pruned.len(), 1);
    assert_eq!(pruned[0].about.as_ref().unwrap().id, "free");
    drop(used);
    assert_eq!(prune(&engine, &|_| true).unwrap().len(), 1);
    assert!(list(&engine).unwrap().is_empty());
}

#[test]
fn the_first_directory_stays() {
    let dir = scratch();
    let engine = engine(&dir);
    let mut first = None;
    // Another build is faster while this one fills its own.
    let second = filled(&engine, "x", Sharing::Shared, &mut |_| {
        let held = held(&engine, "x", Sharing::Shared);
        let stat = rustix::fs::stat(engine.root().path().join(&held.data)).unwrap();
        first = Some((held, stat.st_ino));
        Ok(None)
    });
    let (first, inode) = first.unwrap();
    assert_eq!(first.data, second.data);
    assert_eq!(rustix::fs::stat(engine.root().path().join(&second.data)).unwrap().st_ino, inode);
    assert!(file::list_dir(&engine.root().staging()).unwrap().is_empty());
}

#[test]
fn a_prune_goes_on_after_what_another_took() {
    let dir = scratch();
    let engine = engine(&dir);
    for id in ["a", "b", "c"] {
        drop(held(&engine, id, Sharing::Shared));
    }
    let calls = std::cell::Cell::new(0);
    let takes = |_: Option<Timestamp>| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 {
            assert_eq!(prune(&engine, &|_| true).unwrap().len(), 3);
        }
        true
    };
    assert!(prune(&engine, &takes).unwrap().is_empty());
    assert_eq!(calls.get(), 3);
}

#[test]
fn what_is_held_is_there_whatever_prunes_do() {
    let dir = scratch();
    let done = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    let engine = || engine(&dir);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let engine = engine();
                while !done.load(order) {
                    prune(&engine, &|_| true).unwrap();
                }
            });
        }
        let users = [Sharing::Shared, Sharing::Shared, Sharing::Locked].map(|sharing| {
            let engine = &engine;
            scope.spawn(move || {
                let engine = engine();
                for _ in 0..60 {
                    let held = held(&engine, "x", sharing);
                    let data = engine.root().path().join(&held.data);
                    let before = rustix::fs::stat(&data).unwrap().st_ino;
                    std::thread::yield_now();
                    assert_eq!(rustix::fs::stat(&data).unwrap().st_ino, before);
                }
            })
        });
        let outcomes = users.map(std::thread::ScopedJoinHandle::join);
        done.store(true, order);
        assert!(outcomes.iter().all(std::result::Result::is_ok));
    });
}

//! Containers on a real file system: names, locks, records, and many processes at once.

use std::collections::HashSet;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{self, Durability, LockState, Staging};
use crate::image::config::History;
use crate::paths::Root;

fn containers() -> (tempfile::TempDir, Root, Containers) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    for path in [root.containers(), root.names(), root.staging()] {
        file::make_dir(&path).unwrap();
    }
    let containers = Containers::new(&root);
    (dir, root, containers)
}

pub(super) fn record() -> Record {
    Record {
        version: RECORD_VERSION,
        id: ContainerId::random().unwrap(),
        name: ContainerName::parse("unset").unwrap(),
        created: Timestamp::UNIX_EPOCH,
        image: ImageUse { id: Digest::of(b"image"), reference: "stage0".to_owned() },
        command: vec!["bash".to_owned()],
        state: State::default(),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        auto_remove: false,
        by_run: false,
        ports: Vec::new(),
        volumes: Vec::new(),
        layers: vec![Digest::of(b"a"), Digest::of(b"b")],
        image_depth: 1,
        history: Vec::new(),
        prepared: false,
        pending_commit: None,
        restart_count: 0,
        options: json!({"tty": true}),
        extra: BTreeMap::new(),
    }
}

fn given(name: &str) -> NameChoice {
    NameChoice::Given(ContainerName::parse(name).unwrap())
}

fn create(containers: &Containers, name: &str) -> ContainerId {
    containers.create(&mut record(), b"{}", given(name), Durability::Relaxed).unwrap().id
}

fn remove_tree(path: &Path) -> Result<()> {
    Ok(std::fs::remove_dir_all(path)?)
}

fn names(root: &Root) -> HashSet<String> {
    file::list_dir(&root.names()).unwrap().into_iter().collect()
}

#[test]
fn a_new_container_is_whole_locked_and_found() {
    let (_dir, root, containers) = containers();
    for (name, durability) in [("web.1", Durability::Flushed), ("tmp", Durability::Relaxed)] {
        let mut record = record();
        let container = containers.create(&mut record, b"{}", given(name), durability).unwrap();
        assert_eq!(record.name.as_str(), name);
        assert_eq!(containers.read(&container.id).unwrap(), record);
        assert!(container.paths.layer_diff().is_dir() && container.paths.work().is_dir());
        assert_eq!(containers.probe(&container.id).unwrap(), LockState::Held);
        assert!(containers.try_lock(&container.id).unwrap().is_none());
        for text in [name, &format!("/{name}"), record.id.as_str(), &record.id.as_str()[..14]] {
            assert_eq!(containers.find(text).unwrap(), record.id, "{text}");
        }
    }
    assert!(file::list_dir(&root.staging()).unwrap().is_empty());
    // A lock that nobody holds any more can be taken.
    let id = containers.find("tmp").unwrap();
    assert_eq!(containers.probe(&id).unwrap(), LockState::Free);
    assert!(containers.try_lock(&id).unwrap().is_some());
}

#[test]
fn records_keep_unknown_fields() {
    let mut value = serde_json::to_value(record()).unwrap();
    value["later"] = json!({"x": [1]});
    let read: Record = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), value);
}

#[test]
fn what_is_not_there_or_not_unique_is_an_error_in_dockers_words() {
    let (_dir, _root, containers) = containers();
    let ids: Vec<ContainerId> = (0..17).map(|n| create(&containers, &format!("c{n}"))).collect();
    let first = |id: &ContainerId| id.as_str()[..1].to_owned();
    let shared = ids.iter().map(first).find(|d| ids.iter().filter(|id| first(id) == *d).count() > 1).unwrap();
    let error = containers.find(&shared).unwrap_err();
    let expected = format!("Multiple IDs found with provided prefix: {shared}");
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Conflict, expected));
    let long = "x".repeat(300);
    for text in ["nope", "", ".", "..", "../names/c1", "/", "c1/", "é", "c1\0", &long, &"f".repeat(64), &"f".repeat(65)]
    {
        let error = containers.find(text).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::NotFound, format!("No such container: {text}")));
    }
}

#[test]
fn a_name_belongs_to_one_container() {
    let (_dir, root, containers) = containers();
    let owner = create(&containers, "x1");
    let error = containers.create(&mut record(), b"{}", given("x1"), Durability::Relaxed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    insta::assert_snapshot!(error.to_string().replace(owner.as_str(), "ID"), @r#"Conflict. The container name "/x1" is already in use by container "ID". You have to remove (or rename) that container to be able to reuse that name."#);
    assert_eq!(containers.ids().unwrap(), std::slice::from_ref(&owner));
    assert!(file::list_dir(&root.staging()).unwrap().is_empty());

    let other = create(&containers, "x2");
    assert_eq!(
        containers.rename(&other, &ContainerName::parse("x1").unwrap()).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(containers.rename(&other, &ContainerName::parse("x2").unwrap()).unwrap_err().kind(), ErrorKind::Invalid);
    containers.rename(&other, &ContainerName::parse("x3").unwrap()).unwrap();
    assert_eq!(containers.read(&other).unwrap().name.as_str(), "x3");
    assert_eq!(containers.find("x3").unwrap(), other);
    assert!(containers.find("x2").is_err());
    assert_eq!(create(&containers, "x2"), containers.find("x2").unwrap());
}

#[test]
fn a_name_left_by_a_crash_is_free() {
    let (_dir, root, containers) = containers();
    // Killed between the symlink and the move; between the two halves of a rename; a planted link.
    let id = create(&containers, "kept");
    std::os::unix::fs::symlink(ContainerId::random().unwrap().as_str(), root.name("x1")).unwrap();
    std::os::unix::fs::symlink(id.as_str(), root.name("x2")).unwrap();
    std::os::unix::fs::symlink("../containers", root.name("x3")).unwrap();
    for name in ["x1", "x3"] {
        assert_eq!(containers.find(name).unwrap_err().kind(), ErrorKind::NotFound);
    }
    for name in ["x1", "x2", "x3"] {
        let new = create(&containers, name);
        assert_eq!(containers.find(name).unwrap(), new);
    }
    assert_eq!(containers.find("kept").unwrap(), id);
}

#[test]
fn a_generated_name_avoids_those_taken() {
    let (_dir, root, containers) = containers();
    let mut new = record();
    containers.create(&mut new, b"{}", NameChoice::Generated, Durability::Relaxed).unwrap();
    assert_eq!(containers.find(new.name.as_str()).unwrap(), new.id);
    assert_eq!(names(&root), [new.name.to_string()].into());
}

#[test]
fn one_of_many_creators_gets_the_name_also_a_stale_one() {
    let (_dir, root, containers) = containers();
    for round in 0..10 {
        let name = format!("name{round}");
        if round % 2 == 1 {
            std::os::unix::fs::symlink(ContainerId::random().unwrap().as_str(), root.name(&name)).unwrap();
        }
        let won: Vec<ContainerId> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| containers.create(&mut record(), b"{}", given(&name), Durability::Relaxed)))
                .collect();
            tries.into_iter().filter_map(|t| t.join().unwrap().ok()).map(|c| c.id).collect()
        });
        assert_eq!(won, [containers.find(&name).unwrap()]);
    }
    assert_eq!(containers.list().unwrap().summaries.len(), 10);
    assert!(file::list_dir(&root.staging()).unwrap().is_empty());
}

#[test]
fn removing_frees_name_and_id_and_deletes_the_tree() {
    let (_dir, root, containers) = containers();
    let container = containers.create(&mut record(), b"{}", given("x1"), Durability::Flushed).unwrap();
    let id = container.id.clone();
    containers.remove(container, Durability::Flushed, &mut remove_tree).unwrap();
    assert!(names(&root).is_empty() && file::list_dir(&root.staging()).unwrap().is_empty());
    for error in [
        containers.find("x1").unwrap_err(),
        containers.try_lock(&id).unwrap_err(),
        containers.update(&id, Durability::Relaxed, |_| Ok(())).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_removal_cut_short_is_finished_by_the_sweep() {
    let (_dir, root, containers) = containers();
    let container = containers.create(&mut record(), b"{}", given("x1"), Durability::Relaxed).unwrap();
    let mut swept_meanwhile = None;
    let removed = containers.remove(container, Durability::Relaxed, &mut |_| {
        // Our lock went along: a sweep beside us leaves the tree alone.
        swept_meanwhile = Some(Staging::sweep(&root, &mut remove_tree).unwrap());
        Err(Error::new(ErrorKind::Io, "killed"))
    });
    assert!(removed.is_err() && swept_meanwhile.unwrap().is_empty());
    assert!(names(&root).is_empty() && containers.ids().unwrap().is_empty());
    assert_eq!(Staging::sweep(&root, &mut remove_tree).unwrap().len(), 1);
}

#[test]
fn a_damaged_record_is_named_and_can_be_removed() {
    let (_dir, root, containers) = containers();
    let (good, bad) = (create(&containers, "good"), create(&containers, "bad"));
    std::fs::write(containers.paths(&bad).record(), "{\"version\"").unwrap();
    let listing = containers.list().unwrap();
    assert_eq!(listing.summaries.iter().map(|s| &s.id).collect::<Vec<_>>(), [&good]);
    assert_eq!(listing.damaged.iter().map(|(id, e)| (id, e.kind())).collect::<Vec<_>>(), [(&bad, ErrorKind::Corrupt)]);
    assert_eq!(containers.uses().unwrap_err().kind(), ErrorKind::Corrupt);
    // The name is not given away.
    assert_eq!(
        containers.create(&mut record(), b"{}", given("bad"), Durability::Relaxed).unwrap_err().kind(),
        ErrorKind::Conflict
    );
    // Emptied by a power cut: was never acknowledged, claims nothing.
    std::fs::write(containers.paths(&bad).record(), "").unwrap();
    assert_eq!(containers.uses().unwrap().len(), 1);
    let locked = containers.try_lock(&containers.find("bad").unwrap()).unwrap().unwrap();
    containers.remove(locked, Durability::Flushed, &mut remove_tree).unwrap();
    assert_eq!(names(&root), ["good".to_owned()].into());
}

#[test]
fn claims_cover_the_stack_and_a_commit_in_progress() {
    let (_dir, _root, containers) = containers();
    let container = containers.create(&mut record(), b"{}", given("x1"), Durability::Relaxed).unwrap();
    let running = State { status: Status::Running, ..State::default() };
    containers.set_state(&container.id, running, Durability::Relaxed).unwrap();
    containers
        .update(&container.id, Durability::Relaxed, |record| {
            record.pending_commit = Some(PendingCommit { layer: Digest::of(b"c"), entry: History::default() });
            Ok(())
        })
        .unwrap();
    let uses = containers.uses().unwrap();
    assert_eq!(uses[0].layers, [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")]);
    assert!(uses[0].running);
    drop(container);
    // Recorded as running, but nobody holds the lock.
    assert!(!containers.uses().unwrap()[0].running);
}

#[test]
fn updates_at_once_all_count_and_a_failed_one_changes_nothing() {
    let (_dir, _root, containers) = containers();
    let id = create(&containers, "x1");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let add = |record: &mut Record| {
                        record.restart_count += 1;
                        Ok(())
                    };
                    containers.update(&id, Durability::Relaxed, add).unwrap();
                    assert_eq!(containers.list().unwrap().summaries.len(), 1);
                }
            });
        }
    });
    let refused = containers.update(&id, Durability::Relaxed, |record| {
        record.restart_count = 0;
        Err(Error::new(ErrorKind::Conflict, "no"))
    });
    assert!(refused.is_err());
    assert_eq!(containers.read(&id).unwrap().restart_count, 200);
}

#[test]
fn creators_removers_renamers_and_readers_at_once() {
    let (_dir, root, containers) = containers();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (containers, root) = (&containers, &root);
            scope.spawn(move || {
                for n in 0..40 {
                    let own = format!("w{worker}-{n}");
                    let mut new = record();
                    let Ok(container) = containers.create(&mut new, b"{}", given("shared"), Durability::Relaxed) else {
                        Staging::sweep(root, &mut remove_tree).unwrap();
                        continue;
                    };
                    containers.rename(&container.id, &ContainerName::parse(&own).unwrap()).unwrap();
                    assert_eq!(containers.find(&own).unwrap(), container.id);
                    assert!(containers.list().unwrap().damaged.is_empty());
                    containers.remove(container, Durability::Relaxed, &mut remove_tree).unwrap();
                }
            });
        }
    });
    assert!(names(&root).is_empty() && containers.ids().unwrap().is_empty());
    assert!(file::list_dir(&root.staging()).unwrap().is_empty());
}

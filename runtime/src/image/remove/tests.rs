//! Removing images and collecting what nothing needs, on a store of its own.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::file;
use crate::image::store::tests::{add_image, add_layer, open, scratch};

const FORCE: Options = Options { force: true, no_prune: false };
const PLAIN: Options = Options { force: false, no_prune: false };

fn uses(container: &str, running: bool, image: &Digest, layers: &[Digest]) -> ContainerUse {
    ContainerUse { id: container.repeat(64), running, image: image.clone(), layers: layers.to_vec() }
}

fn remove_tree(path: &Path) -> Result<()> {
    Ok(std::fs::remove_dir_all(path)?)
}

/// Removes, and returns the lines with ids replaced by these words.
fn rmi(store: &Store, name: &str, options: Options, used: &[ContainerUse], words: &[(&Digest, &str)]) -> String {
    let replace = |mut text: String| {
        for (id, word) in words {
            text = text.replace(id.as_str(), word).replace(id.short(), word);
        }
        text
    };
    match remove_image(store, name, options, &|| Ok(used.to_vec())) {
        Ok(lines) => replace(lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        Err(error) => replace(format!("{:?}: {error}", error.kind())),
    }
}

#[test]
fn the_last_name_takes_the_image_and_its_unnamed_parents_along() {
    let dir = scratch();
    let store = open(&dir);
    let base = add_image(&store, &["a"], 1, None, &["base"]);
    let middle = add_image(&store, &["a", "b"], 2, Some(&base), &[]);
    let top = add_image(&store, &["a", "b", "c"], 3, Some(&middle), &["top", "other:v1"]);
    let chains = chain_ids(&[Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")]);
    let words = [(&base, "BASE"), (&middle, "MIDDLE"), (&top, "TOP"), (&chains[1], "AB"), (&chains[2], "ABC")];

    insta::assert_snapshot!(rmi(&store, "other:v1", PLAIN, &[], &words), @"Untagged: other:v1");
    insta::assert_snapshot!(rmi(&store, "base", PLAIN, &[], &words), @"Untagged: base:latest");
    store.tag(&base, &Reference::parse("base").unwrap()).unwrap();
    insta::assert_snapshot!(rmi(&store, base.short(), PLAIN, &[], &words), @"Conflict: conflict: unable to delete BASE (cannot be forced) - image has dependent child images");
    insta::assert_snapshot!(rmi(&store, "top", PLAIN, &[], &words), @r"
    Untagged: top:latest
    Deleted: TOP
    Deleted: ABC
    Deleted: MIDDLE
    Deleted: AB
    ");
    insta::assert_snapshot!(rmi(&store, "top", PLAIN, &[], &words), @"NotFound: No such image: top:latest");
    assert_eq!(store.image_ids().unwrap(), [base]);
}

#[test]
fn no_prune_keeps_parents() {
    let dir = scratch();
    let store = open(&dir);
    let base = add_image(&store, &["a"], 1, None, &[]);
    add_image(&store, &["a", "b"], 2, Some(&base), &["top"]);
    rmi(&store, "top", Options { no_prune: true, ..PLAIN }, &[], &[]);
    assert_eq!(store.image_ids().unwrap(), [base]);
}

#[test]
fn several_names_need_force_when_the_id_is_given() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a"], 1, None, &["x", "reg.io/y"]);
    let words = [(&id, "ID"), (&Digest::of(b"a"), "A")];
    insta::assert_snapshot!(rmi(&store, id.short(), PLAIN, &[], &words), @"Conflict: conflict: unable to delete ID (must be forced) - image is referenced in multiple repositories");
    insta::assert_snapshot!(rmi(&store, id.short(), FORCE, &[], &words), @r"
    Untagged: x:latest
    Untagged: reg.io/y:latest
    Deleted: ID
    Deleted: A
    ");
    assert!(file::list_dir(&store.root().refs()).unwrap().is_empty());
}

/// What docker does: a digest is a name like a tag, and goes with the last tag of its repository.
#[test]
fn names_by_digest_hold_an_image_as_tags_do() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a"], 1, None, &[]);
    let child = add_image(&store, &["a", "b"], 2, Some(&id), &["child"]);
    let top = Digest::of(b"manifest");
    let by_digest = format!("reg.io/x@{top}");
    let words = [(&id, "ID"), (&top, "TOP"), (&Digest::of(b"a"), "A"), (&child, "CHILD")];
    let pull = || store.note_origin(&id, &Reference::parse(&by_digest).unwrap(), &top, &[]).unwrap();
    let tag = |name: &str| store.tag(&id, &Reference::parse(name).unwrap()).unwrap();

    pull();
    let lines = rmi(&store, "child", PLAIN, &[], &words);
    assert!(!lines.contains("Deleted: ID"), "a parent that was pulled by digest stays: {lines}");

    tag("mine");
    insta::assert_snapshot!(rmi(&store, id.short(), PLAIN, &[], &words), @"Conflict: conflict: unable to delete ID (must be forced) - image is referenced in multiple repositories");
    insta::assert_snapshot!(rmi(&store, &by_digest, PLAIN, &[], &words), @"Untagged: reg.io/x@TOP");
    assert_eq!(store.find(&by_digest).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.find("mine").unwrap().id, id);
    assert_eq!(
        store.image_record(&id).unwrap().repo_digests,
        std::slice::from_ref(&by_digest),
        "where it can be had is still known"
    );

    pull();
    tag("reg.io/x:1");
    tag("reg.io/x:2");
    insta::assert_snapshot!(rmi(&store, "reg.io/x:2", PLAIN, &[], &words), @"Untagged: reg.io/x:2");
    insta::assert_snapshot!(rmi(&store, "reg.io/x:1", PLAIN, &[], &words), @r"
    Untagged: reg.io/x:1
    Untagged: reg.io/x@TOP
    ");
    assert_eq!(store.find(&by_digest).unwrap_err().kind(), ErrorKind::NotFound);

    pull();
    insta::assert_snapshot!(rmi(&store, "mine", PLAIN, &[uses("1", true, &id, &[])], &words), @"Untagged: mine:latest");
    let stopped = [uses("2", false, &id, &[])];
    insta::assert_snapshot!(rmi(&store, &by_digest, PLAIN, &stopped, &words), @r#"Conflict: conflict: unable to remove repository reference "reg.io/x@TOP" (must force) - container 222222222222 is using its referenced image ID"#);
    tag("reg.io/x:1");
    insta::assert_snapshot!(rmi(&store, id.short(), PLAIN, &[], &words), @r"
    Untagged: reg.io/x:1
    Untagged: reg.io/x@TOP
    Deleted: ID
    Deleted: A
    ");
    assert!(store.image_ids().unwrap().is_empty());
}

#[test]
fn what_a_container_uses_stays() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a"], 1, None, &["x"]);
    let words = [(&id, "ID")];
    let running = [uses("1", true, &id, &[])];
    let stopped = [uses("2", false, &id, &[])];
    insta::assert_snapshot!(rmi(&store, "x", PLAIN, &running, &words), @r#"Conflict: conflict: unable to remove repository reference "x" (must force) - container 111111111111 is using its referenced image ID"#);
    insta::assert_snapshot!(rmi(&store, "x", PLAIN, &stopped, &words), @r#"Conflict: conflict: unable to remove repository reference "x" (must force) - container 222222222222 is using its referenced image ID"#);
    insta::assert_snapshot!(rmi(&store, id.hex(), PLAIN, &stopped, &words), @"Conflict: conflict: unable to delete ID (must be forced) - image is being used by stopped container 222222222222");
    insta::assert_snapshot!(rmi(&store, id.hex(), FORCE, &running, &words), @"Conflict: conflict: unable to delete ID (cannot be forced) - image is being used by running container 111111111111");
    // One of two names goes without force.
    store.tag(&id, &Reference::parse("y").unwrap()).unwrap();
    insta::assert_snapshot!(rmi(&store, "y", PLAIN, &running, &words), @"Untagged: y:latest");
    // The last one with it; the image stays.
    insta::assert_snapshot!(rmi(&store, "x", FORCE, &running, &words), @"Untagged: x:latest");
    store.tag(&id, &Reference::parse("x").unwrap()).unwrap();
    insta::assert_snapshot!(rmi(&store, id.hex(), FORCE, &stopped, &words), @"Untagged: x:latest");
    insta::assert_snapshot!(rmi(&store, id.hex(), FORCE, &stopped, &words), @"Conflict: conflict: unable to delete ID (cannot be forced) - image is being used by stopped container 222222222222");
    assert_eq!(store.image_ids().unwrap(), [id]);
}

#[test]
fn layers_of_other_images_and_containers_are_not_reported() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a", "b", "c"], 1, None, &["x"]);
    add_image(&store, &["a"], 2, None, &["y"]);
    let chain = chain_ids(&[Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")]);
    // A container of another image that has layer b on its stack.
    let used = [uses("3", false, &Digest::of(b"other"), &[Digest::of(b"b")])];
    insta::assert_snapshot!(rmi(&store, "x", PLAIN, &used, &[(&id, "ID"), (&chain[2], "ABC")]), @r"
    Untagged: x:latest
    Deleted: ID
    Deleted: ABC
    ");
}

#[test]
fn collection_takes_what_nothing_needs_and_nothing_else() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a"], 1, None, &[]);
    let (kept, garbage) = (add_layer(&store, "used"), add_layer(&store, "garbage"));
    let blob = store.publish_blob(b"garbage").unwrap();
    let container_image = store.publish_blob(b"container's image").unwrap();
    std::fs::write(store.root().images().join(".tmp-1"), "").unwrap();
    std::fs::create_dir(store.root().cache()).unwrap();
    std::fs::write(store.root().cache().join(".tmp-2"), "").unwrap();
    std::fs::create_dir(store.root().layers().join("not-a-layer")).unwrap();
    let used = || Ok(vec![uses("1", false, &container_image, std::slice::from_ref(&kept))]);

    let held = store.lock_shared().unwrap();
    assert_eq!(collect(&store, &used, &mut remove_tree).unwrap(), None);
    assert!(store.layer_exists(&garbage).unwrap());
    drop(held);
    let collected = collect(&store, &used, &mut remove_tree).unwrap().unwrap();
    assert_eq!(collected, Collected { layers: vec![garbage], blobs: vec![blob] });
    assert_eq!(file::list_dir(&store.root().cache()).unwrap(), [""; 0]);
    let layers: BTreeSet<String> = file::list_dir(&store.root().layers()).unwrap().into_iter().collect();
    let expected = [Digest::of(b"a").hex().to_owned(), kept.hex().to_owned(), "not-a-layer".to_owned()];
    assert_eq!(layers, expected.into());
    assert!(file::list_dir(&store.root().staging()).unwrap().is_empty());
    assert_eq!(store.image_ids().unwrap(), [id]);
    assert_eq!(file::list_dir(&store.root().images()).unwrap().len(), 1);
}

#[test]
fn collection_stops_where_claims_are_unknown() {
    let dir = scratch();
    let store = open(&dir);
    let garbage = add_layer(&store, "garbage");
    let unknown = || Err(Error::new(ErrorKind::Corrupt, "record is damaged"));
    assert_eq!(collect(&store, &unknown, &mut remove_tree).unwrap_err().kind(), ErrorKind::Corrupt);
    std::fs::write(store.root().image(&Digest::of(b"x")), "").unwrap();
    assert_eq!(collect(&store, &|| Ok(Vec::new()), &mut remove_tree).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.layer_exists(&garbage).unwrap());
}

#[test]
fn a_collection_cut_short_is_finished_by_the_sweep() {
    let dir = scratch();
    let store = open(&dir);
    add_layer(&store, "garbage");
    let mut killed = |_: &Path| Err(Error::new(ErrorKind::Io, "killed"));
    assert!(collect(&store, &|| Ok(Vec::new()), &mut killed).is_err());
    assert!(file::list_dir(&store.root().layers()).unwrap().is_empty());
    file::Staging::sweep(store.root(), &mut remove_tree).unwrap();
    assert!(file::list_dir(&store.root().staging()).unwrap().is_empty());
}

#[test]
fn tag_and_rmi_at_once_leave_no_name_without_an_image() {
    let dir = scratch();
    let store = open(&dir);
    let y = Reference::parse("y").unwrap();
    for n in 0..25 {
        let id = add_image(&store, &["a"], n, None, &["x"]);
        std::thread::scope(|scope| {
            let tagged = scope.spawn(|| store.tag(&id, &y));
            let removed = scope.spawn(|| remove_image(&store, "x", PLAIN, &|| Ok(Vec::new())));
            let collected = scope.spawn(|| collect(&store, &|| Ok(Vec::new()), &mut remove_tree));
            removed.join().unwrap().unwrap();
            collected.join().unwrap().unwrap();
            match tagged.join().unwrap() {
                Ok(()) => {
                    let image = store.resolve("y").unwrap();
                    assert_eq!(image.id, id);
                    assert!(store.layer_exists(&image.record.layers[0]).unwrap());
                    remove_image(&store, "y", PLAIN, &|| Ok(Vec::new())).unwrap();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            }
        });
        assert!(store.references().unwrap().is_empty() && store.images().unwrap().listed.is_empty());
    }
}

#[test]
fn a_damaged_image_stands_in_the_way_until_it_is_removed_by_force() {
    let dir = scratch();
    let store = open(&dir);
    let bad = add_image(&store, &["a"], 1, None, &["bad", "worse:2"]);
    let good = add_image(&store, &["b"], 2, None, &["good"]);
    std::fs::write(store.root().image(&bad), "{").unwrap();
    let images = store.images().unwrap();
    assert_eq!((images.listed.len(), images.damaged.len()), (1, 1));
    let hint = format!("{}, else remove the image with \"lrun rmi -f {}\"", crate::error::REPAIR, bad.short());
    for name in ["good", "bad"] {
        let error = remove_image(&store, name, PLAIN, &|| Ok(vec![])).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Corrupt, Some(hint.as_str())), "{name}");
    }
    let words = [(&bad, "BAD"), (&good, "GOOD")];
    insta::assert_snapshot!(rmi(&store, "bad", FORCE, &[uses("c", false, &bad, &[])], &words), @"Conflict: conflict: unable to delete BAD (cannot be forced) - image is being used by container cccccccccccc");
    insta::assert_snapshot!(rmi(&store, bad.short(), FORCE, &[], &words), @r"
    Untagged: bad:latest
    Untagged: worse:2
    Deleted: BAD
    ");
    assert_eq!(store.image_ids().unwrap(), [good]);
    assert_eq!(store.references().unwrap().len(), 1);
}

#[test]
fn unused_images_go_with_the_parents_that_they_leave_alone_and_used_ones_stay_whole() {
    let dir = scratch();
    let store = open(&dir);
    let base = add_image(&store, &["a"], 1, None, &["base"]);
    let middle = add_image(&store, &["a", "b"], 2, Some(&base), &[]);
    let top = add_image(&store, &["a", "b", "c"], 3, Some(&middle), &[]);
    let used = add_image(&store, &["u"], 4, None, &["used", "used:too"]);
    let unnamed_used = add_image(&store, &["v"], 5, None, &[]);
    let containers = [uses("1", false, &used, &[]), uses("2", true, &unnamed_used, &[])];
    let prune = |all: bool, wanted: bool| {
        let lines = unused_images(&store, all, &|_| Ok(wanted), &|| Ok(containers.to_vec())).unwrap();
        lines.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(prune(true, false), [""; 0]);
    let lines = prune(false, true);
    assert!(lines.contains(&format!("Deleted: {top}")) && lines.contains(&format!("Deleted: {middle}")), "{lines:?}");
    assert!(store.image_record(&base).is_ok());
    let lines = prune(true, true);
    assert_eq!(lines.first().map(String::as_str), Some("Untagged: base:latest"), "{lines:?}");
    let mut left = store.image_ids().unwrap();
    left.sort();
    let mut kept = vec![used.clone(), unnamed_used];
    kept.sort();
    assert_eq!(left, kept);
    assert_eq!(store.find("used:too").unwrap().id, used);
}

#[test]
fn an_unused_image_that_others_were_made_from_loses_its_names() {
    let dir = scratch();
    let store = open(&dir);
    let base = add_image(&store, &["a"], 1, None, &["base", "base:2"]);
    let child = add_image(&store, &["a", "b"], 2, Some(&base), &["child"]);
    let parent = add_image(&store, &["c"], 3, None, &["parent"]);
    add_image(&store, &["c", "d"], 4, Some(&parent), &["kept"]);
    let containers = [uses("1", false, &child, &[]), uses("2", false, &parent, &[])];
    let prune = |all: bool, but: &str| {
        let wanted = |image: &Listed| Ok(image.references.iter().all(|name| name.familiar() != but));
        let lines = unused_images(&store, all, &wanted, &|| Ok(containers.to_vec())).unwrap();
        lines.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(prune(false, ""), [""; 0]);
    assert_eq!(prune(true, "kept"), ["Untagged: base:2", "Untagged: base:latest"]);
    assert!(store.image_record(&base).is_ok() && store.find("parent").is_ok());
}

#[test]
fn a_prune_waits_for_whoever_publishes() {
    let dir = scratch();
    let store = open(&dir);
    let unused = add_image(&store, &["a"], 1, None, &[]);
    let publishing = store.lock_shared().unwrap();
    std::thread::scope(|scope| {
        let prune = scope.spawn(|| unused_images(&store, false, &|_| Ok(true), &|| Ok(Vec::new())).unwrap().len());
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!prune.is_finished() && store.image_record(&unused).is_ok(), "nothing goes meanwhile");
        drop(publishing);
        assert!(prune.join().unwrap() > 0);
    });
    assert!(store.image_record(&unused).is_err());
}

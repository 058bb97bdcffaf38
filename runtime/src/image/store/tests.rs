//! The store on a real file system: publishing, resolving, formats, and damage.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::file::Staging;

/// A directory on a file system that can hold a store.
pub(crate) fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let f_type = rustix::fs::statfs(dir.path()).unwrap().f_type;
    match fs_verdict(f_type as i64) {
        Verdict::Refused { .. } => tempfile::tempdir_in("/dev/shm").unwrap(),
        _ => dir,
    }
}

fn features(_: &Path) -> Result<Features> {
    Ok(Features { file_system: "test".to_owned(), ..Features::default() })
}

pub(crate) fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("store"), true, Mode::Single, &features).unwrap()
}

/// Puts a layer with this content into the store.
pub(crate) fn add_layer(store: &Store, content: &str) -> Digest {
    let staging = Staging::new(store.root()).unwrap();
    let wrapper = staging.path().join("layer");
    file::make_dir(&wrapper).unwrap();
    file::make_dir(&wrapper.join("diff")).unwrap();
    std::fs::write(wrapper.join("diff/file"), content).unwrap();
    let meta = LayerMeta {
        diff_id: Digest::of(content.as_bytes()),
        size: 1024,
        content: content.len() as u64,
        entries: 1,
        created: Timestamp::UNIX_EPOCH,
        source: "test".to_owned(),
        compressed: Vec::new(),
        squashed: false,
        implicit: false,
        implicit_root: false,
        opaque_root: false,
        extra: Extra::new(),
    };
    store.publish_layer(&wrapper, &meta).unwrap();
    staging.remove(&mut |path| Ok(std::fs::remove_dir_all(path)?)).unwrap();
    meta.diff_id
}

/// Publishes an image of these layers; `seconds` is its age's clock.
pub(crate) fn add_image(
    store: &Store,
    layers: &[&str],
    seconds: i64,
    parent: Option<&Digest>,
    names: &[&str],
) -> Digest {
    let layers: Vec<Digest> = layers.iter().map(|content| add_layer(store, content)).collect();
    let created = Timestamp::from_second(seconds).unwrap().to_string();
    let config = json!({"created": created, "config": {}, "rootfs": {"type": "layers", "diff_ids": layers}});
    let names: Vec<Reference> = names.iter().map(|name| Reference::parse(name).unwrap()).collect();
    store.publish_image(config.to_string().as_bytes(), parent, &names).unwrap()
}

fn message(result: Result<impl std::fmt::Debug>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_store_is_made_once_private_and_probed_once() {
    let dir = scratch();
    let path = dir.path().join("deep/store");
    let probed = Cell::new(0);
    let probe = |at: &Path| {
        probed.set(probed.get() + 1);
        features(at)
    };
    assert_eq!(message(Store::open(&path, false, Mode::Single, &probe)).0, ErrorKind::NotFound);
    assert!(!path.exists());
    for _ in 0..2 {
        let store = Store::open(&path, true, Mode::Single, &probe).unwrap();
        assert_eq!((store.format().idmap, store.format().features.file_system.as_str()), (Mode::Single, "test"));
    }
    assert_eq!(probed.get(), 1);
    for part in ["", "blobs", "blobs/sha256", "images", "layers", "refs", "containers", "names", "staging"] {
        let mode = path.join(part).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{part}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Store::open(&path, false, Mode::Single, &probe).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_store_that_cannot_be_used_is_refused_with_the_way_out() {
    let dir = scratch();
    let path = open(&dir).root().path().to_owned();
    let error = Store::open(&path, true, Mode::Subids, &features).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().ends_with("was made with id mapping single, not subids"), "{error}");
    insta::assert_snapshot!(error.hint_text().unwrap(), @"use --idmap single, or a store of its own for subids: choose another store with --root or LRUN_ROOT");

    let format = path.join("format");
    for (content, kind) in [
        ("{\"version\": 2}", ErrorKind::Unsupported),
        ("{\"version\": 1}", ErrorKind::Corrupt),
        ("", ErrorKind::Corrupt),
    ] {
        std::fs::write(&format, content).unwrap();
        assert_eq!(Store::open(&path, true, Mode::Single, &features).unwrap_err().kind(), kind, "{content}");
    }

    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("precious"), "").unwrap();
    let (kind, text) = message(Store::open(&other, true, Mode::Single, &features));
    assert!(kind == ErrorKind::Conflict && text.ends_with("is not empty and no lrun store"), "{text}");
    assert_eq!(file::list_dir(&other).unwrap(), ["precious"]);

    let refusing = |_: &Path| Err(Error::new(ErrorKind::Unsupported, "no user xattrs"));
    let never = dir.path().join("never");
    let (kind, text) = message(Store::open(&never, true, Mode::Single, &refusing));
    assert!(kind == ErrorKind::Unsupported && text.ends_with("no user xattrs") && !never.exists(), "{text}");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Store::open(&file, true, Mode::Single, &features).unwrap_err().hint_text().is_some());
}

#[test]
fn what_another_maker_has_begun_is_no_foreign_directory() {
    let dir = scratch();
    let path = dir.path().join("store");
    for name in [".probe/upper", "engine", "layers", ".probe/work"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    assert!(Store::open(&path, true, Mode::Single, &features).is_ok());
}

#[test]
fn a_foreign_owners_store_is_refused() {
    // `/` is root's, or ours where this runs as root; then another owner's directory can be made.
    let dir = scratch();
    let path = match rustix::process::geteuid().is_root() {
        true => {
            std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
            dir.path().to_owned()
        }
        false => PathBuf::from("/"),
    };
    let error = Store::open(&path, true, Mode::Single, &features).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.to_string().contains("belongs to user id") && error.hint_text().is_some(), "{error}");
}

#[test]
fn file_systems_are_judged_by_name() {
    let cases = [
        (0xef53, "ext4", true),
        (0x6969, "NFS", false),
        (0x0bd0_0bd0, "Lustre", false),
        (0x794c_7630, "overlayfs", false),
    ];
    for (magic, expected, good) in cases {
        match fs_verdict(magic) {
            Verdict::Good(name) => assert!(good && name == expected),
            Verdict::Refused { name, .. } => assert!(!good && name == expected),
            Verdict::Probe(name) => panic!("{name}"),
        }
    }
    // Sign-extended, as 32-bit machines give it.
    assert_eq!(fs_verdict(i64::from(0x9123_683e_u32 as i32)), Verdict::Good("btrfs"));
    assert_eq!(fs_verdict(1), Verdict::Probe("unknown"));
}

#[test]
fn makers_of_one_store_at_once_all_get_it() {
    let dir = scratch();
    let path = dir.path().join("store");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                Store::open(&path, true, Mode::Single, &features).unwrap().publish_blob(b"x").unwrap();
            });
        }
    });
}

#[test]
fn images_are_found_by_name_id_and_unique_prefix() {
    let dir = scratch();
    let store = open(&dir);
    let old = add_image(&store, &["a"], 1, None, &["x", "reg:5000/deep/y:v1"]);
    let new = add_image(&store, &["a", "bb"], 2, Some(&old), &["z"]);
    for text in
        ["x", "x:latest", "docker.io/library/x", "reg:5000/deep/y:v1", old.as_str(), old.hex(), &old.hex()[..20]]
    {
        let image = store.resolve(text).unwrap();
        assert_eq!((&image.id, image.record.size), (&old, 1), "{text}");
    }
    let image = store.resolve("z").unwrap();
    assert_eq!((image.record.parent.as_ref(), image.record.size), (Some(&old), 3));
    assert_eq!(image.record.layers, image.config.rootfs.diff_ids);

    for (text, words) in [
        ("nope", "No such image: nope:latest"),
        ("reg:5000/deep:v1", "No such image: reg:5000/deep:v1"),
        ("reg:5000/deep/y", "No such image: reg:5000/deep/y:latest"),
        (Digest::of(b"no").as_str(), &format!("No such image: {}", Digest::of(b"no"))),
    ] {
        assert_eq!(message(store.resolve(text)), (ErrorKind::NotFound, words.to_owned()));
    }
    assert_eq!(message(store.resolve("UPPER")).0, ErrorKind::Invalid);
    let ids: Vec<_> = store.images().unwrap().listed.into_iter().map(|i| (i.record.id, i.references.len())).collect();
    assert_eq!(ids, [(new, 1), (old, 2)]);
}

#[test]
fn an_ambiguous_prefix_is_an_error() {
    let dir = scratch();
    let store = open(&dir);
    // 17 ids share one of 16 first digits.
    let ids: Vec<Digest> = (0..17).map(|n| add_image(&store, &["a"], n, None, &[])).collect();
    let first = |id: &Digest| id.hex()[..1].to_owned();
    let shared = ids.iter().map(first).find(|d| ids.iter().filter(|id| first(id) == *d).count() > 1).unwrap();
    let expected = format!("Multiple IDs found with provided prefix: {shared}");
    assert_eq!(message(store.resolve(&shared)), (ErrorKind::Conflict, expected));
}

#[test]
fn names_move_and_go_and_are_remembered() {
    let dir = scratch();
    let store = open(&dir);
    let (one, two) = (add_image(&store, &["a"], 1, None, &["x"]), add_image(&store, &["b"], 2, None, &[]));
    let x = Reference::parse("x").unwrap();
    let deep = Reference::parse("reg.io/a/b/c:t").unwrap();
    store.tag(&two, &x).unwrap();
    store.tag(&two, &deep).unwrap();
    assert_eq!(store.resolve("x").unwrap().id, two);
    assert_eq!(store.resolve("reg.io/a/b/c:t").unwrap().record.names, ["x:latest", "reg.io/a/b/c:t"]);
    assert!(store.untag(&deep).unwrap() && !store.untag(&deep).unwrap());
    assert_eq!(file::list_dir(&store.root().refs()).unwrap(), ["docker.io"]);
    assert_eq!(store.image(&one).unwrap().record.names, ["x:latest"]);
    assert_eq!(store.tag(&Digest::of(b"no"), &x).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.references().unwrap().len(), 1);
}

#[test]
fn a_tag_and_a_repository_below_it_coexist() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a"], 1, None, &["reg.io/a", "reg.io/a/b", "reg.io/a/b/c:a"]);
    assert!(store.untag(&Reference::parse("reg.io/a/b").unwrap()).unwrap());
    for name in ["reg.io/a", "reg.io/a/b/c:a"] {
        assert_eq!(store.resolve(name).unwrap().id, id);
    }
}

#[test]
fn damage_is_noticed() {
    let dir = scratch();
    let store = open(&dir);
    let id = add_image(&store, &["a"], 1, None, &["x"]);
    let blob = store.root().blob(&id);
    let whole = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, "{}").unwrap();
    assert_eq!(message(store.resolve("x")).0, ErrorKind::Corrupt);
    // Publishing the same image again mends it.
    store.publish_image(&whole, None, &[]).unwrap();
    assert_eq!(store.resolve("x").unwrap().id, id);
    let missing = json!({"rootfs": {"type": "layers", "diff_ids": [Digest::of(b"missing")]}}).to_string();
    assert_eq!(store.publish_image(missing.as_bytes(), None, &[]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.image_ids().unwrap().len(), 1);
}

#[test]
fn a_layer_is_published_once() {
    let dir = scratch();
    let store = open(&dir);
    let layer = add_layer(&store, "a");
    let meta = store.layer_meta(&layer).unwrap();
    let again = store.root().staging().join("again");
    file::make_dir(&again).unwrap();
    assert_eq!(store.publish_layer(&again, &meta).unwrap(), Published::Existing);
    assert!(again.exists() && store.layer_exists(&layer).unwrap());
    store.update_layer_meta(&layer, |meta| meta.compressed.push(Digest::of(b"z"))).unwrap();
    assert_eq!(store.layer_meta(&layer).unwrap().compressed, [Digest::of(b"z")]);
}

#[test]
fn layers_published_at_once_are_published_once() {
    let dir = scratch();
    let store = open(&dir);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..20 {
                    let layer = add_layer(&store, &n.to_string());
                    assert!(store.root().layer_diff(&layer).join("file").exists());
                    store.layer_meta(&layer).unwrap();
                }
            });
        }
    });
    assert_eq!(file::list_dir(&store.root().layers()).unwrap().len(), 20);
}

#[test]
fn readers_beside_writers_never_see_half_an_image() {
    let dir = scratch();
    let store = open(&dir);
    let ids = [add_image(&store, &["a"], 1, None, &["x"]), add_image(&store, &["b"], 2, None, &[])];
    let x = Reference::parse("x").unwrap();
    let other = Reference::parse("reg.io/other").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..60 {
                store.tag(&ids[n % 2], &x).unwrap();
                store.tag(&ids[0], &other).unwrap();
                store.untag(&other).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(ids.contains(&store.resolve("x").unwrap().id));
                assert_eq!(store.images().unwrap().listed.len(), 2);
                std::thread::sleep(Duration::from_micros(50));
            }
        });
    });
}

#[test]
fn a_build_leaves_a_damaged_layer_where_it_is_until_it_publishes() {
    let dir = scratch();
    let store = open(&dir);
    let layer = add_layer(&store, "content");
    let damaged = store.layer_path(&layer);
    std::fs::write(damaged.join("diff/file"), "damaged").unwrap();
    std::fs::write(damaged.join(Root::LAYER_DAMAGED), "").unwrap();
    let build = store.of_build("it");
    let folder = store.root().layers().join(build.root().build_layers().unwrap());
    file::make_dir(&folder).unwrap();
    let content = |store: &Store| std::fs::read_to_string(store.root().layer_diff(&layer).join("file")).unwrap();
    assert!(content(&build) == "damaged" && !build.has_sound_layer(&layer).unwrap());
    for (round, expected) in [Published::Moved, Published::Existing].into_iter().enumerate() {
        let wrapper = store.root().staging().join(format!("made-{round}"));
        file::make_dir(&wrapper).unwrap();
        file::make_dir(&wrapper.join("diff")).unwrap();
        std::fs::write(wrapper.join("diff/file"), format!("made {round}")).unwrap();
        assert_eq!(build.place_layer(&wrapper, &layer).unwrap(), expected);
        // The build goes on with its own; everybody else has what there was.
        assert_eq!((content(&build).as_str(), content(&store).as_str()), ("made 0", "damaged"));
        assert!(build.has_sound_layer(&layer).unwrap() && !store.has_sound_layer(&layer).unwrap());
    }
    assert_eq!(store.place_layer(&folder.join(layer.hex()), &layer).unwrap(), Published::Moved);
    assert_eq!((content(&build).as_str(), content(&store).as_str()), ("made 0", "made 0"));
    assert_eq!(file::list_dir(&folder).unwrap(), [""; 0]);
    assert_eq!(file::list_dir(&store.root().layers()).unwrap().len(), 3, "the damaged one, too");
}

//! Damage beyond a byte, to every kind of file that a store has: it is found and named, commands that meet it say so and
//! what helps, and nothing that is wrong goes out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lrun_tests::{Entry, Lrun, Output, Tar, eventually, images};

const HINT: &str = "  hint: lrun system check --repair mends what can be mended";

fn hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive of an image of these layers, as docker saves one.
fn archive(name: &str, layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).to_string();
    let mut tar = Tar::new().file("manifest.json", manifest.as_bytes()).file("config.json", config.as_bytes());
    for (name, layer) in names.iter().zip(layers) {
        tar = tar.file(name, layer);
    }
    tar.finish()
}

/// A store with one of everything: an image that was imported, one that was loaded and whose stack of layers has to be
/// completed, one that was committed; containers that ended, that runs, and that is in the trash.
fn store() -> Lrun {
    let lrun = Lrun::with_busybox();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    let directory = |name, mode| Entry { name, kind: b'5', mode, ..Entry::default() };
    let said = Tar::new().entry(directory(b"t/", 0o1777)).entry(directory(b"t/deep/", 0o711)).finish();
    let unsaid = Tar::new().file("t/deep/x", b"x").finish();
    let loaded = lrun.run_with(&archive("loaded:1", &[&busybox, &said, &unsaid]), &["load"]);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    let script = "echo data > /opt/kept; mkdir /opt/d; ln -s d /opt/l; rm /var/lib/files/3";
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    lrun.ok(&["commit", "box", "committed"]);
    lrun.ok(&["run", "-d", "--name", "runs", "--network", "none", "loaded:1", "sleep", "1000"]);
    lrun.ok(&["run", "--name", "gone", "--network", "none", "committed", "sh", "-c", "echo x > /opt/x"]);
    lrun.ok(&["rm", "gone"]);
    lrun
}

fn check(lrun: &Lrun) -> Output {
    lrun.run(&["system", "check"])
}

fn assert_sound(lrun: &Lrun, after: &str) {
    let output = check(lrun);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "", ""), "after {after}");
}

/// What is in a folder of the store, one below the other.
fn inside(lrun: &Lrun, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(lrun.store().join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// One file of each kind, with the words by which a finding names it.
fn kinds(lrun: &Lrun) -> Vec<(PathBuf, String)> {
    let store = lrun.store();
    let id = lrun.inspect("box", "{{.Id}}");
    let image = lrun.inspect("committed", "{{.Id}}").trim_start_matches("sha256:").to_owned();
    let layer = inside(lrun, "layers").into_iter().find(|path| path.join("diff/opt/kept").exists()).expect("a layer");
    let short = layer.file_name().and_then(|name| name.to_str()).expect("UTF-8")[..12].to_owned();
    let trash = inside(lrun, "trash").remove(0);
    let container = store.join("containers").join(&id);
    let in_layer = |name: &str| format!("layer {short}: {name}: ");
    vec![
        (container.join("record.json"), format!("container {}: record: ", &id[..12])),
        (container.join("spec.json"), "container box: spec: ".to_owned()),
        (trash.join("record.json"), ": record: ".to_owned()),
        (trash.join("spec.json"), ": spec: ".to_owned()),
        (store.join(format!("images/{image}.json")), "image committed:latest: record: ".to_owned()),
        (store.join("blobs/sha256").join(&image), "image committed:latest: config: ".to_owned()),
        (layer.join("meta.json"), in_layer("meta.json")),
        (layer.join("index"), in_layer("index")),
        (layer.join("diff/opt/kept"), in_layer("opt/kept")),
        (store.join("refs/docker.io/library/committed/:latest"), "reference committed:latest: ".to_owned()),
        (store.join("engine/base-1/etc/hosts"), "engine/base-1/etc/hosts: ".to_owned()),
        (store.join("format"), "format".to_owned()),
    ]
}

/// Runs a change to a file, and gives the file back its content, mode and time.
fn damaged(path: &Path, change: impl FnOnce(&Path, &[u8]), then: impl FnOnce()) {
    let (whole, meta) = (fs::read(path).expect("read"), fs::metadata(path).expect("metadata"));
    let parent = path.parent().expect("a parent");
    let of_parent = fs::metadata(parent).expect("metadata");
    let settle = || {
        if path.exists() {
            fs::set_permissions(path, meta.permissions()).expect("chmod");
            let file = fs::File::open(path).expect("open");
            file.set_modified(meta.modified().expect("a time")).expect("utimens");
        }
        fs::File::open(parent).expect("open").set_modified(of_parent.modified().expect("a time")).expect("utimens");
    };
    change(path, &whole);
    settle();
    then();
    fs::write(path, &whole).expect("write");
    settle();
}

type Change = (&'static str, fn(&Path, &[u8]));

const CHANGES: [Change; 6] = [
    ("its middle is zeros", |path, whole| {
        let mut bytes = whole.to_owned();
        bytes[whole.len() / 4..whole.len() * 3 / 4 + 1].fill(0);
        fs::write(path, bytes).expect("write");
    }),
    ("two bytes are exchanged", |path, whole| {
        let mut bytes = whole.to_owned();
        let other = (1..whole.len()).find(|at| whole[*at] != whole[0]).expect("another byte");
        bytes.swap(0, other);
        fs::write(path, bytes).expect("write");
    }),
    ("its second half is lost", |path, whole| fs::write(path, &whole[..whole.len() / 2]).expect("write")),
    ("it is empty", |path, _| fs::write(path, "").expect("write")),
    ("there is more", |path, whole| fs::write(path, [whole, b"}"].concat()).expect("write")),
    ("it is gone", |path, _| fs::remove_file(path).expect("remove")),
];

/// A name that is gone was taken away, a store without format is none, and some of lrun's own files are empty.
fn is_damage(path: &Path, what: &str) -> bool {
    let length = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).len();
    match what {
        "it is gone" => !["/refs/", "/format"].iter().any(|part| path.to_string_lossy().contains(part)),
        "there is more" => true,
        _ => length > 0,
    }
}

#[test]
fn every_kind_of_file_is_checked_for_every_kind_of_damage() {
    let lrun = store();
    assert_sound(&lrun, "nothing");
    for (path, name) in kinds(&lrun) {
        for (what, change) in CHANGES {
            if !is_damage(&path, what) {
                continue;
            }
            damaged(&path, change, || {
                let output = check(&lrun);
                let named = output.stdout.lines().any(|line| line.contains(&name));
                assert!(named && output.code == 1, "{}, {what}: no {name:?} in {output:?}", path.display());
                let hint = output.stderr.lines().eq([HINT]);
                assert!(hint, "{}, {what}: {output:?}", path.display());
            });
        }
        assert_sound(&lrun, &path.display().to_string());
    }
}

#[test]
fn attributes_and_folders_are_checked_too() {
    let lrun = store();
    let own = rustix::process::geteuid().as_raw();
    let stack = inside(&lrun, "layers").into_iter().find(|path| path.to_string_lossy().contains("/stack-"));
    let stack = stack.expect("a stack that was completed");
    let name = stack.file_name().and_then(|name| name.to_str()).expect("UTF-8")[..18].to_owned();
    let trees = inside(&lrun, "layers").into_iter().filter(|path| path.join("index").exists());
    let file = trees.map(|layer| layer.join("diff/opt/kept")).find(|path| path.exists()).expect("the file");
    let trash = inside(&lrun, "trash").remove(0);
    lrun.ok(&["rm", "-f", "--no-trash", "runs"]);
    let mode = |path: &Path| {
        let mode = fs::metadata(path).expect("metadata").permissions().mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode ^ 0o001)).expect("chmod");
    };
    let time = |path: &Path| {
        let now = std::time::SystemTime::now();
        fs::File::open(path).expect("open").set_modified(now).expect("utimens");
    };
    let xattr = |path: &Path| {
        rustix::fs::setxattr(path, "user.more", b"x", rustix::fs::XattrFlags::empty()).expect("setxattr");
    };
    let more = |path: &Path| fs::write(path.join("more"), "x").expect("write");
    let deep = name;
    type Case<'a> = (&'a str, PathBuf, &'a dyn Fn(&Path), String);
    let cases: [Case<'_>; 8] = [
        ("a mode", file.clone(), &mode, "opt/kept: its mode is".to_owned()),
        ("a time", file.clone(), &time, "opt/kept: its time was changed".to_owned()),
        ("an attribute", file.clone(), &xattr, "opt/kept: its extended attribute user.more".to_owned()),
        ("a mode of a stack", stack.join("diff/t/deep"), &mode, format!("layers/{deep}: diff/t/deep: was changed")),
        ("a time of a stack", stack.join("diff/t"), &time, format!("layers/{deep}: diff/t: was changed")),
        ("an attribute of a stack", stack.join("diff/t"), &xattr, format!("layers/{deep}: diff/t: was changed")),
        ("a file in a stack", stack.join("diff/t/deep"), &more, "diff/t/deep/more: does not belong there".to_owned()),
        (
            "a folder of a stack",
            stack.join("diff/t/deep"),
            &|path| fs::remove_dir(path).expect("rmdir"),
            "diff/t/deep: is missing".to_owned(),
        ),
    ];
    for (what, path, change, line) in cases {
        if path.metadata().expect("metadata").uid() != own {
            continue;
        }
        change(&path);
        let output = check(&lrun);
        assert!(output.code == 1 && output.stdout.contains(&line), "{what}: no {line:?} in {output:?}");
        let repaired = lrun.run(&["system", "check", "--repair"]);
        assert!(repaired.code == 0 && repaired.stdout.lines().all(|line| line.ends_with(" (mended)")), "{repaired:?}");
        assert_sound(&lrun, what);
    }
    let shown = lrun.ok(&["run", "--rm", "--network", "none", "loaded:1", "stat", "-c", "%a", "/t", "/t/deep"]);
    assert_eq!(shown, "1777\n711");
    fs::rename(trash.join("layer/diff"), lrun.folder().join("diff")).expect("rename");
    assert!(check(&lrun).stdout.contains(": its read-write layer is missing"));
    fs::rename(lrun.folder().join("diff"), trash.join("layer/diff")).expect("rename");
    assert_sound(&lrun, "the trash");
}

/// Locks are empty files of one mode: one that has a byte, or lets others in, is told of and mended.
#[test]
fn locks_are_checked_and_mended() {
    let lrun = store();
    let (containers, trash) = (lrun.store().join("containers"), inside(&lrun, "trash").remove(0));
    let box_ = containers.join(lrun.inspect("box", "{{.Id}}"));
    lrun.ok(&["rm", "-f", "--no-trash", "runs"]);
    let own = ["lock", "restart.lock", "pause.lock", "record.lock"];
    let mut locks: Vec<(PathBuf, String)> =
        ["lock", "refs.lock", "names.lock"].map(|name| (lrun.store().join(name), name.to_owned())).into();
    locks.extend(own.map(|name| (box_.join(name), format!("container box: {name}"))));
    locks.extend(own.map(|name| (trash.join(name), format!(": {name}"))));
    locks.retain(|(path, _)| path.exists());
    assert!(locks.len() >= 5, "{locks:?}");
    type Harm = fn(&Path);
    let byte: Harm = |path| fs::write(path, "x").expect("write");
    let mode: Harm = |path| fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("chmod");
    for (path, name) in locks {
        for (harm, what) in [(byte, "has 1 bytes, a lock has none"), (mode, "its mode is 640, not 600")] {
            harm(&path);
            let output = check(&lrun);
            assert!(output.code == 1 && output.stdout.contains(&format!("{name}: {what}")), "{name}: {output:?}");
            repaired(&lrun);
            assert_sound(&lrun, &name);
        }
    }
}

/// Every byte of a log, of a container that runs, one that has ended and one in the trash.
#[test]
fn a_changed_byte_of_a_log_is_found_and_named() {
    let lrun = Lrun::with_busybox();
    let talk = "echo one; echo two >&2; printf three";
    let run = |name: &str| lrun.run(&["run", "--name", name, "--network", "none", "busybox", "sh", "-c", talk]).code;
    assert_eq!((run("ended"), run("gone")), (0, 0));
    let runs = lrun.ok(&["run", "-d", "--network", "none", "busybox", "sh", "-c", &format!("{talk}; sleep 1000")]);
    lrun.ok(&["rm", "gone"]);
    let log_of = |container: &str| lrun.store().join("containers").join(lrun.inspect(container, "{{.Id}}")).join("log");
    eventually("all is said", || lrun.run(&["logs", &runs]).stdout.ends_with("three"));
    let trash = inside(&lrun, "trash").remove(0).join("log");
    let name = lrun.inspect(&runs, "{{.Name}}");
    let running = format!("container {}: log: ", name.trim_start_matches('/'));
    assert_sound(&lrun, "nothing");
    for (path, line) in
        [(log_of("ended"), "container ended: log: "), (log_of(&runs), running.as_str()), (trash, ": log: ")]
    {
        let whole = fs::read(&path).expect("the log");
        assert!(whole.len() >= 2 * 32 + 13, "{whole:?}");
        for at in (0..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, changed).expect("write");
            let output = check(&lrun);
            assert!(output.code == 1 && output.stdout.contains(line), "byte {at}, {line}: {output:?}");
        }
        let output = lrun.run(&["system", "check", "--repair"]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stderr.contains("nothing can mend a log; `lrun logs` shows"), "{output:?}");
        fs::write(&path, &whole).expect("write");
        assert_sound(&lrun, line);
    }
    lrun.ok(&["rm", "-f", &runs]);
}

/// Commands that come across damage say what is damaged and what helps.
#[test]
fn ordinary_commands_on_a_damaged_store_say_what_helps() {
    let lrun = store();
    let commands: [&[&str]; 22] = [
        &["ps", "-a"],
        &["images"],
        &["system", "df"],
        &["inspect", "box"],
        &["inspect", "committed"],
        &["history", "committed"],
        &["run", "--rm", "--network", "none", "committed", "true"],
        &["create", "committed"],
        &["start", "-a", "box"],
        &["diff", "box"],
        &["commit", "box"],
        &["export", "-o", "out.tar", "box"],
        &["save", "-o", "out.tar", "committed"],
        &["cp", "box:/opt/kept", "out"],
        &["logs", "box"],
        &["top", "box"],
        &["exec", "box", "true"],
        &["rename", "box", "box2"],
        &["tag", "committed", "committed:2"],
        &["rmi", "busybox"],
        &["undelete", "--list"],
        &["image", "prune", "-f"],
    ];
    let mut said = 0;
    for (path, _) in kinds(&lrun) {
        for (what, change) in [CHANGES[0], CHANGES[3], CHANGES[5]] {
            if !is_damage(&path, what) {
                continue;
            }
            damaged(&path, change, || {
                for args in commands {
                    let output = lrun.run(args);
                    let place = format!("{}, {what}: {args:?}: {output:?}", path.display());
                    assert!(!output.stderr.contains("panicked"), "{place}");
                    if output.code != 0 {
                        let words = [
                            "damaged",
                            "No such",
                            "no such file",
                            "not running",
                            "is missing",
                            "is using",
                            "changed",
                            "too short",
                            "gone",
                        ];
                        assert!(words.iter().any(|word| output.stderr.contains(word)), "{place}");
                    }
                    if output.stderr.contains("damaged") {
                        assert!(output.stderr.contains("lrun system check --repair"), "{place}");
                        said += 1;
                    }
                    match args[0] {
                        "create" if output.code == 0 => drop(lrun.run(&["rm", output.stdout.trim()])),
                        "commit" if output.code == 0 => drop(lrun.run(&["rmi", output.stdout.trim()])),
                        "rename" if output.code == 0 => drop(lrun.run(&["rename", "box2", "box"])),
                        "tag" if output.code == 0 => drop(lrun.run(&["rmi", "committed:2"])),
                        "save" | "export" => drop(fs::remove_file(lrun.folder().join("out.tar"))),
                        "rmi" if output.code == 0 => panic!("{place}"),
                        _ => {}
                    }
                }
            });
        }
    }
    assert!(said > 50, "{said} times it was said what helps");
}

fn repaired(lrun: &Lrun) -> Output {
    let output = lrun.run(&["system", "check", "--repair"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.lines().all(|line| line.ends_with(" (mended)")), "{output:?}");
    output
}

#[test]
fn a_lost_record_is_made_again_and_no_file_of_the_user_is_lost() {
    let lrun = store();
    let id = lrun.inspect("box", "{{.Id}}");
    let record = lrun.store().join("containers").join(&id).join("record.json");
    for (what, change) in CHANGES {
        let whole = fs::read(&record).expect("read");
        change(&record, &whole);
        let output = repaired(&lrun);
        assert!(output.stdout.contains(&format!("container {}: record: ", &id[..12])), "{what}: {output:?}");
        assert_sound(&lrun, what);
        assert_eq!(lrun.inspect("box", "{{.Id}} {{.Config.Image}}"), format!("{id} busybox"), "{what}");
        // What it has written since its commit is there, and it can be used.
        lrun.ok(&["cp", "box:/etc/passwd", "out"]);
        lrun.ok(&["commit", "box"]);
        fs::write(&record, &whole).expect("write");
    }
    lrun.ok(&["create", "--name", "files", "--network", "none", "busybox", "cat", "/new"]);
    lrun.file("new", "mine");
    lrun.ok(&["cp", "new", "files:/new"]);
    let id = lrun.inspect("files", "{{.Id}}");
    let record = lrun.store().join("containers").join(&id).join("record.json");
    fs::write(&record, "").expect("write");
    repaired(&lrun);
    lrun.ok(&["commit", "files", "with_files"]);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "with_files", "cat", "/new"]), "mine");
    assert_eq!(lrun.ok(&["diff", "files"]), "A /new");
    // Also by way of the trash.
    fs::write(&record, "").expect("write");
    lrun.ok(&["rm", "-f", "files"]);
    repaired(&lrun);
    lrun.ok(&["undelete", &id]);
    assert_eq!(lrun.ok(&["cp", &format!("{id}:/new"), "back"]), "");
    assert_eq!(fs::read_to_string(lrun.folder().join("back")).expect("the file"), "mine");
}

#[test]
fn what_else_is_lost_is_made_again() {
    let lrun = store();
    let image = lrun.inspect("committed", "{{.Id}}").trim_start_matches("sha256:").to_owned();
    fs::remove_file(lrun.store().join(format!("images/{image}.json"))).expect("remove");
    let layers = inside(&lrun, "layers").into_iter();
    let layer = layers.filter(|path| path.join("diff/opt/kept").exists()).collect::<Vec<_>>().remove(0);
    fs::write(layer.join("index"), "nothing").expect("write");
    fs::write(lrun.store().join("format"), "{}").expect("write");
    assert_eq!(check(&lrun).code, 1);
    repaired(&lrun);
    assert_sound(&lrun, "the repair");
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "committed", "cat", "/opt/kept"]), "data");
    lrun.ok(&["save", "-o", "saved.tar", "committed"]);
}

/// A container whose Spec somebody edited does not start in other namespaces than its options say; its files are at hand.
#[test]
fn an_edited_spec_is_refused_with_the_way_out() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo kept > /opt/x"]);
    let id = lrun.inspect("box", "{{.Id}}");
    let path = lrun.store().join("containers").join(&id).join("spec.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("the Spec")).expect("JSON");
    let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "network");
    // A file without a checksum is taken as it is.
    spec.as_object_mut().expect("an object").remove("xxh3");
    fs::write(&path, spec.to_string()).expect("write");
    let complaint = lrun.fails(1, &["start", "box"]);
    assert!(complaint.contains(&format!("container {}: its Spec is not of its options", &id[..12])), "{complaint}");
    assert!(
        complaint.contains(&format!("  hint: its files are untouched: lrun commit {} IMAGE", &id[..12])),
        "{complaint}"
    );
    lrun.ok(&["commit", &id[..12], "saved"]);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "saved", "cat", "/opt/x"]), "kept");
}

/// A copy of a store may be without the directories that were empty.
#[test]
fn lost_directories_are_told_of_and_made_again() {
    let lrun = Lrun::with_busybox();
    for name in ["staging", "containers", "names"] {
        fs::remove_dir(lrun.store().join(name)).expect("it is empty");
        let run = ["run", "--rm", "--network", "none", "busybox", "true"];
        let complaint = lrun.fails(125, &run);
        assert!(complaint.contains(&format!("has lost directories: {name}\n{HINT}")), "{complaint}");
        let output = check(&lrun);
        assert!(output.code == 1 && output.stdout.contains(&format!("has lost directories: {name}\n")), "{output:?}");
        let output = repaired(&lrun);
        assert!(output.stdout.contains(&format!(": it lost {name} (mended)\n")), "{output:?}");
        assert_sound(&lrun, name);
        lrun.ok(&run);
    }
    // Beside a damaged format, each is told of.
    eventually("it is empty", || fs::remove_dir(lrun.store().join("staging")).is_ok());
    fs::write(lrun.store().join("format"), "{}").expect("write");
    assert_eq!(repaired(&lrun).stdout.lines().count(), 2);
    assert_sound(&lrun, "both");
    eventually("it is empty", || fs::remove_dir(lrun.store().join("staging")).is_ok());
    fs::write(lrun.store().join("staging"), "").expect("a file");
    let complaint = lrun.fails(1, &["system", "check", "--repair"]);
    assert!(complaint.contains("staging is no directory\n  hint: move it away"), "{complaint}");
    fs::remove_file(lrun.store().join("staging")).expect("remove");
    repaired(&lrun);
    // With these what was in them is gone, and told of; what is had again fills them.
    for names in [&["images", "layers"][..], &["blobs", "refs"]] {
        for name in names {
            fs::rename(lrun.store().join(name), lrun.folder().join(name)).expect("rename");
        }
        let output = lrun.run(&["system", "check", "--repair"]);
        assert!(output.stdout.contains(&format!(": it lost {}", names[0])), "{output:?}");
        lrun.import("busybox.tar", "busybox");
        lrun.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    }
}

/// A name stays as long as its image can come back, and nothing is called damaged that could not be looked at.
#[test]
fn what_the_machine_lacks_is_no_damage() {
    let lrun = store();
    lrun.ok(&["tag", "committed", "precious:1"]);
    let image = lrun.inspect("committed", "{{.Id}}").trim_start_matches("sha256:").to_owned();
    let record = lrun.store().join(format!("images/{image}.json"));
    fs::remove_file(&record).expect("remove");
    let repair = ["system", "check", "--repair"];
    let output = lrun.spawn_in(&["prlimit", "--fsize=0:0"], &repair).wait();
    assert!(output.code == 1 && output.stderr.contains("it could not be made again: "), "{output:?}");
    assert!(!output.stdout.contains("(mended)"), "{output:?}");
    repaired(&lrun);
    assert_sound(&lrun, "the repair");
    assert_eq!(lrun.inspect("precious:1", "{{.Id}}"), format!("sha256:{image}"));
    for files in 5..24 {
        let limit = format!("--nofile={files}:{files}");
        let output = lrun.spawn_in(&["prlimit", &limit], &repair).wait();
        let lacks = output.stderr.contains("too many open files") || output.stderr.contains("error while loading");
        assert!(output.code == 0 || lacks, "{files}: {output:?}");
        assert_eq!(output.stdout, "", "{files}");
        assert_sound(&lrun, &limit);
    }
    let marks = inside(&lrun, "layers").into_iter().filter(|layer| layer.join("damaged").exists());
    assert_eq!(marks.count(), 0);
}

/// What is not a file is not waited for, and nothing is written elsewhere.
#[test]
fn links_and_fifos_lead_nowhere() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "true"]);
    let container = lrun.store().join("containers").join(lrun.inspect("box", "{{.Id}}"));
    let notes = lrun.file("notes", "mine");
    let fifo = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    };
    for name in ["hosts", "hostname", "resolv.conf"] {
        let path = container.join("files").join(name);
        let harms: [&dyn Fn(); 3] =
            [&|| std::os::unix::fs::symlink(&notes, &path).expect("a link"), &|| fifo(&path), &|| {
                fs::write(&path, "x".repeat(10_000)).expect("a file")
            }];
        for harm in harms {
            fs::remove_file(&path).expect("remove");
            harm();
            lrun.ok(&["start", "-a", "box"]);
            assert!(path.symlink_metadata().expect("it").is_file() && fs::metadata(&path).expect("it").len() < 5000);
        }
    }
    assert_eq!(fs::read_to_string(&notes).expect("the notes"), "mine");
    for (name, what) in [("lock", "lock: is no file"), ("log", "log: cannot be read")] {
        let (path, aside) = (container.join(name), lrun.folder().join(name));
        fs::rename(&path, &aside).expect("rename");
        fifo(&path);
        let output = check(&lrun);
        assert!(output.code == 1 && output.stdout.contains(&format!("container box: {what}")), "{output:?}");
        fs::remove_file(&path).expect("remove");
        if name == "lock" {
            let output = check(&lrun);
            assert!(output.code == 1 && output.stdout.contains("container box: its lock is missing"), "{output:?}");
            repaired(&lrun);
        } else {
            fs::rename(&aside, &path).expect("rename");
        }
        assert_sound(&lrun, name);
    }
    // That of a monitor is not made anew behind its back.
    let runs = lrun.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);
    fs::remove_file(lrun.store().join("containers").join(&runs).join("lock")).expect("remove");
    let output = lrun.run(&["system", "check", "--repair"]);
    assert!(output.code == 1 && output.stdout.contains("its lock is missing\n"), "{output:?}");
    lrun.ok(&["rm", "-f", &runs]);
    assert_sound(&lrun, "the removal");
    // A layer that is a link to a sound one is not mended by that.
    let layer = inside(&lrun, "layers").remove(0);
    let aside = lrun.folder().join("layer");
    fs::rename(&layer, &aside).expect("rename");
    std::os::unix::fs::symlink(&aside, &layer).expect("a link");
    let output = lrun.run(&["system", "check", "--repair"]);
    assert!(output.code == 1 && !output.stdout.contains("(mended)"), "{output:?}");
    // Nor is a read-write layer taken from elsewhere without a word.
    fs::remove_file(&layer).expect("remove");
    fs::rename(&aside, &layer).expect("rename");
    let diff = container.join("layer/diff");
    let elsewhere = lrun.folder().join("elsewhere");
    fs::rename(&diff, &elsewhere).expect("rename");
    std::os::unix::fs::symlink(&elsewhere, &diff).expect("a link");
    let output = check(&lrun);
    assert!(output.code == 1 && output.stdout.contains("read-write layer is no directory"), "{output:?}");
}

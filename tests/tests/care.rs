//! Care of the store: what it takes on disk, removing what is not used, and finding and mending what is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use lrun_tests::{Lrun, Mode, Output, mode, skip};

/// A store with an image, a container with changes, and an image made of it.
fn small_store() -> Lrun {
    let lrun = Lrun::with_busybox();
    let script = "echo data > /opt/kept; cp /bin/busybox /opt/copy; rm /var/lib/files/3; mkdir /opt/d; ln -s d /opt/l";
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    lrun.ok(&["commit", "box", "committed"]);
    lrun.ok(&["run", "--name", "other", "--network", "none", "committed", "sh", "-c", "echo more > /opt/more"]);
    lrun
}

/// Adds a build cache to it: what a step made and copied, the steps of the Dockerfile, and hashes of files, which are kept of
/// those that have not just changed.
fn with_a_build(lrun: &Lrun) {
    let context = lrun.folder().join("context");
    fs::create_dir(&context).expect("a folder");
    fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY . /files/\n").expect("a file");
    std::thread::sleep(std::time::Duration::from_secs(4));
    lrun.ok(&["build", "-q", "-t", "built", context.to_str().expect("UTF-8")]);
    let kept: Vec<_> = fs::read_dir(lrun.store().join("cache")).expect("it is there").collect();
    assert_eq!(kept.len(), 4, "{kept:?}");
}

/// The parts of a line of `system df`.
fn df(lrun: &Lrun, kind: &str) -> Vec<String> {
    let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}";
    let lines = lrun.ok(&["system", "df", "--format", format]);
    let line = lines.lines().find_map(|line| line.strip_prefix(&format!("{kind}|"))).expect("a row").to_owned();
    line.split('|').map(str::to_owned).collect()
}

/// Bytes on disk of a tree that this user can read, as du(1) counts them.
fn du(path: &Path) -> Option<u64> {
    let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(path).output().expect("du");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.split_whitespace().next().and_then(|n| n.parse().ok())).flatten()
}

#[test]
fn df_counts_every_layer_once() {
    let lrun = small_store();
    lrun.ok(&["tag", "busybox", "again"]);
    let table = lrun.ok(&["system", "df"]);
    let header: Vec<&str> = table.lines().next().expect("headers").split_whitespace().collect();
    assert_eq!(header, ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    assert_eq!(df(&lrun, "Images")[..2], ["2", "2"]);
    assert_eq!(df(&lrun, "Images")[3], "0B (0%)");
    assert_eq!(df(&lrun, "Containers")[..2], ["2", "0"]);
    assert!(df(&lrun, "Containers")[3].ends_with("(100%)"));
    assert_eq!(df(&lrun, "Local Volumes"), ["0", "0", "0B", "0B"]);
    assert_eq!(df(&lrun, "Build Cache"), ["0", "0", "0B", "0B"]);
    let json = lrun.ok(&["system", "df", "-v", "--format", "json"]);
    let whole: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let images = whole["Images"].as_array().expect("images");
    let image = |name: &str| images.iter().find(|image| image["Repository"] == name).expect("the image").clone();
    assert_eq!(
        (image("busybox")["UniqueSize"].clone(), image("busybox")["Containers"].clone()),
        ("0B".into(), "1".into())
    );
    assert_eq!(image("busybox")["SharedSize"], image("committed")["SharedSize"]);
    assert_eq!(whole["Containers"].as_array().map(Vec::len), Some(2));
    let tables = lrun.ok(&["system", "df", "-v"]);
    for title in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Build cache usage: 0B",
        "REPOSITORY   TAG",
        "CONTAINER ID   IMAGE",
    ] {
        assert!(tables.contains(title), "{title}: {tables}");
    }
    if let Some(bytes) = du(&lrun.store().join("layers")) {
        let own = fs::metadata(lrun.store().join("layers")).expect("layers").blocks() * 512;
        let shown: f64 = df(&lrun, "Images")[2].trim_end_matches("MB").parse().expect("megabytes");
        assert!((shown - (bytes - own) as f64 / 1e6).abs() < 0.01, "{shown} MB, du says {bytes}");
    }
}

#[test]
fn prune_takes_what_is_not_used_and_nothing_else() {
    let lrun = small_store();
    let running = lrun.ok(&["run", "-d", "--label", "keep=1", "--network", "none", "committed", "sleep", "1000"]);
    let made = lrun.ok(&["create", "--label", "keep=2", "busybox", "true"]);
    let asked = lrun.run_with(b"n\n", &["container", "prune"]);
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    assert_eq!((asked.code, asked.stdout.as_str(), asked.stderr.as_str()), (0, question, ""));
    assert_eq!(lrun.ok(&["container", "prune", "-f", "--filter", "label=keep=3"]), "Total reclaimed space: 0B");
    assert_eq!(lrun.ok(&["container", "prune", "-f", "--filter", "until=1h"]), "Total reclaimed space: 0B");
    let pruned = lrun.ok(&["container", "prune", "-f", "--filter", "label=keep"]);
    assert!(pruned.starts_with(&format!("Deleted Containers:\n{made}\n\nTotal reclaimed space: ")), "{pruned}");
    let pruned = lrun.run_with(b"y\n", &["container", "prune"]);
    let lines: Vec<&str> = pruned.stdout.strip_prefix(question).expect("the question").lines().collect();
    assert_eq!((lines[0], lines[3], lines.len()), ("Deleted Containers:", "", 5), "{pruned:?}");
    assert!(lines[4].starts_with("Total reclaimed space: ") && !lines[4].ends_with(" 0B"), "{lines:?}");
    assert_eq!(lrun.ok(&["ps", "-aq", "--no-trunc"]), running);

    // The base of what runs loses its names, as docker's does, and stays: another image was made from it.
    lrun.ok(&["tag", "busybox", "unused"]);
    let dangling = lrun.ok(&["commit", &running]);
    let pruned = lrun.ok(&["image", "prune", "-f"]);
    assert!(pruned.starts_with(&format!("Deleted Images:\ndeleted: {dangling}\n")), "{pruned}");
    lrun.import("busybox.tar", "alone:1");
    let pruned = lrun.ok(&["image", "prune", "-a", "-f"]);
    assert!(pruned.starts_with("Deleted Images:\nuntagged: alone:1\ndeleted: sha256:"), "{pruned}");
    let names = |lrun: &Lrun| lrun.ok(&["images", "--format", "{{.Repository}}"]);
    assert!(pruned.contains("untagged: busybox:latest\n") && pruned.contains("untagged: unused:latest\n"), "{pruned}");
    assert_eq!(names(&lrun), "committed");
    assert_eq!(lrun.ok(&["exec", &running, "cat", "/opt/kept"]), "data");
    lrun.ok(&["rm", "-f", &running]);
    let pruned = lrun.ok(&["system", "prune", "-a", "-f", "--volumes"]);
    assert!(pruned.contains("untagged: committed:latest\n"), "{pruned}");
    assert_eq!(lrun.ok(&["images", "-aq"]), "");
    assert_eq!(fs::read_dir(lrun.store().join("layers")).expect("layers").count(), 0);
    assert_eq!(lrun.ok(&["system", "check"]), "");
    for (args, message) in [
        (&["container", "prune", "-f", "--filter", "dangling=true"][..], "invalid filter 'dangling'"),
        (&["image", "prune", "-f", "--filter", "until=soon"], "invalid time \"soon\""),
    ] {
        assert!(lrun.fails(1, args).contains(message));
    }
}

#[test]
fn prune_beside_containers_that_start_and_stop_touches_none_that_runs() {
    let lrun = &Lrun::with_busybox();
    thread::scope(|scope| {
        for worker in 0..3 {
            scope.spawn(move || {
                for round in 0..8 {
                    let name = format!("w{worker}-{round}");
                    let run = ["run", "--name", &name, "--network", "none", "busybox", "echo", "ran"];
                    assert_eq!(lrun.ok(&run), "ran");
                    let id = lrun.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);
                    assert_eq!(lrun.ok(&["exec", &id, "echo", "here"]), "here");
                    lrun.ok(&["rm", "-f", &id]);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..15 {
                let output = lrun.run(&["system", "prune", "-f"]);
                assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
            }
        });
    });
    lrun.ok(&["container", "prune", "-f"]);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "busybox", "echo", "there"]), "there");
}

fn check(lrun: &Lrun) -> Output {
    let output = lrun.run(&["system", "check"]);
    assert!(output.stderr.is_empty() || output.stderr.starts_with("  hint: "), "{output:?}");
    output
}

/// Every path below a folder that this user can go to, the folder itself not.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.symlink_metadata().expect("metadata").is_dir() {
            walk(&path, found);
        }
        found.push(path);
    }
}

/// What the store keeps for good: not a container's own, changing files, and no locks.
fn kept_files(lrun: &Lrun) -> Vec<PathBuf> {
    let mut all = Vec::new();
    walk(&lrun.store(), &mut all);
    all.retain(|path| {
        let below = path.strip_prefix(lrun.store()).expect("below the store").to_str().expect("UTF-8");
        let parts: Vec<&str> = below.split('/').collect();
        match parts[0] {
            "containers" => parts.len() == 3 && ["record.json", "spec.json"].contains(&parts[2]),
            "layers" => parts.len() > 2,
            "staging" => false,
            _ => !below.ends_with("lock"),
        }
    });
    all.sort();
    all
}

/// The words by which a finding names this path.
fn name_of(lrun: &Lrun, path: &Path) -> String {
    let below = path.strip_prefix(lrun.store()).expect("below the store").to_str().expect("UTF-8");
    let parts: Vec<&str> = below.split('/').collect();
    match parts[0] {
        "layers" if parts[2] == "diff" && parts.len() == 3 => format!("layer {}: /: ", &parts[1][..12]),
        "layers" if parts[2] == "diff" => format!("layer {}: {}: ", &parts[1][..12], parts[3..].join("/")),
        "layers" => format!("layer {}: {}: ", &parts[1][..12], parts[2]),
        "containers" if parts[2] == "spec.json" => ": spec: ".to_owned(),
        "containers" => format!("container {}: record: ", &parts[1][..12]),
        "images" => ": record: ".to_owned(),
        "blobs" => ": config: ".to_owned(),
        "refs" => format!("reference {}{}: ", parts[parts.len() - 2], parts[parts.len() - 1]),
        "names" => format!("name {}: ", parts[1]),
        "engine" | "cache" => below.to_owned(),
        _ => format!("/{below} is damaged"),
    }
}

/// Writes other bytes in the place of a file's, with its time and mode as they were.
fn overwrite(path: &Path, bytes: &[u8]) {
    let before = fs::metadata(path).expect("metadata");
    fs::write(path, bytes).expect("write");
    fs::set_permissions(path, before.permissions()).expect("chmod");
    let file = fs::File::open(path).expect("open");
    file.set_modified(before.modified().expect("a time")).expect("utimens");
}

fn assert_named(lrun: &Lrun, path: &Path, what: &str) {
    let output = check(lrun);
    let name = name_of(lrun, path);
    // Of a cache nothing is lost.
    let lost = i32::from(!path.starts_with(lrun.store().join("cache")));
    assert_eq!(output.code, lost, "{}: {what}: {output:?}", path.display());
    assert!(
        output.stdout.lines().any(|line| line.contains(&name)),
        "{}: {what}: no {name:?} in {output:?}",
        path.display()
    );
}

#[test]
fn one_changed_byte_in_any_file_is_found_and_named() {
    let lrun = small_store();
    with_a_build(&lrun);
    assert_eq!((check(&lrun).code, check(&lrun).stdout), (0, String::new()));
    let own = rustix::process::geteuid().as_raw();
    let mut inodes = BTreeMap::new();
    let mut tried = 0;
    for path in kept_files(&lrun) {
        let meta = path.symlink_metadata().expect("metadata");
        // Other ids own some: root's tests look at these. Busybox has hundreds of names.
        if !meta.is_file() || meta.uid() != own || meta.len() == 0 || inodes.insert(meta.ino(), path.clone()).is_some()
        {
            continue;
        }
        let whole = fs::read(&path).expect("read");
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (tried % 8);
            overwrite(&path, &changed);
            assert_named(&lrun, &path, &format!("byte {at} of {}", whole.len()));
            tried += 1;
        }
        overwrite(&path, &whole);
    }
    assert_eq!((check(&lrun).code, check(&lrun).stdout), (0, String::new()));
    assert!(tried > 100, "{tried} changes were tried");
    println!("{tried} changed bytes: all found");
}

#[test]
fn every_other_change_is_found_and_named_and_mended() {
    let lrun = small_store();
    let own = rustix::process::geteuid().as_raw();
    let mut tried = 0;
    let mut links = 0;
    for path in kept_files(&lrun) {
        let meta = path.symlink_metadata().expect("metadata");
        let in_layer = path.components().any(|part| part.as_os_str() == "diff");
        if meta.uid() != own
            || !(in_layer
                || meta.is_symlink()
                || path.starts_with(lrun.store().join("engine")) && path.parent() != Some(&lrun.store()))
        {
            continue;
        }
        if meta.is_symlink() {
            links += 1;
            if links > 12 && !path.ends_with("box") {
                continue;
            }
            let target = fs::read_link(&path).expect("readlink");
            let mut other = target.as_os_str().as_encoded_bytes().to_vec();
            other[0] ^= 1;
            fs::remove_file(&path).expect("remove");
            symlink(String::from_utf8_lossy(&other).into_owned(), &path).expect("symlink");
        } else if meta.file_type().is_char_device() {
            fs::remove_file(&path).expect("remove");
        } else if path.parent().is_some_and(|parent| parent.ends_with("files")) && meta.is_file() {
            continue;
        } else {
            let mode = meta.permissions().mode() ^ 0o010;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        assert_named(&lrun, &path, "changed");
        let repaired = lrun.run(&["system", "check", "--repair"]);
        assert_eq!(repaired.code, 0, "{}: {repaired:?}", path.display());
        assert!(repaired.stdout.lines().all(|line| line.ends_with(" (mended)")), "{repaired:?}");
        tried += 1;
    }
    assert_eq!((check(&lrun).code, check(&lrun).stdout), (0, String::new()));
    assert!(tried > 20, "{tried} changes were tried");
    println!("{tried} other changes: all found and mended");
}

/// The folder of the layer that has this file.
fn layer_with(lrun: &Lrun, below: &str) -> PathBuf {
    let layers = fs::read_dir(lrun.store().join("layers")).expect("layers");
    let mut layers = layers.map(|layer| layer.expect("a layer").path());
    layers.find(|layer| layer.join("diff").join(below).symlink_metadata().is_ok()).expect("a layer that has it")
}

#[test]
fn what_can_be_mended_is_and_containers_survive() {
    let lrun = small_store();
    // The content is in the committed layer, too.
    let busybox = layer_with(&lrun, "bin/busybox").join("diff/bin/busybox");
    let mut bytes = fs::read(&busybox).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    overwrite(&busybox, &bytes);
    for file in kept_files(&lrun).iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let mut bytes = fs::read(file).expect("read");
        bytes[7] ^= 4;
        overwrite(file, &bytes);
    }
    for folder in ["blobs/sha256", "refs/docker.io/library/busybox"] {
        for entry in fs::read_dir(lrun.store().join(folder)).expect("a folder") {
            let file = entry.expect("an entry").path();
            let mut bytes = fs::read(&file).expect("read");
            bytes[20] ^= 1;
            overwrite(&file, &bytes);
        }
    }
    let format = lrun.store().join("format");
    let mut bytes = fs::read(&format).expect("read");
    bytes[3] ^= 2;
    overwrite(&format, &bytes);
    assert_eq!(check(&lrun).code, 1);
    let repaired = lrun.run(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    assert!(repaired.stdout.lines().count() >= 10, "{repaired:?}");
    assert_eq!((check(&lrun).code, check(&lrun).stdout), (0, String::new()));
    assert_eq!(lrun.ok(&["start", "-a", "other"]), "");
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "committed", "cat", "/opt/kept"]), "data");
}

#[test]
fn what_cannot_be_mended_is_told_by_image_and_a_new_import_replaces_it() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "echo data > /opt/kept"]);
    let file = layer_with(&lrun, "bin/busybox").join("diff/etc/group");
    overwrite(&file, b"root:x:0:\nstolen:x:1:\n");
    let output = lrun.run(&["system", "check", "--repair"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.starts_with("image busybox:latest: layer "), "{output:?}");
    assert!(output.stdout.ends_with(": etc/group: its content was changed\n"), "{output:?}");
    assert!(output.stderr.contains("pull or import it again"), "{output:?}");
    // Nothing new is made of it in silence.
    let error = lrun.fails(1, &["commit", "--squash", "box", "squashed"]);
    assert!(error.contains("etc/group"), "{error}");
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "", "the container is as it was");
    lrun.import("busybox.tar", "busybox");
    assert_eq!(lrun.ok(&["system", "check"]), "");
    lrun.ok(&["commit", "--squash", "box", "squashed"]);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "squashed", "cat", "/opt/kept"]), "data");
}

#[test]
fn what_is_left_over_is_no_error() {
    let lrun = small_store();
    let layers = lrun.store().join("layers");
    fs::create_dir(layers.join("ab".repeat(32))).expect("a layer");
    fs::write(lrun.store().join("blobs/sha256").join("cd".repeat(32)), "x").expect("a blob");
    let output = check(&lrun);
    assert_eq!(output.code, 0, "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    let expected = ["leftover: blob cdcdcdcdcdcd: nothing uses it", "leftover: layer abababababab: nothing uses it"];
    assert_eq!(lines, expected);
    lrun.ok(&["system", "prune", "-f"]);
    assert_eq!(check(&lrun).stdout, "");
}

#[test]
fn the_disk_is_full_and_room_is_made() {
    full_disk("", "cat /dev/zero > \"$LRUN_ROOT/.fill\" 2>/dev/null || true");
}

#[test]
fn the_disk_has_no_inode_left_and_room_is_made() {
    full_disk("-N 1024", "true");
}

/// A store on a disk made with these options, which is filled: by the command, and by folders until none can be made.
fn full_disk(options: &str, fill: &str) {
    if mode() != Mode::Root {
        skip!("mounting needs root");
    }
    let lrun = Lrun::new();
    let image = lrun.file("disk", "");
    fs::File::options().write(true).open(&image).expect("open").set_len(64 << 20).expect("a file of 64 MiB");
    fs::create_dir(lrun.store()).expect("a mount point");
    let tar = lrun_tests::images("busybox.tar");
    let script = format!(
        "set -e; mkfs.ext4 -q -F -m 0 {options} '{}'; mount -o loop '{0}' \"$LRUN_ROOT\"; L=\"$1\"; \"$L\" import '{}' busybox; \
         for n in 1 2 3; do \"$L\" run --name c$n --network none busybox sh -c \"echo $n > /opt/x\"; done; \
         \"$L\" commit c3 three; \"$L\" commit c2; \
         {fill}; \
         i=0; while mkdir \"$LRUN_ROOT/.d$i\" 2>/dev/null; do i=$((i+1)); done; echo full; \
         \"$L\" ps -aq | wc -l; \"$L\" images -q | wc -l; \"$L\" system df --format '{{{{.TotalCount}}}}' | head -n 2; \
         \"$L\" system check; \"$L\" rm c1; \"$L\" rmi three; \"$L\" container prune -f | head -n 1; \
         \"$L\" image prune -f | head -n 1; \"$L\" system prune -a -f | head -n 1; \
         \"$L\" ps -aq; \"$L\" images -aq; ls \"$LRUN_ROOT/layers\" \"$LRUN_ROOT/staging\" | grep -c . || true",
        image.display(),
        tar.display()
    );
    let output = lrun.spawn_in(&["unshare", "-m", "sh", "-c", &script, "sh"], &[] as &[&str]).wait();
    let (_, told) = output.stdout.split_once("full\n").unwrap_or_else(|| panic!("{output:?}"));
    let lines: Vec<&str> = told.lines().filter(|line| !line.starts_with("Deleted: ")).collect();
    assert_eq!(lines[..6], ["3", "3", "3", "3", "c1", "Untagged: three:latest"], "{output:?}");
    assert_eq!(lines[6..9], ["Deleted Containers:", "Deleted Images:", "Deleted Images:"], "{output:?}");
    assert!(!output.stderr.contains("lrun: "), "{output:?}");
    let listed = format!("{}/layers:", lrun.store().display());
    assert!(lines[9..].iter().all(|line| *line == "2" || line.starts_with(&listed)), "{output:?}");
}

fn in_trash(lrun: &Lrun) -> Vec<String> {
    lrun.ok(&["undelete", "--list", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
}

#[test]
fn a_removed_container_comes_back_with_its_files_its_name_and_its_commits() {
    let lrun = small_store();
    assert_eq!(lrun.fails(1, &["undelete"]).lines().next(), Some("lrun: the trash is empty"));
    let id = lrun.inspect("box", "{{.Id}}");
    lrun.ok(&["rm", "box"]);
    lrun.ok(&["rm", "other"]);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    assert_eq!(in_trash(&lrun), ["other", "box"]);
    let table = lrun.ok(&["undelete", "--list"]);
    let header: Vec<&str> = table.lines().next().expect("headers").split_whitespace().collect();
    assert_eq!(header, ["CONTAINER", "ID", "IMAGE", "COMMAND", "REMOVED", "SIZE", "NAMES"]);
    assert_eq!(lrun.ok(&["system", "check"]), "");

    assert_eq!(lrun.ok(&["undelete", "box"]), id);
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "exited");
    assert!(lrun.ok(&["diff", "box"]).contains("A /opt/kept"), "its commit is a layer of its own");
    lrun.ok(&["rm", "box"]);
    // The last one; its name is another's meanwhile.
    lrun.ok(&["create", "--name", "box", "busybox", "true"]);
    let back = lrun.run(&["undelete"]);
    assert_eq!((back.code, back.stdout.trim_end()), (0, id.as_str()));
    assert!(back.stderr.starts_with("WARNING: another container is called box now: this one is "), "{back:?}");
    let name = lrun.inspect(&id, "{{.Name}}");
    assert_ne!(name, "/box");
    assert!(lrun.run(&["start", "-a", &id]).stderr.contains("File exists"), "its files are those that it made");
    assert_eq!(lrun.ok(&["undelete", "other"]).len(), 64);
    assert_eq!(lrun.ok(&["start", "-a", "other"]), "");
    assert_eq!(in_trash(&lrun), [""; 0]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

#[test]
fn the_trash_is_bounded_and_follows_images_and_prunes() {
    let lrun = Lrun::with_busybox();
    for name in ["a1", "a2", "a3"] {
        lrun.ok(&["run", "--name", name, "--network", "none", "busybox", "sh", "-c", "echo x > /opt/x"]);
    }
    lrun.ok(&["rm", "--no-trash", "a1"]);
    lrun.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_eq!(in_trash(&lrun), [""; 0]);
    lrun.ok(&["rm", "a2", "a3"]);
    assert_eq!(in_trash(&lrun).len(), 2);
    // A filter chooses among the containers that there are.
    lrun.ok(&["container", "prune", "-f", "--filter", "label=none"]);
    assert_eq!(in_trash(&lrun).len(), 2);
    let reclaimed = lrun.ok(&["container", "prune", "-f"]);
    assert!(reclaimed.starts_with("Total reclaimed space: ") && !reclaimed.ends_with(" 0B"), "{reclaimed}");
    assert_eq!(in_trash(&lrun), [""; 0]);
    // Without its image it would be of no use, and nothing is kept for it.
    lrun.ok(&["run", "--name", "b1", "--network", "none", "busybox", "true"]);
    lrun.ok(&["rm", "b1"]);
    lrun.ok(&["rmi", "busybox"]);
    assert_eq!(fs::read_dir(lrun.store().join("layers")).expect("layers").count(), 0);
    assert_eq!(in_trash(&lrun), [""; 0]);
    lrun.import("busybox.tar", "busybox");
    let ids: Vec<String> = (0..23).map(|_| lrun.ok(&["create", "busybox", "true"])).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    lrun.ok(&[&["rm"][..], &ids].concat());
    let left = lrun.ok(&["undelete", "--list", "--no-trunc", "--format", "{{.ID}}"]);
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    let mut last = ids[3..].to_vec();
    last.sort_unstable();
    assert_eq!(left, last, "the last 20");
    assert_eq!(fs::read_dir(lrun.store().join("staging")).expect("staging").count(), 0);
}

#[test]
fn undelete_beside_removals_brings_each_back_once() {
    let lrun = &Lrun::with_busybox();
    let names: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    for name in &names {
        lrun.ok(&["create", "--name", name, "busybox", "true"]);
        lrun.ok(&["rm", name]);
    }
    let back = thread::scope(|scope| {
        let workers: Vec<_> = (0..12).map(|_| scope.spawn(|| lrun.run(&["undelete"]))).collect();
        let outputs = workers.into_iter().map(|worker| worker.join().expect("a worker"));
        outputs.filter(|output| output.code == 0).map(|output| output.stdout).collect::<Vec<_>>()
    });
    let unique: std::collections::BTreeSet<&String> = back.iter().collect();
    assert_eq!(unique.len(), back.len(), "{back:?}");
    let listed = lrun.ok(&["ps", "-aq", "--no-trunc"]);
    assert_eq!(listed.lines().count(), back.len());
    assert_eq!(back.len() + in_trash(lrun).len(), names.len(), "none is lost");
}

#[test]
fn the_limits_of_the_trash_are_in_config_toml() {
    let mut lrun = Lrun::with_busybox();
    let folder = lrun.folder().join("config/lrun");
    fs::create_dir_all(&folder).expect("a folder");
    lrun.set_env("XDG_CONFIG_HOME", lrun.folder().join("config").to_str().expect("UTF-8"));
    for name in ["c1", "c2", "c3"] {
        lrun.ok(&["create", "--name", name, "busybox", "true"]);
    }
    fs::write(folder.join("config.toml"), "[trash]\ncount = 2\n").expect("settings");
    lrun.ok(&["rm", "c1", "c2", "c3"]);
    assert_eq!(in_trash(&lrun), ["c3", "c2"]);
    fs::write(folder.join("config.toml"), "[trash]\nage-hours = 0\n").expect("settings");
    assert_eq!(in_trash(&lrun), [""; 0]);
}

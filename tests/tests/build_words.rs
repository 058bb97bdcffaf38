//! `build` and what is said on its command line: what is refused before anything is done, and that nothing of the user's
//! is overwritten or told wrongly.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lrun_tests::Lrun;
use lrun_tests::build::{build, context};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn an_id_file_never_has_the_id_of_an_earlier_build() {
    let lrun = Lrun::with_busybox();
    let file = lrun.file("iid", "sha256:of an earlier build");
    let bad = context(&lrun, "bad", "FROM busybox\nRUN exit 3\n", &[]);
    assert_eq!(build(&lrun, &bad, &["--iidfile", text(&file)]).code, 3);
    assert!(!file.exists());
    let good = context(&lrun, "good", "FROM busybox\nRUN true\n", &[]);
    assert_eq!(build(&lrun, &good, &["-t", "good", "--iidfile", text(&file)]).code, 0);
    // What cannot be written is told first, and what is no file stays.
    let refused = build(&lrun, &good, &["-t", "never", "--iidfile", text(&lrun.folder().join("no/id"))]);
    assert!(refused.code == 1 && refused.stderr.contains("/no/id: no such file or directory\n"), "{refused:?}");
    assert_eq!(lrun.ok(&["images", "-q", "never"]), "");
    let fifo = lrun.folder().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let running = lrun.spawn(&["build", "--network", "none", "--iidfile", text(&fifo), text(&good)]);
    let read = std::process::Command::new("timeout").args(["60", "cat", text(&fifo)]).output().expect("timeout");
    let output = running.wait();
    assert!(output.code == 0 && read.stdout.starts_with(b"sha256:"), "{output:?}");
    assert_eq!(fs::read_to_string(&file).expect("an id"), lrun.inspect("good", "{{.Id}}"));
    assert!(build(&lrun, &good, &["--iidfile", text(lrun.folder())]).stderr.starts_with("lrun: --iidfile: write "));
    let link = lrun.folder().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    assert_eq!(build(&lrun, &bad, &["--iidfile", text(&link)]).code, 3);
    assert_eq!(fs::read_to_string(&link).expect("it is there"), "");
}

#[test]
fn ignored_names_that_cannot_be_read_are_no_empty_list() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "ignored", "FROM busybox\nCOPY . /all/\n", &[("secret", "s")]);
    let beside = folder.join("Dockerfile.dockerignore");
    fs::write(&beside, "secret\n").expect("a file");
    assert_eq!(build(&lrun, &folder, &["-t", "without"]).code, 0);
    assert!(!lrun.ok(&["run", "--rm", "--network", "none", "without", "ls", "/all"]).contains("secret"));
    // Nothing is waited for, or read, that is not a file of this directory.
    fs::remove_file(&beside).expect("remove");
    assert!(std::process::Command::new("mkfifo").arg(&beside).status().expect("mkfifo").success());
    let refused = build(&lrun, &folder, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("it is no regular file"), "{refused:?}");
    fs::remove_file(&beside).expect("remove");
    std::os::unix::fs::symlink(lrun.file("outside", "secret\n"), &beside).expect("a link");
    assert_eq!(build(&lrun, &folder, &["-t", "with"]).code, 0);
    assert!(lrun.ok(&["run", "--rm", "--network", "none", "with", "ls", "/all"]).contains("secret"));
    fs::remove_file(&beside).expect("remove");
    fs::write(&beside, "secret\n").expect("a file");
    fs::set_permissions(&beside, PermissionsExt::from_mode(0o000)).expect("chmod");
    if fs::read(&beside).is_ok() {
        // Root reads it all the same; a directory nobody does.
        fs::remove_file(&beside).expect("remove");
        fs::create_dir(&beside).expect("a folder");
    }
    let output = build(&lrun, &folder, &[]);
    assert!(output.code == 1 && output.stderr.contains("Dockerfile.dockerignore"), "{}", output.stderr);
}

#[test]
fn standard_input_is_one_thing() {
    let lrun = Lrun::with_busybox();
    let output = lrun.run_with(b"FROM busybox\n", &["build", "-f", "other", "-"]);
    assert!(
        output.code == 1 && output.stderr.contains("-f other: standard input is a Dockerfile"),
        "{}",
        output.stderr
    );
    let archive = lrun_tests::Tar::new().file("Dockerfile", b"FROM busybox\n").finish();
    let output = lrun.run_with(&archive, &["build", "-f", "-", "-"]);
    assert!(output.code == 1 && output.stderr.contains("standard input is the context"), "{}", output.stderr);
    assert_eq!(lrun.run_with(&archive, &["build", "-f", "Dockerfile", "-"]).code, 0);
    assert_eq!(lrun.run_with(b"FROM busybox\n", &["build", "-f", "-", "-"]).code, 0);
}

#[test]
fn a_cache_takes_the_place_of_a_cache_alone() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "cached", "FROM busybox\nRUN echo 1 > /1\n", &[]);
    let place = lrun.folder().join("there");
    let to = |path: &Path| format!("type=local,dest={}", path.display());
    let send = |path: &Path| build(&lrun, &folder, &["--cache-to", &to(path)]);
    assert_eq!(send(&place).code, 0);
    assert_eq!(send(&place).code, 0, "its own is replaced");
    let empty = lrun.folder().join("empty");
    fs::create_dir(&empty).expect("a folder");
    assert_eq!(send(&empty).code, 0);
    // By a link, too, which stays one.
    let link = lrun.folder().join("link");
    symlink(&place, &link).expect("a link");
    assert_eq!(send(&link).code, 0);
    assert!(link.is_symlink() && place.join("index.json").exists());

    let own = lrun.folder().join("own");
    fs::create_dir_all(own.join("blobs/mine")).expect("a folder");
    let layout = lrun.folder().join("layout");
    let flags = ["-o", &format!("type=oci,tar=false,dest={}", layout.display()), "--cache-to", "type=inline"];
    assert_eq!(build(&lrun, &folder, &flags).code, 0);
    let index = fs::read(layout.join("index.json")).expect("an index");
    fs::write(place.join("blobs/sha256/notes.txt"), "mine").expect("a file");
    for (path, why) in [(&own, "blobs/mine"), (&layout, "is no cache of lrun's"), (&place, "blobs/sha256/notes.txt")] {
        let output = send(path);
        assert!(output.code == 1 && output.stderr.contains(why), "{why}: {}", output.stderr);
        assert!(!output.stderr.contains("Step 1/"), "before anything is built: {}", output.stderr);
    }
    assert!(own.join("blobs/mine").exists() && place.join("blobs/sha256/notes.txt").exists());
    assert_eq!(fs::read(layout.join("index.json")).expect("an index"), index);
}

#[test]
fn programs_hear_of_every_end_in_json() {
    let lrun = Lrun::with_busybox();
    for (dockerfile, event, code) in [
        ("FROM busybox\nRUN exit 3\n", "failed", 3),
        ("FROM busybox\nCOPY nothing /\n", "error", 1),
        ("FORM busybox\n", "error", 1),
    ] {
        let folder = context(&lrun, "json", dockerfile, &[]);
        let output = build(&lrun, &folder, &["--progress", "json"]);
        assert_eq!(output.code, code, "{}", output.stderr);
        let events: Vec<serde_json::Value> =
            output.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(events.last().expect("an event")["event"], event, "{}", output.stderr);
    }
    let folder = context(&lrun, "json", "FROM busybox\n", &[]);
    assert_ne!(build(&lrun, &folder, &["--progress", "rawjson"]).code, 0, "that is BuildKit's format");
}

#[test]
fn what_was_asked_for_is_told_with_q_too() {
    let lrun = Lrun::with_busybox();
    let step = "RUN cat /proc/sys/kernel/random/uuid > /id";
    let folder = context(&lrun, "quiet", &format!("FROM busybox\n{step}\n"), &[]);
    let first = build(&lrun, &folder, &["-q", "--explain"]);
    assert_eq!(first.code, 0);
    assert!(first.stderr.starts_with(&format!("Step 2/2 {step}: not cached: ")), "{}", first.stderr);
    let second = build(&lrun, &folder, &["-q", "--verify"]);
    assert_eq!((second.code, second.stdout == first.stdout), (1, true));
    assert_eq!(
        second.stderr,
        format!("Step 2/2 {step}: not idempotent: /id differs (read /proc/sys/kernel/random/uuid)\n")
    );
}

#[test]
fn nothing_at_all_is_said_if_that_is_asked_for() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "none", "FROM busybox\nRUN echo a; echo b >&2\n", &[]);
    let output = build(&lrun, &folder, &["--progress", "none", "-t", "made"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "", ""));
    assert_eq!(lrun.ok(&["run", "--rm", "made", "echo", "x"]), "x");
}

#[test]
fn wrong_words_are_refused_before_anything_is_done() {
    let lrun = Lrun::with_busybox();
    for (words, why) in [
        (&["build", "--call", "subrequests.describe", "/nowhere"][..], "--call subrequests.describe"),
        (&["build", "--call", "check,format=xml", "/nowhere"], "format is text or json"),
        (&["build", "--network", "container:x", "/nowhere"], "--network container:x"),
        (&["build", "--resource", "memory=2g", "/nowhere"], "--resource memory=2g"),
        (&["build", "--policy", "filename=p.rego", "/nowhere"], "--policy filename=p.rego"),
        (&["build", "--platform", "linux/amd64", "--platform", "linux/s390x", "/nowhere"], "one platform at a time"),
        (&["build", "--build-arg", "=x", "/nowhere"], "invalid key-value pair \"=x\": empty key"),
        (&["build", "--builder", "other", "/nowhere"], "--builder other"),
        (&["buildx", "ls", "--builder", "other"], "--builder other"),
        (&["buildx", "--builder", "other", "inspect"], "--builder other"),
    ] {
        let output = lrun.run(words);
        assert!(output.code != 0 && output.stderr.contains(why), "{words:?}: {}", output.stderr);
    }
    for words in [
        &["buildx", "ls", "--builder", "default"][..],
        &["buildx", "--builder", "default", "ls"],
        &["buildx", "inspect", "--bootstrap", "--builder", "default"],
        &["buildx", "du", "--builder", "default"],
        &["buildx", "prune", "-f", "--builder", "default"],
    ] {
        lrun.ok(words);
    }
}

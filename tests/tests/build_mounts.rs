//! `RUN --mount`: what each kind shows, what stays of it, and what never does.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lrun_tests::build::{build, built, cached, context, in_image, owner, written};
use lrun_tests::{Lrun, eventually};

/// Files of a folder and everything below it whose content or name has these bytes.
fn files_with(folder: &Path, text: &str, found: &mut Vec<PathBuf>) {
    // A container's work directory is the kernel's, and closed to all.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let Ok(path) = entry.map(|entry| entry.path()) else { continue };
        // What a container that was just removed had may go meanwhile.
        let Ok(kind) = fs::symlink_metadata(&path).map(|found| found.file_type()) else { continue };
        if path.to_string_lossy().contains(text) {
            found.push(path.clone());
        }
        if kind.is_dir() {
            files_with(&path, text, found);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path);
            }
        }
    }
}

/// As in docker, a flag takes one level of backslashes, and its value another.
#[test]
fn a_bind_is_of_a_name_with_backslashes_and_wildcards() {
    let lrun = Lrun::with_busybox();
    let dockerfile = r"FROM busybox
RUN --mount=type=bind,source=a\\\\b,target=/f cat /f
RUN --mount=type=bind,source=[*]/a\\\\*,target=/f cat /f
RUN --mount=type=bind,source='a\\\\b',target=/f cat /f
RUN --mount=type=bind,source=a\\\\\\\\b,target=/f true
";
    let folder = context(&lrun, "names", dockerfile, &[("a\\b", "one\n"), ("[*]/a\\*", "two\n"), ("[*]/a\\b", "no\n")]);
    let output = build(&lrun, &folder, &[]);
    assert!(output.code != 0 && output.stderr.contains("file not found in build context"), "{}", output.stderr);
    let lines: Vec<&str> = output.stderr.lines().filter(|line| matches!(*line, "one" | "two" | "no")).collect();
    assert_eq!(lines, ["one", "two"], "{}", output.stderr);
    assert_eq!(cached(&output), 1, "{}", output.stderr);
}

#[test]
fn a_bind_shows_what_the_context_leaves() {
    let lrun = Lrun::with_busybox();
    let outside = lrun.file("outside", "outside");
    let dockerfile = "FROM busybox\nWORKDIR /app\nARG dir=src\n\
        RUN --mount=type=bind,target=/ctx find /ctx | sort; cat /ctx/link 2>&1; touch /ctx/new 2>&1; stat -c '%u:%g %a' /ctx/src/x\n\
        RUN --mount=target=. pwd; ls\n\
        RUN --mount=type=bind,source=${dir},target=rel cat /app/rel/a\n\
        RUN --mount=type=bind,source=src/a,dst=/file cat /file\n";
    let files = [("src/a", "a\n"), ("src/x", "x"), ("ignored/b", "b"), (".dockerignore", "ignored\n.dockerignore\n")];
    let folder = context(&lrun, "bind", dockerfile, &files);
    fs::set_permissions(folder.join("src/x"), PermissionsExt::from_mode(0o750)).expect("it is changed");
    symlink(&outside, folder.join("link")).expect("a link");
    let lines = written(&lrun, &folder, &["-t", "bind"]);
    let missing = "cat: can't open '/ctx/link': No such file or directory";
    let readonly = "touch: /ctx/new: Read-only file system";
    let tree = ["/ctx", "/ctx/Dockerfile", "/ctx/link", "/ctx/src", "/ctx/src/a", "/ctx/src/x"];
    let rest = [missing, readonly, "0:0 750", "/app", "Dockerfile", "link", "src", "a", "a"];
    assert_eq!(lines, [&tree[..], &rest].concat());
    // Nothing of the mount points is in the image.
    assert_eq!(in_image(&lrun, "bind", "ls /; ls /app"), in_image(&lrun, "busybox", "mkdir /app; ls /"));
    assert_eq!(lrun.inspect("bind", "{{len .RootFS.Layers}}"), "2");
    // Each is made again when the files that it shows change, and only then.
    assert_eq!(cached(&build(&lrun, &folder, &[])), 6);
    fs::write(folder.join("ignored/b"), "other").expect("it is written");
    assert_eq!(cached(&build(&lrun, &folder, &[])), 6);
    fs::write(folder.join("src/x"), "changed").expect("it is written");
    let output = build(&lrun, &folder, &[]);
    assert_eq!(cached(&output), 3, "{}", output.stderr);
}

#[test]
fn what_is_written_to_a_bind_is_thrown_away() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS made\nRUN mkdir /o && echo o > /o/f && chown 5:6 /o/f && ln -s f /o/link\n\
        FROM busybox\n\
        RUN --mount=type=bind,target=/ctx,rw echo new > /ctx/new; echo more >> /ctx/a; rm /ctx/b; cat /ctx/a; ls /ctx\n\
        RUN --mount=type=bind,source=a,target=/f,readwrite echo more >> /f; cat /f\n\
        RUN --mount=type=bind,target=/ctx,rw=true cat /ctx/a; ls /ctx\n\
        RUN --mount=type=bind,from=made,source=/o,target=/o,rw stat -c '%u:%g' /o/f; rm /o/f; echo x > /o/x; ls /o\n\
        RUN --mount=type=bind,from=made,source=o/link,target=/l cat /l\n\
        RUN --mount=type=bind,from=busybox,target=/b ls /b/bin/sh; touch /b/x 2>&1 || true\n\
        RUN --mount=type=bind,from=scratch,target=/s,rw ls -A /s; touch /s/x; ls /s\n";
    let folder = context(&lrun, "discard", dockerfile, &[("a", "a\n"), ("b", "b")]);
    let lines = written(&lrun, &folder, &["-t", "discard"]);
    let context = ["a", "more", "Dockerfile", "a", "new", "a", "more", "a", "Dockerfile", "a", "b"];
    let stage = [owner("5:6"), "link", "x", "o", "/b/bin/sh", "touch: /b/x: Read-only file system", "x"];
    assert_eq!(lines, [&context[..], &stage].concat());
    assert_eq!(fs::read_to_string(folder.join("a")).expect("it is there"), "a\n");
    assert!(folder.join("b").exists() && !folder.join("new").exists());
    assert_eq!(lrun.inspect("discard", "{{len .RootFS.Layers}}"), "1");
    assert_eq!(in_image(&lrun, "discard", "ls -d /o /ctx /f /l /b /s 2>/dev/null; true"), "");
    let mut left = Vec::new();
    files_with(&lrun.store().join("staging"), "/mount-", &mut left);
    assert!(left.is_empty(), "{left:?}");
    // A stage that changes elsewhere does not matter, one that changes there does; the context has the Dockerfile.
    for (change, reused) in [("touch /elsewhere; echo o >", 5), ("echo other >", 3)] {
        fs::write(folder.join("Dockerfile"), dockerfile.replace("echo o >", change)).expect("it is written");
        let output = build(&lrun, &folder, &[]);
        assert_eq!((output.code, cached(&output)), (0, reused), "{}", output.stderr);
    }
}

#[test]
fn a_cache_stays_from_build_to_build() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS base\nRUN mkdir /seed && echo seed > /seed/f\nFROM busybox\nARG run\n\
        RUN --mount=type=cache,target=/root/.cache echo $run >> /root/.cache/n; cat /root/.cache/n\n\
        RUN --mount=type=cache,id=/root/.cache,target=/c,ro cat /c/n; touch /c/x 2>&1 || true\n\
        RUN --mount=type=cache,target=/own,uid=7,gid=8,mode=0750 stat -c '%u:%g %a' /own\n\
        RUN --mount=type=cache,id=seeded,from=base,source=seed,target=/s cat /s/f; echo $run > /s/f\n\
        RUN --mount=type=cache,id=../../../x,target=/x,source=a/b echo $run >> /x/n; cat /x/n; ls -d /root/.cache /c 2>/dev/null || true\n";
    let folder = context(&lrun, "cache", dockerfile, &[]);
    let run = |n: &str| written(&lrun, &folder, &["-t", "cache", "--build-arg", &format!("run={n}")]);
    let (refused, own) = ("touch: /c/x: Read-only file system", format!("{} 750", owner("7:8")));
    assert_eq!(run("1"), ["1", "1", refused, own.as_str(), "seed", "1"]);
    assert_eq!(run("2"), ["1", "2", "1", "2", refused, own.as_str(), "1", "1", "2"]);
    // What is in a cache is no input of a step.
    assert_eq!(cached(&build(&lrun, &folder, &["--build-arg", "run=2"])), 7);
    assert_eq!(
        in_image(&lrun, "cache", "ls -A /root; ls -d /c /own /s /x 2>/dev/null; true"),
        in_image(&lrun, "busybox", "ls -A /root")
    );
    let mounts = || fs::read_dir(lrun.store().join("mounts")).map_or(0, Iterator::count);
    assert_eq!(mounts(), 4);
    lrun.ok(&["image", "prune", "-af"]);
    assert_eq!(mounts(), 4);
    assert_eq!(lrun.ok(&["system", "check"]), "");
    lrun.ok(&["builder", "prune", "-f", "--filter", "type=regular"]);
    lrun.ok(&["builder", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(mounts(), 4);
    let said = lrun.ok(&["builder", "prune", "-f", "--filter", "type=exec.cachemount"]);
    assert_eq!(mounts(), 0);
    assert!(said.starts_with("Deleted build cache objects:\n") && !said.contains(": 0B"), "{said}");
    lrun.import("busybox.tar", "busybox");
    assert_eq!(run("3"), ["3", "3", refused, own.as_str(), "seed", "3"]);
    lrun.ok(&["builder", "prune", "-af"]);
    assert_eq!(mounts(), 0);
}

/// Mode and owner of a directory, as a container shows them, in a line of its own.
const SHOWN: &str = "stat -c '%A %u:%g'";

#[test]
fn a_new_cache_is_as_it_was_asked_for_even_if_the_first_step_never_ran() {
    let lrun = Lrun::with_busybox();
    let ids = ["a", "b", "c", "d"];
    let asked = |id: &str| format!("--mount=type=cache,id={id},target=/{id},uid=1000,gid=1001,mode=02700");
    let mounts = ids.map(asked).join(" ");
    let look = |name: &str| {
        let dockerfile = format!("FROM busybox\nRUN {mounts} {SHOWN} /a /b /c /d\n");
        written(&lrun, &context(&lrun, name, &dockerfile, &[]), &["--no-cache"])
    };
    let expected = format!("drwx--S--- {}", owner("1000:1001"));
    let made = || fs::read_dir(lrun.store().join("mounts")).map_or(0, Iterator::count);
    // It fails when all are there, before there is a container.
    let dockerfile = format!(
        "FROM busybox\nRUN --mount=type=cache,id=file,target=/c touch /c/f\n\
        RUN --mount=type=cache,id=file,source=f/sub,target=/x {mounts} true\n"
    );
    let output = build(&lrun, &context(&lrun, "failed", &dockerfile, &[]), &[]);
    assert!(output.code == 1 && output.stderr.contains("cache mount file"), "{}", output.stderr);
    assert_eq!(made(), 5);
    assert_eq!(look("look"), [expected.as_str(); 4]);
    lrun.ok(&["builder", "prune", "-af"]);
    assert_eq!(made(), 0);
    // It is killed while it waits for what another build has alone; some of its own come before that, some do not.
    let locked = "--mount=type=cache,id=locked,target=/locked,sharing=locked";
    let folder = context(&lrun, "holds", &format!("FROM busybox\nRUN {locked} touch /locked/f; sleep 300\n"), &[]);
    let mut holding = lrun.spawn(&["build", "--network", "none", folder.to_str().expect("UTF-8")]);
    let has_file = |entry: fs::DirEntry| entry.path().join("data/f").exists();
    let store = lrun.store().join("mounts");
    eventually("the cache is held", || fs::read_dir(&store).is_ok_and(|all| all.flatten().any(has_file)));
    let folder = context(&lrun, "waits", &format!("FROM busybox\nRUN {locked} {mounts} true\n"), &[]);
    let mut waiting = lrun.spawn(&["build", "--network", "none", folder.to_str().expect("UTF-8")]);
    eventually("some are made", || made() > 1);
    std::thread::sleep(std::time::Duration::from_millis(300));
    waiting.child.kill().expect("it is there");
    waiting.wait();
    assert_eq!(look("look"), [expected.as_str(); 4]);
    holding.child.kill().expect("it is there");
    holding.wait();
    eventually("nothing is held", || {
        lrun.ok(&["builder", "prune", "-af"]);
        made() == 0
    });
}

#[test]
fn a_source_in_a_cache_belongs_to_who_made_it() {
    let lrun = Lrun::with_busybox();
    let dockerfile = format!(
        "FROM busybox AS seed\nRUN mkdir -m 0711 /seed && chown 5:6 /seed && touch /seed/f\nFROM busybox\n\
        RUN --mount=type=cache,id=c,target=/c mkdir -m 0705 /c/there; chown 3:4 /c/there; ln -s new/deep /c/link\n\
        RUN --mount=type=cache,id=c,target=/s,source=there,uid=7,gid=8,mode=0750 {SHOWN} /s\n\
        RUN --mount=type=cache,id=c,target=/s,source=own/x,uid=7,gid=8,mode=0750 {SHOWN} /s; touch /s/mine\n\
        RUN --mount=type=cache,id=c,target=/s,source=own/x,uid=1,gid=1,mode=0700 {SHOWN} /s; ls /s\n\
        RUN --mount=type=cache,id=c,target=/s,source=plain {SHOWN} /s\n\
        RUN --mount=type=cache,id=c,target=/s,source=link,uid=9,gid=9,mode=01777 {SHOWN} /s\n\
        RUN --mount=type=cache,id=c,target=/c {SHOWN} /c /c/own /c/new /c/new/deep; ls /c\n\
        RUN --mount=type=cache,id=image,from=seed,source=seed,target=/s,uid=7,gid=8,mode=0700 {SHOWN} /s; ls /s\n\
        RUN --mount=type=cache,id=image,from=seed,target=/s,uid=7,gid=8,mode=0700 {SHOWN} /s; ls /s/seed\n\
        RUN --mount=type=cache,id=files,from=given,source=in,target=/s {SHOWN} /s; ls /s\n\
        RUN --mount=type=cache,id=files,from=given,target=/s {SHOWN} /s /s/in\n"
    );
    let folder = context(&lrun, "source", &dockerfile, &[(".dockerignore", "given")]);
    let given = context(&lrun, "source/given", "", &[("in/g", "")]);
    for (path, mode) in [("", 0o700), ("in", 0o1711)] {
        fs::set_permissions(given.join(path), fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let given = format!("given={}", given.display());
    let shown = |mode: &str, numbers: &str| format!("{mode} {}", owner(numbers));
    let (own, plain, deep) = (shown("drwxr-x---", "7:8"), shown("drwxr-xr-x", "0:0"), shown("drwxrwxrwt", "9:9"));
    let expected: Vec<String> = [
        &[&shown("drwx---r-x", "3:4"), &own, &own, "mine", &plain, &deep][..],
        &[&plain, &plain, &plain, &deep, "link", "new", "own", "plain", "there"],
        &[&shown("drwx--x--x", "5:6"), "f", &shown("drwx------", "7:8"), "f"],
        &[&shown("drwx--x--t", "0:0"), "g", &plain, &shown("drwx--x--t", "0:0")],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    assert_eq!(written(&lrun, &folder, &["--build-context", &given]), expected);
    // Nothing but what a cache has is in its folder.
    for entry in fs::read_dir(lrun.store().join("mounts")).expect("it is there") {
        let mut names: Vec<_> = fs::read_dir(entry.expect("it is there").path())
            .expect("it is there")
            .map(|e| e.expect("it").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["about.json", "data", "lock"]);
    }
}

#[test]
fn steps_of_two_builds_share_a_cache_as_they_ask() {
    let lrun = Lrun::with_busybox();
    // Each tells that it is there, and waits for the other for a while.
    let script = "touch /c/$me; for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do [ -e /c/$other ] && break; sleep 0.1; done; \
        [ -e /c/$other ] && echo met; rm /c/$me; true";
    for (sharing, both_meet) in [("shared", true), ("locked", false), ("private", false)] {
        let dockerfile = format!(
            "FROM busybox\nARG me other\nRUN --mount=type=cache,id={sharing},target=/c,sharing={sharing} {script}\n"
        );
        let folder = context(&lrun, sharing, &dockerfile, &[]);
        let folder = folder.to_str().expect("UTF-8");
        let start = |me: &str, other: &str| {
            let (me, other) = (format!("me={me}"), format!("other={other}"));
            lrun.spawn(&["build", "--network", "none", "--build-arg", &me, "--build-arg", &other, folder])
        };
        let (one, two) = (start("one", "two"), start("two", "one"));
        let (one, two) = (one.wait(), two.wait());
        assert_eq!((one.code, two.code), (0, 0), "{}{}", one.stderr, two.stderr);
        let met = [&one, &two].map(|output| output.stderr.lines().any(|line| line == "met"));
        assert_eq!(met.contains(&true), both_meet, "{sharing}: {}{}", one.stderr, two.stderr);
    }
    // One of each but for `private`, of which both may have run one after the other.
    let mounts = fs::read_dir(lrun.store().join("mounts")).expect("it is there").count();
    assert!((3..=4).contains(&mounts), "{mounts}");
}

#[test]
fn builds_that_make_the_same_cache_at_once_have_one() {
    let lrun = Lrun::with_busybox();
    let mounts = "--mount=type=cache,id=new,target=/new,uid=1000,gid=1001,mode=01770 \
        --mount=type=cache,id=filled,from=busybox,source=bin,target=/filled \
        --mount=type=cache,id=part,source=a/b,target=/part,uid=7,gid=8,mode=0711";
    let dockerfile =
        format!("FROM busybox\nARG me\nRUN {mounts} for dir in /new /filled /part; do touch $dir/file$me; done\n");
    let folder = context(&lrun, "at-once", &dockerfile, &[]);
    let look = format!(
        "FROM busybox\nRUN {mounts} {SHOWN} /new /part; \
        for dir in /new /filled /part; do ls $dir | grep file. | tr '\\n' ' '; echo; done; [ -x /filled/busybox ]\n"
    );
    let look = context(&lrun, "look", &look, &[]);
    let expected = [
        format!("drwxrwx--T {}", owner("1000:1001")),
        format!("drwx--x--x {}", owner("7:8")),
        "file1 file2 file3 file4 ".to_owned(),
        "file1 file2 file3 file4 ".to_owned(),
        "file1 file2 file3 file4 ".to_owned(),
    ];
    for _ in 0..3 {
        let start = |me: usize| {
            let me = format!("me={me}");
            lrun.spawn(&["build", "--network", "none", "--build-arg", &me, folder.to_str().expect("UTF-8")])
        };
        for running in [1, 2, 3, 4].map(start) {
            let output = running.wait();
            assert_eq!(output.code, 0, "{}", output.stderr);
        }
        assert_eq!(written(&lrun, &look, &["--no-cache"]), expected);
        assert_eq!(fs::read_dir(lrun.store().join("staging")).expect("it is there").count(), 0);
        lrun.ok(&["builder", "prune", "-af"]);
        assert_eq!(fs::read_dir(lrun.store().join("mounts")).expect("it is there").count(), 0);
    }
}

#[test]
fn a_tmpfs_is_memory() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m \
        dd if=/dev/zero of=/t/big bs=1M count=2 2>/dev/null || echo full; stat -f -c %T /t; ls -ld /t | cut -c1-10\n\
        RUN --mount=type=tmpfs,target=/var/lib/files touch /var/lib/files/new; ls /var/lib/files\n";
    let folder = context(&lrun, "tmpfs", dockerfile, &[]);
    assert_eq!(written(&lrun, &folder, &["-t", "tmpfs"]), ["full", "tmpfs", "drwxrwxrwt", "new"]);
    assert_eq!(lrun.inspect("tmpfs", "{{len .RootFS.Layers}}"), "1");
}

#[test]
fn a_secret_is_in_the_step_and_nowhere_else() {
    let mut lrun = Lrun::with_busybox();
    let secret = "hunter2-c0ffee";
    lrun.set_env("TOKEN", secret);
    let file = lrun.file("key", secret);
    // Its hash alone is told, so that the log has nothing.
    let dockerfile = "FROM busybox\n\
        RUN --mount=type=secret,id=key sha256sum < /run/secrets/key; stat -c '%u:%g %a' /run/secrets/key; mount | grep -c '/run/secrets/key type tmpfs (ro,nosuid,nodev,noexec'\n\
        RUN --mount=type=secret,id=key,target=/etc/key,mode=0440,uid=7,gid=8 stat -c '%u:%g %a' /etc/key\n\
        RUN --mount=type=secret,id=token,env=TOKEN,required=true printf %s \"$TOKEN\" | sha256sum; env | grep -c ^TOKEN=\n\
        RUN --mount=type=secret,target=/root/token printf %s \"$(cat /root/token)\" | sha256sum\n\
        RUN --mount=type=secret,id=absent ls /run 2>&1 || true\n\
        RUN --mount=type=secret,id=key --mount=type=secret,id=token,env=TOKEN echo half > /half; exit 3\n";
    let folder = context(&lrun, "secret", dockerfile, &[]);
    let given = format!("id=key,src={}", file.to_str().expect("UTF-8"));
    let flags = ["-t", "secret", "--secret", &given, "--secret", "id=token,env=TOKEN"];
    let output = build(&lrun, &folder, &flags);
    assert_eq!(output.code, 3, "{}", output.stderr);
    let hash = sha256(&lrun, secret);
    assert_eq!(output.stderr.matches(&hash).count(), 3, "{}", output.stderr);
    for line in ["0:0 400", "1", &format!("{} 440", owner("7:8")), "ls: /run: No such file or directory"] {
        assert!(output.stderr.lines().any(|told| told == line), "{line}: {}", output.stderr);
    }
    assert!(!output.stderr.contains(secret), "{}", output.stderr);
    // The failed step's container is there, with record, spec, log and read-write layer.
    let id = lrun.ok(&["ps", "-aq"]);
    assert_eq!(lrun.ok(&["diff", &id]), "A /half");
    for text in [lrun.ok(&["inspect", &id]), lrun.ok(&["logs", &id])] {
        assert!(!text.contains(secret), "{text}");
    }
    let mut found = Vec::new();
    files_with(&lrun.store(), secret, &mut found);
    assert!(found.is_empty(), "{found:?}");
    // Other content is no other step.
    lrun.file("key", "other");
    assert_eq!(cached(&build(&lrun, &folder, &flags)), 5);
    lrun.ok(&["rm", &id]);
    for id in lrun.ok(&["ps", "-aq"]).lines() {
        lrun.ok(&["rm", id]);
    }
}

/// As `sha256sum` prints it, of standard input.
fn sha256(lrun: &Lrun, text: &str) -> String {
    let path = lrun.file("hashed", text);
    let output = std::process::Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a hash").to_owned()
}

#[test]
fn secrets_that_are_not_there() {
    let lrun = Lrun::with_busybox();
    let required = "FROM busybox\nRUN --mount=type=secret,id=key,required cat /run/secrets/key\n";
    let folder = context(&lrun, "required", required, &[]);
    let output = build(&lrun, &folder, &[]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("Dockerfile:2:5: --mount: secret key: not found"), "{}", output.stderr);
    assert!(output.stderr.contains("--secret id=key,src=FILE"), "{}", output.stderr);
    // A variable that is not set gives nothing.
    assert_eq!(build(&lrun, &folder, &["--secret", "id=key,env=UNSET"]).code, 1);
    for (given, said) in [
        ("id=key,src=/no/such/file", "failed to stat /no/such/file"),
        ("src=x", "secret missing ID"),
        ("id=key,type=vault", "unsupported secret type"),
        ("key", "must be a key=value pair"),
    ] {
        let output = build(&lrun, &folder, &["--secret", given]);
        assert!(output.code != 0 && output.stderr.contains(said), "{given}: {}", output.stderr);
    }
    let binary = lrun.file("binary", [0, 1, 2]);
    let folder = context(&lrun, "text", "FROM busybox\nRUN --mount=type=secret,id=key,env=K true\n", &[]);
    let given = format!("id=key,src={}", binary.to_str().expect("UTF-8"));
    let output = build(&lrun, &folder, &["--secret", &given]);
    assert!(output.code == 1 && output.stderr.contains("it is no text"), "{}", output.stderr);
}

#[test]
fn a_heredoc_names_its_interpreter() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nWORKDIR /w\nARG A=1\nRUN <<EOF\n#!/bin/sh -e\necho \"$0 $A $PWD\"\necho made > /made\nEOF\n\
        RUN --mount=type=tmpfs,target=/t <<'SCRIPT'\n#!/bin/env sh\necho $0; ls -d /t\nSCRIPT\n\
        RUN <<-EOF\n\t#!/bin/awk -f\n\tBEGIN { print \"awk\" }\nEOF\n";
    let folder = context(&lrun, "script", dockerfile, &[]);
    let lines = written(&lrun, &folder, &["-t", "script"]);
    assert_eq!(lines, ["/dev/pipes/EOF 1 /w", "/dev/pipes/SCRIPT", "/t", "awk"]);
    assert_eq!(in_image(&lrun, "script", "cat /made; ls -d /dev/pipes 2>/dev/null; true"), "made");
    let folder = context(&lrun, "script", &dockerfile.replace("awk\"", "other\""), &[]);
    let output = build(&lrun, &folder, &[]);
    assert_eq!(cached(&output), 4, "{}", output.stderr);
    let missing = context(&lrun, "missing", "FROM busybox\nRUN <<EOF\n#!/no/such/program\nEOF\n", &[]);
    let output = build(&lrun, &missing, &[]);
    let said = "exec: \"/dev/pipes/EOF\": no such file or directory";
    assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn mounts_that_cannot_be() {
    let lrun = Lrun::with_busybox();
    let files = [("ignored", "i"), (".dockerignore", "ignored")];
    let not_found = |path: &str| format!("file not found in build context or excluded by .dockerignore: {path}\n");
    for (mount, said) in [
        ("type=bind,source=missing,target=/x", not_found("/missing")),
        ("type=bind,source=ignored,target=/x", not_found("/ignored")),
        ("type=bind,source=../../outside,target=/x", not_found("/outside")),
        ("type=bind,source=up/outside,target=/x", not_found("/up/outside")),
        ("type=bind,from=busybox,source=/no/such,target=/x", "file not found in the image: /no/such\n".to_owned()),
        ("type=bind,target=/", "invalid specification: destination can't be '/'".to_owned()),
        (
            "type=cache,target=/proc/x",
            "invalid mount path: '/proc/x' cannot be mounted because it is inside /proc".to_owned(),
        ),
        (
            "type=bind,from=nowhere.invalid/x,target=/x",
            "from=nowhere.invalid/x: pull nowhere.invalid/x:latest: ".to_owned(),
        ),
    ] {
        let dockerfile = format!("FROM busybox\nRUN --mount={mount} true\n");
        let folder = context(&lrun, "refused", &dockerfile, &files);
        lrun.file("outside", "outside");
        let _ = fs::remove_file(folder.join("up"));
        symlink("..", folder.join("up")).expect("a link");
        let output = build(&lrun, &folder, &[]);
        assert_eq!(output.code, 1, "{mount}: {}", output.stderr);
        assert!(output.stderr.contains(&format!("Dockerfile:2:5: --mount: {said}")), "{mount}: {}", output.stderr);
    }
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn links_lead_out_of_no_mount() {
    let lrun = Lrun::with_busybox();
    let content = "what only the host has";
    let canary = lrun.file("canary", content);
    let canary = canary.to_str().expect("UTF-8");
    // A cache and an image whose entries are links to the host's files, a mount point that becomes one.
    let dockerfile = format!(
        "FROM busybox AS evil\nRUN ln -s {canary} /link; ln -s / /root-link; mkdir /d; ln -s {canary} /d/l\n\
         FROM busybox\n\
         RUN --mount=type=cache,id=c,target=/c ln -s {canary} /c/link; ln -s / /c/up\n\
         RUN --mount=type=cache,id=c,target=/c,source=up ls /c\n\
         RUN --mount=type=bind,from=evil,source=root-link,target=/e,rw ls /e; rm /e/d/l; echo x > /e/d/l\n\
         RUN --mount=type=bind,from=evil,source=/d,target=/e cat /e/l 2>&1 || true\n\
         RUN mkdir -p /real && ln -s /real /target\n\
         RUN --mount=type=tmpfs,target=/target/sub touch /target/sub/f; ls /real/sub\n"
    );
    let folder = context(&lrun, "links", &dockerfile, &[]);
    let lines = written(&lrun, &folder, &["-t", "links"]);
    assert!(lines.iter().any(|line| line == "link") && lines.iter().any(|line| line == "root-link"), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("f"));
    assert!(lines.iter().any(|line| line == "cat: can't open '/e/l': No such file or directory"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains(content)), "{lines:?}");
    assert_eq!(fs::read_to_string(canary).expect("it is there"), content);
    assert_eq!(in_image(&lrun, "links", "ls -A /real"), "");
    let dockerfile = format!(
        "FROM busybox AS evil\nRUN ln -s {canary} /link\n\
         FROM busybox\nRUN --mount=type=bind,from=evil,source=link,target=/x cat /x\n"
    );
    let folder = context(&lrun, "out", &dockerfile, &[]);
    let output = build(&lrun, &folder, &[]);
    let said = "Dockerfile:4:5: --mount: file not found in the image: /link\n";
    assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
    assert!(!output.stdout.contains(content) && !output.stderr.contains(content), "{output:?}");
    let mut found = Vec::new();
    files_with(&lrun.store(), content, &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn only_the_build_has_what_it_was_given() {
    let lrun = Lrun::with_busybox();
    let file = lrun.file("key", "s3cr3t-in-a-layer");
    let given = format!("id=key,src={}", file.to_str().expect("UTF-8"));
    // Who copies a secret into the image has done so; the mount alone leaves nothing, also for another user.
    let dockerfile = "FROM busybox\nUSER alice\nRUN --mount=type=secret,id=key,uid=1000 cat /run/secrets/key > /dev/null && id -un\n";
    let folder = context(&lrun, "user", dockerfile, &[]);
    let id = built(&lrun, &folder, &["--secret", &given]);
    assert_eq!(lrun.inspect(&id, "{{len .RootFS.Layers}}"), "1");
    let mut found = Vec::new();
    files_with(&lrun.store(), "s3cr3t-in-a-layer", &mut found);
    assert!(found.is_empty(), "{found:?}");
}

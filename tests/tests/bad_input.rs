//! Bad input and machines that lack something: one clear line (and a hint), docker's exit code, and nothing changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use lrun_tests::{Entry, Listing, Lrun, Mode, Output, Tar, long, mode, skip, victim};

/// The complaint of a command that must print nothing else: one line, and perhaps a hint.
#[track_caller]
fn complaint(output: &Output, code: i32, what: &str) -> String {
    assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{what}: {}", output.stderr);
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(lines.len() == 1 || (lines.len() == 2 && lines[1].starts_with("  hint: ")), "{what}: {}", output.stderr);
    assert!(lines[0].starts_with("lrun: "), "{what}: {}", output.stderr);
    assert!(!output.stderr.chars().any(|c| c.is_control() && c != '\n'), "{what}: {:?}", output.stderr);
    lines[0].to_owned()
}

/// The complaint of a command that must leave the store as it was.
#[track_caller]
fn refused(lrun: &Lrun, before: &Listing, code: i32, args: &[&str]) -> String {
    let line = complaint(&lrun.run(args), code, &format!("{args:?}"));
    before.check(&lrun.store(), &format!("{args:?}"));
    line
}

/// A store with the image `busybox` and the ended container `web`.
fn with_web() -> Lrun {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["run", "--network", "none", "--name", "web", "busybox", "true"]);
    lrun
}

#[test]
fn names_that_nothing_has_and_names_that_nothing_can_have() {
    let lrun = with_web();
    let before = Listing::of(&lrun.store());
    let (long_name, digits) = ("x".repeat(300), "0".repeat(64));
    let names = [
        "missing",
        "",
        ".",
        "..",
        "../web",
        "/",
        "//web",
        "web/",
        "containers/../web",
        "-",
        "we b",
        "web\n",
        "w\u{2024}b",
        "\u{202e}bew",
        "\u{1b}[2Jweb",
        "%2e%2e",
        "web\u{301}",
        &long_name,
        &digits,
        "sha256:../..",
        "$(id)",
        "web;id",
        "*",
        "?eb",
        "~",
    ];
    for name in names {
        let shown = refused(&lrun, &before, 1, &["start", name]);
        assert!(shown.starts_with("lrun: No such container: "), "{shown}");
        for args in [
            &["stop", name][..],
            &["kill", name],
            &["wait", name],
            &["restart", name],
            &["rm", name],
            &["rename", name, "other"],
            &["logs", name],
            &["attach", name],
            &["exec", name, "true"],
            &["commit", name],
            &["diff", name],
            &["top", name],
        ] {
            refused(&lrun, &before, 1, args);
        }
        for args in [
            &["rmi", name][..],
            &["history", name],
            &["tag", name, "other"],
            &["create", "--pull", "never", name, "true"],
        ] {
            refused(
                &lrun,
                &before,
                if args[0] == "create" && name != "missing" && name != digits { 125 } else { 1 },
                args,
            );
        }
        refused(&lrun, &before, 125, &["run", "--pull", "never", "--network", "none", name, "true"]);
        if name != "missing" && name != digits {
            refused(&lrun, &before, 1, &["tag", "busybox", name]);
            refused(&lrun, &before, 1, &["commit", "web", name]);
        }
        let inspected = lrun.run(&["inspect", name]);
        assert_eq!((inspected.code, inspected.stdout.as_str()), (1, "[]\n"), "{name:?}");
        assert!(inspected.stderr.starts_with("Error: No such object: ") && inspected.stderr.lines().count() == 1);
    }
    for name in ["", "a", ".", "../x", "_x", "a b", "a/b", "é", "a\u{2024}b", "a\n", &long_name] {
        if !name.is_empty() {
            let line = refused(&lrun, &before, 125, &["create", "--name", name, "busybox", "true"]);
            assert!(line.contains("Invalid container name"), "{line}");
        }
        refused(&lrun, &before, 1, &["rename", "web", name]);
    }
    let line = refused(&lrun, &before, 125, &["run", "--pull", "never", "--network", "none", "nothing:v1", "true"]);
    assert_eq!(line, "lrun: No such image: nothing:v1");
}

#[test]
fn a_beginning_that_many_have_is_nobodys_name() {
    let lrun = Lrun::new();
    for n in 0..17 {
        lrun.import_bytes(&Tar::new().file("n", format!("{n}").as_bytes()).finish(), &format!("image{n}"));
        lrun.ok(&["create", &format!("image{n}"), "true"]);
    }
    // Of seventeen ids, two begin alike.
    let shared = |list: String| {
        let first = |id: &str| id.trim_start_matches("sha256:").chars().next();
        let ids: Vec<&str> = list.lines().collect();
        let digit =
            ids.iter().find_map(|id| first(id).filter(|d| ids.iter().filter(|o| first(o) == Some(*d)).count() > 1));
        digit.expect("a digit that two ids begin with").to_string()
    };
    let before = Listing::of(&lrun.store());
    let container = shared(lrun.ok(&["ps", "-aq", "--no-trunc"]));
    for command in ["start", "rm", "logs", "commit", "diff"] {
        let line = refused(&lrun, &before, 1, &[command, &container]);
        assert!(line.ends_with(&format!("Multiple IDs found with provided prefix: {container}")), "{line}");
    }
    let image = shared(lrun.ok(&["images", "-q", "--no-trunc"]));
    for (code, args) in [(1, &["rmi", &image][..]), (1, &["history", &image]), (125, &["run", &image, "true"])] {
        let line = refused(&lrun, &before, code, args);
        assert!(line.ends_with(&format!("Multiple IDs found with provided prefix: {image}")), "{line}");
    }
}

/// What a compressor makes of these bytes.
fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
    let (mut stdin, bytes) = (child.stdin.take().expect("piped"), bytes.to_owned());
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &bytes));
    let output = child.wait_with_output().expect("the compressor");
    writer.join().expect("the writer").expect("its input");
    output.stdout
}

#[test]
fn archives_that_are_none() {
    let lrun = with_web();
    let before = Listing::of(&lrun.store());
    let noise: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let whole = Tar::new().dir("d").file("d/noise", &noise).finish();
    let mut wrong_sum = whole.clone();
    wrong_sum[149] ^= 1;
    let mut cases = vec![
        ("nothing", Vec::new()),
        ("text", b"this is no archive, whatever its name says".repeat(100)),
        ("half a block of zeros", vec![0; 256]),
        ("a wrong header sum", wrong_sum),
        ("cut in a header", whole[..700].to_vec()),
        ("cut in a file", whole[..100_000].to_vec()),
        ("an unknown kind", Tar::new().entry(Entry { name: b"x", kind: b'!', ..Entry::default() }).finish()),
    ];
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let packed = compressed(program, &whole);
        let middle = packed.len() / 2;
        cases.push((program, packed[..middle].to_vec()));
        let mut flipped = packed.clone();
        flipped[middle] ^= 0x55;
        cases.push((program, flipped));
        let mut sum = packed;
        let near_end = sum.len() - if program == "gzip" { 6 } else { 2 };
        sum[near_end] ^= 0x55;
        cases.push((program, sum));
    }
    for (what, bytes) in cases {
        let output = lrun.run_with(&bytes, &["import", "-", "broken"]);
        let line = complaint(&output, 1, what);
        assert!(line.starts_with("lrun: import -: "), "{what}: {line}");
        before.check(&lrun.store(), what);
    }
    let file = lrun.file("cut.tar", &whole[..100_000]);
    refused(&lrun, &before, 1, &["import", file.to_str().expect("UTF-8"), "broken"]);
    for (source, why) in
        [("missing.tar", "no such file or directory"), ("home", "is a directory"), ("https:///y.tar", "https:///y.tar")]
    {
        let line = refused(&lrun, &before, 1, &["import", source]);
        assert!(line.contains(why), "{line}");
    }
    for args in [
        ["import", "-c", "RUN x", "-", "broken"],
        ["import", "-c", "ENV", "-", "broken"],
        ["import", "--platform", "plan9/mips", "-", "broken"],
    ] {
        refused(&lrun, &before, 1, &args);
    }
    refused(&lrun, &before, 1, &["import", "-", "Broken"]);
}

#[test]
fn wrong_values_of_flags() {
    let lrun = with_web();
    let before = Listing::of(&lrun.store());
    let empty = lrun.file("zero", "A=\0\n");
    let empty = empty.to_str().expect("UTF-8");
    for flags in [
        &["-e", "=x"][..],
        &["--env-file", "missing"],
        &["--env-file", empty],
        &["--env-file", "home"],
        &["--label-file", empty],
        &["-u", "4294967295"],
        &["-u", "-1"],
        &["-u", "a:b:c"],
        &["--group-add", ""],
        &["-w", "relative"],
        &["-v", "/a:/b:/c:/d"],
        &["-v", ":"],
        &["-v", "/a:/proc/sys"],
        &["-v", "/a:/"],
        &["--mount", "type=bind,src=/a"],
        &["--mount", "type=bind,src=/a,dst=/b,shiny=1"],
        &["--mount", "dst=/b,\"broken"],
        &["--tmpfs", "/t:size=lots"],
        &["--device", "/dev/null:x:y:z"],
        &["--ulimit", "nofile"],
        &["--ulimit", "nofile=9:1"],
        &["--ulimit", "flags=1"],
        &["--cap-add", "CAP_FLY"],
        &["--security-opt", "seccomp=missing.json"],
        &["--security-opt", "wings"],
        &["--sysctl", "kernel.core_pattern=x"],
        &["--stop-signal", "SIGWHAT"],
        &["--stop-timeout", "soon"],
        &["--shm-size", "-1"],
        &["-m", "512m"],
        &["--cpus", "many"],
        &["--pids-limit", "few"],
        &["--log-opt", "max-size=1"],
        &["--log-driver", "syslog"],
        &["--log-driver", "none", "--log-opt", "max-size=1m"],
        &["-p", "80"],
        &["--restart", "always"],
        &["--platform", "plan9/mips"],
        &["--pull", "sometimes"],
        &["--detach-keys", "ctrl-ctrl"],
        &["-a", "stdwhat"],
        &["-t=perhaps"],
        &["--flag-of-tomorrow"],
    ] {
        refused(&lrun, &before, 125, &[&["run"][..], flags, &["busybox", "true"]].concat());
    }
    for args in [
        &["frobnicate"][..],
        &["run"],
        &["run", "-d", "-a", "stdout", "busybox", "true"],
        &["run", "-ti", "busybox", "true"],
        &["start"],
        &["rename", "web"],
        &["ps", "surplus"],
        &["container", "frobnicate"],
    ] {
        refused(&lrun, &before, 1, args);
    }
    for (code, args) in [
        (125, &["ps", "--frobnicate"][..]),
        (1, &["ps", "--filter", "colour=red"]),
        (1, &["ps", "--format", "{{.Colour}}"]),
        (1, &["ps", "--format", "{{"]),
        (1, &["kill", "-s", "SIGWHAT", "web"]),
        (1, &["commit", "-c", "RUN x", "web"]),
        (64, &["inspect", "-f", "{{", "web"]),
    ] {
        let output = lrun.run(args);
        assert_eq!(output.code, code, "{args:?}: {}", output.stderr);
        assert_eq!(output.stderr.lines().filter(|line| !line.starts_with("  hint: ")).count(), 1, "{}", output.stderr);
        before.check(&lrun.store(), &format!("{args:?}"));
    }
}

#[test]
fn what_steers_a_terminal_is_shown_not_done() {
    let lrun = Lrun::new();
    let evil = "a\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{202e}x\rover\u{8}";
    let archive =
        Tar::new().file("bin", b"").entry(Entry { name: "f\u{1b}[2J\u{202e}".as_bytes(), ..Entry::default() }).finish();
    let output = lrun.run_with(&archive, &["import", "-m", evil, "-c", &format!("LABEL evil=\"{evil}\""), "-", "evil"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    lrun.ok(&["create", "--name", "web", "-l", &format!("l={evil}"), "evil", evil, evil]);
    lrun.ok(&["commit", "-a", evil, "-m", evil, "web", "evil:2"]);
    for args in [
        &["ps", "-a", "--no-trunc"][..],
        &["ps", "-a", "--format", "{{.Command}} {{.Labels}}"],
        &["history", "--no-trunc", "evil:2"],
        &["images"],
        &["inspect", "web", "evil:2"],
        &["diff", "web"],
        &["start", "web"],
        &["run", "--rm", "--network", "none", "evil", evil],
        &["logs", evil],
        &["run", "-v", evil, "evil"],
        &["run", "--network", evil, "evil"],
        &[evil],
        &["run", "-e", &format!("={evil}"), "evil"],
    ] {
        for shown in [lrun.pty(args).finish().0, lrun.run(args).stderr] {
            let bad = shown.chars().find(|c| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || *c == '\u{202e}');
            assert_eq!(bad, None, "{args:?} shows {shown:?}");
            assert!(!shown.replace("\r\n", "").contains('\r'), "{args:?} shows {shown:?}");
        }
    }
}

#[test]
fn a_store_of_another_id_mapping() {
    let lrun = with_web();
    let before = Listing::of(&lrun.store());
    let other = if mode() == Mode::Single { "subids" } else { "single" };
    for args in [&["ps"][..], &["images"], &["rm", "web"], &["import", "-", "x"]] {
        let output = lrun.run(&[&["--idmap", other][..], args].concat());
        let line = complaint(&output, 1, "another mapping");
        if mode() == Mode::Single {
            assert!(line.starts_with("lrun: id mapping \"subids\" is not possible: "), "{line}");
        } else {
            let own = mode().name();
            let store = lrun.store();
            assert_eq!(line, format!("lrun: store {} was made with id mapping {own}, not single", store.display()));
            assert!(
                output.stderr.contains(&format!("  hint: use --idmap {own}, or a store of its own")),
                "{}",
                output.stderr
            );
        }
        before.check(&lrun.store(), "another mapping");
    }
    let unknown = lrun.run(&["--idmap", "magic", "ps"]);
    complaint(&unknown, 125, "an unknown mapping");
}

#[test]
fn a_store_that_is_none() {
    let mut lrun = Lrun::new();
    let folder = lrun.folder().to_owned();
    lrun.file("plain", "no store");
    fs::create_dir(folder.join("full")).expect("a folder");
    lrun.file("full/precious", "of somebody's");
    for (root, why) in [
        ("plain", "not a directory"),
        ("full", "is not empty and no lrun store"),
        ("plain/below", "not a directory"),
        ("/proc/store", ""),
    ] {
        lrun.set_env(
            "LRUN_ROOT",
            if root.starts_with('/') { root.to_owned() } else { folder.join(root).display().to_string() }.as_str(),
        );
        let line = complaint(&lrun.run(&["ps"]), 1, root);
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(fs::read_to_string(folder.join("full/precious")).expect("the file"), "of somebody's");
    assert_eq!(fs::read_dir(folder.join("full")).expect("the folder").count(), 1);
    // One that is damaged says so.
    lrun.set_env("LRUN_ROOT", folder.join("damaged").to_str().expect("UTF-8"));
    lrun.ok(&["ps"]);
    fs::write(folder.join("damaged/format"), "{").expect("damage it");
    let line = complaint(&lrun.run(&["ps"]), 1, "damaged");
    assert!(line.contains("format is damaged"), "{line}");
    fs::write(folder.join("damaged/format"), r#"{"version":99}"#).expect("of the future");
    let line = complaint(&lrun.run(&["ps"]), 1, "of the future");
    assert!(line.contains("has format version 99"), "{line}");
}

/// Without HOME it is where the user's entry says; who has none is told so.
#[test]
fn a_home_that_only_the_entry_tells() {
    if mode() != Mode::Root {
        skip!("only root can have another /etc/passwd");
    }
    let mut lrun = Lrun::new();
    let home = lrun.folder().join("entry");
    fs::create_dir(&home).expect("a folder");
    lrun.file("known", format!("root:x:0:0::{}:/bin/sh\n", home.display()));
    lrun.file("unknown", "daemon:x:1:1::/:/bin/sh\n");
    for name in ["LRUN_ROOT", "HOME"] {
        lrun.set_env(name, "");
    }
    let with = |entries: &str, args: &[&str]| {
        let script = format!("mount --bind {entries} /etc/passwd && exec \"$@\"");
        let output = lrun.command_in(&["unshare", "-m", "sh", "-c", &script, "sh"], args).output().expect("unshare");
        let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, root, said) = with("known", &["info", "-f", "{{.DockerRootDir}}"]);
    assert_eq!((code, root.as_str()), (Some(0), home.join(".local/share/lrun").to_str().expect("UTF-8")), "{said}");
    let (code, _, said) = with("unknown", &["ps"]);
    let wanted =
        "lrun: there is no home directory for the store: HOME is not set\n  hint: set LRUN_ROOT to a directory";
    assert_eq!((code, said.as_str()), (Some(1), wanted));
}

#[test]
fn a_store_that_may_not_be_written() {
    let lrun = with_web();
    lrun.file("small.tar", Tar::new().dir("d").finish());
    lrun.ok(&["import", "small.tar", "spare"]);
    let before = Listing::of(&lrun.store());
    let mut commands: Vec<&[&str]> = vec![
        &["run", "--network", "none", "busybox", "true"],
        &["create", "busybox", "true"],
        &["rm", "web"],
        &["rename", "web", "other"],
        &["commit", "web"],
        &["tag", "busybox", "other"],
        &["import", "small.tar", "other"],
    ];
    let why = if mode() == Mode::Root { "read-only file system" } else { "permission denied" };
    let readonly = format!("mount --bind {0} {0}; mount -o remount,bind,ro {0}; exec \"$@\"", lrun.store().display());
    let run = |args: &[&str]| match mode() {
        Mode::Root => lrun.spawn_in(&["unshare", "--mount", "sh", "-c", &readonly, "sh"], args).wait(),
        _ => lrun.run(args),
    };
    // Root may write what a mode forbids; another user may not, unless in a user namespace, where a start would be.
    let mut folders = ["", "staging", "containers", "names", "images", "layers", "refs", "blobs/sha256"]
        .map(|name| lrun.store().join(name))
        .to_vec();
    folders
        .extend(fs::read_dir(lrun.store().join("containers")).expect("containers").flatten().map(|entry| entry.path()));
    let set = |bits: u32| {
        for folder in &folders {
            fs::set_permissions(folder, PermissionsExt::from_mode(bits)).expect("chmod");
        }
    };
    if mode() != Mode::Root {
        set(0o500);
    }
    let mut lines = Vec::new();
    if mode() == Mode::Root {
        commands.push(&["rmi", "spare"]);
    }
    for args in &commands {
        let output = run(args);
        lines.push(complaint(&output, if args[0] == "run" { 125 } else { 1 }, &format!("{args:?}")));
    }
    let reading: Vec<i32> = [
        &["ps", "-a"][..],
        &["images"],
        &["inspect", "web"],
        &["logs", "web"],
        &["diff", "web"],
        &["history", "busybox"],
    ]
    .map(|args| run(args).code)
    .to_vec();
    set(0o700);
    before.check(&lrun.store(), "being read-only");
    for line in lines {
        assert!(line.ends_with(why), "{line}");
    }
    assert_eq!(reading, [0; 6], "what only reads works");
}

/// Runs a script in a mount namespace of its own: `prepare` as root, then `script` as the user, with lrun as `"$@"` and a
/// folder `$M` for both.
fn in_namespace(lrun: &Lrun, user: Option<&str>, prepare: &str, script: &str) -> Output {
    let folder = lrun.folder().join("m");
    fs::create_dir_all(&folder).expect("a folder");
    for path in [lrun.folder(), &folder] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    let run_as = user.map_or_else(String::new, |user| {
        format!("setpriv --reuid {user} --regid {user} --init-groups --inh-caps=-all")
    });
    let user = user.unwrap_or("root");
    let whole = format!(
        "export M={m}; {{ {prepare}
        }} || exit 99; export USER={user} HOME=$M/home LRUN_ROOT=; cd $M || exit 98; exec {run_as} sh -c '{script}' sh \"$@\"",
        m = folder.display()
    );
    lrun.spawn_in(&["unshare", "--mount", "sh", "-c", &whole, "sh"], &[] as &[&str]).wait()
}

/// Root, and the user with subordinate ids.
fn users() -> Vec<Option<String>> {
    [None].into_iter().chain(victim().map(Some)).collect()
}

const IMPORT: &str = "\"$@\" import -m x $M/busybox.tar busybox >/dev/null";

/// `prepare` for [`in_namespace`]: a file system on `$M` with the busybox archive and a home in it.
fn mounted(how: &str) -> String {
    let archive = lrun_tests::images("busybox.tar");
    format!("mount {how} lrun-test $M && mkdir -m 777 $M/home && cp {} $M/busybox.tar", archive.display())
}

#[test]
fn places_for_a_store() {
    if mode() != Mode::Root {
        skip!("only root can mount the places to try");
    }
    let lrun = Lrun::new();
    for user in users() {
        let user = user.as_deref();
        let works = format!("export LRUN_ROOT=$M/store; {IMPORT} && \"$@\" run --rm --network none busybox echo works");
        for how in ["-t tmpfs -o mode=777", "-t tmpfs -o mode=777,nosuid,nodev,noexec"] {
            let output = in_namespace(&lrun, user, &mounted(how), &works);
            assert_eq!((output.code, output.stdout.as_str()), (0, "works\n"), "{how}: {}", output.stderr);
        }
        let overlay = format!(
            "{} && mkdir $M/l $M/u $M/w && mount -t overlay -o lowerdir=$M/l,upperdir=$M/u,workdir=$M/w o $M/home && chmod 777 $M/home",
            mounted("-t tmpfs -o mode=777")
        );
        let explicit = in_namespace(&lrun, user, &overlay, "export LRUN_ROOT=$M/home/store; \"$@\" ps");
        let line = complaint(&explicit, 1, "an overlay");
        assert!(
            line.ends_with(
                "the file system overlayfs cannot hold a store: an overlay cannot be written through another one"
            ),
            "{line}"
        );
        assert!(
            explicit.stderr.contains("  hint: choose another store with --root or LRUN_ROOT"),
            "{}",
            explicit.stderr
        );
        // Where nobody asked for the place, another one is found, and told once.
        let elsewhere = format!(
            "export LRUN_SCRATCH=$M; {IMPORT}; \"$@\" run --rm --network none busybox echo works; ls $M/lrun/format"
        );
        let output = in_namespace(&lrun, user, &overlay, &elsewhere);
        assert!(output.stdout.starts_with("works\n") && output.stdout.ends_with("/lrun/format\n"), "{output:?}");
        assert_eq!(output.stderr.matches("images and containers are kept in").count(), 1, "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    }
}

#[test]
fn a_store_of_somebody_else() {
    if mode() != Mode::Root {
        skip!("it takes root to be two users");
    }
    let Some(user) = victim() else { skip!("there is no other user") };
    let theirs = Lrun::as_user(&user);
    theirs.import("busybox.tar", "busybox");
    let before = Listing::of(&theirs.store());
    // As with sudo.
    let mut root = Lrun::new();
    root.set_env("LRUN_ROOT", theirs.store().to_str().expect("UTF-8"));
    for args in [&["ps"][..], &["rmi", "busybox"], &["import", "-", "x"]] {
        let output = root.run(args);
        let line = complaint(&output, 1, "as root");
        assert!(line.contains("belongs to user id") && line.ends_with(", not to 0"), "{line}");
        assert!(
            output.stderr.contains("  hint: run lrun as that user, without sudo, or choose another store"),
            "{}",
            output.stderr
        );
    }
    before.check(&theirs.store(), "root's try");
    let mut other = Lrun::as_user(&user);
    for place in ["/root/store", "/etc/store", "/"] {
        other.set_env("LRUN_ROOT", place);
        complaint(&other.run(&["ps"]), 1, place);
    }
}

#[test]
fn a_full_disk() {
    if mode() != Mode::Root {
        skip!("only root can mount a small disk");
    }
    let lrun = Lrun::new();
    for user in users() {
        let user = user.as_deref();
        let small = in_namespace(&lrun, user, &mounted("-t tmpfs -o mode=777,size=4m"), "export LRUN_ROOT=$M/store
            \"$@\" import $M/busybox.tar busybox; echo $?; \"$@\" images -q; \"$@\" ps -aq; ls $M/store/layers $M/store/staging -A | wc -w");
        assert_eq!(small.stdout, "1\n2\n", "nothing but the two folders' names: {}", small.stderr);
        let [line, hint] = small.stderr.lines().collect::<Vec<_>>()[..] else { panic!("{}", small.stderr) };
        assert!(line.starts_with("lrun: import ") && line.ends_with(": no space left on device"), "{line}");
        assert!(hint.starts_with("  hint: free space with \"lrun rm\""), "{hint}");

        let script = format!("export LRUN_ROOT=$M/store; {IMPORT}; \"$@\" run --network none --name web busybox sh -c \"echo hi >/x\"
            dd if=/dev/zero of=$M/fill bs=4096 2>/dev/null
            for c in \"run --network none busybox true\" \"create busybox true\" \"start web\" \"commit web new\" \"tag busybox new\" \"rename web new\"
            do \"$@\" $c; echo $? $c; done
            \"$@\" ps -a --format {{{{.Names}}}}; \"$@\" images --format {{{{.Repository}}}}; \"$@\" diff web; \"$@\" logs web
            \"$@\" rm web; \"$@\" rmi busybox | head -n 1; \"$@\" ps -aq; \"$@\" images -q; ls -A $M/store/staging");
        let full = in_namespace(&lrun, user, &mounted("-t tmpfs -o mode=777,size=8m"), &script);
        let codes = "125 run --network none busybox true\n1 create busybox true\n1 start web\n1 commit web new\n1 tag busybox new\n1 rename web new";
        assert_eq!(
            full.stdout,
            format!("{codes}\nweb\nbusybox\nA /x\nweb\nUntagged: busybox:latest\n"),
            "{}",
            full.stderr
        );
        let lines: Vec<&str> = full.stderr.lines().collect();
        assert_eq!(lines.len(), 12, "a line and a hint for each: {}", full.stderr);
        for pair in lines.chunks(2) {
            assert!(pair[0].starts_with("lrun: ") && pair[0].ends_with("no space left on device"), "{}", pair[0]);
            assert!(pair[1].starts_with("  hint: free space with"), "{}", pair[1]);
        }
    }
}

/// In a user namespace of the test's own, where the kernel gives no further ones.
#[test]
fn a_machine_without_user_namespaces() {
    let mut lrun = Lrun::new();
    lrun.set_env("LRUN_IDMAP", "");
    let archive = lrun_tests::images("busybox.tar");
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let output = lrun
        .spawn_in(&["unshare", "-Ur", "sh", "-c", script, "sh"], &["import", archive.to_str().expect("UTF-8")])
        .wait();
    let line = complaint(&output, 1, "import");
    assert!(line.ends_with("user namespaces cannot be made: user.max_user_namespaces is 0"), "{line}");
    assert!(output.stderr.contains("  hint: as root: sysctl -w user.max_user_namespaces="), "{}", output.stderr);
    assert!(!lrun.store().exists(), "no store was begun");
}

#[test]
fn a_machine_without_newuidmap() {
    if mode() != Mode::Root {
        skip!("only root can hide a program of the host's");
    }
    let Some(user) = victim() else { skip!("there is no user with subordinate ids") };
    let hide = "for d in /usr/bin /bin; do for p in newuidmap newgidmap; do [ ! -e $d/$p ] || mount --bind /dev/null $d/$p; done; done";
    let prepare = format!("{} && {hide}", mounted("-t tmpfs -o mode=777"));
    let lrun = Lrun::new();
    // The mapping that needs less takes its place.
    let script = format!(
        "export LRUN_ROOT=$M/store; {IMPORT}; \"$@\" run --rm --network none busybox sh -c \"wc -l </proc/self/uid_map\""
    );
    let output = in_namespace(&lrun, Some(&user), &prepare, &script);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "1\n", ""));
    let forced = in_namespace(&lrun, Some(&user), &prepare, "\"$@\" --idmap subids ps");
    assert_eq!(
        complaint(&forced, 1, "forced"),
        "lrun: id mapping \"subids\" is not possible: newuidmap is not installed"
    );
    assert!(forced.stderr.contains("  hint: install the package uidmap"), "{}", forced.stderr);
    // A store made with it is not taken for another.
    let theirs = Lrun::as_user(&user);
    theirs.import("busybox.tar", "busybox");
    let before = Listing::of(&theirs.store());
    let script = format!("export LRUN_ROOT={}; \"$@\" ps", theirs.store().display());
    let line = complaint(&in_namespace(&lrun, Some(&user), &prepare, &script), 1, "its store");
    assert!(line.ends_with("was made with id mapping subids, not single"), "{line}");
    before.check(&theirs.store(), "a machine without newuidmap");
}

#[test]
fn lrun_in_a_container_of_lrun() {
    let lrun = Lrun::with_busybox();
    let archive = lrun_tests::images("busybox.tar");
    let binds =
        [format!("{}:/lrun:ro", lrun_tests::binary().display()), format!("{}:/busybox.tar:ro", archive.display())];
    let inside = |flags: &[&str], script: &str| {
        let common = [
            "run",
            "--rm",
            "--network",
            "none",
            "-e",
            "LRUN_ROOT=/store",
            "--tmpfs",
            "/store",
            "-v",
            &binds[0],
            "-v",
            &binds[1],
        ];
        lrun.run(&[&common[..], flags, &["busybox", "sh", "-c", script]].concat())
    };
    let import = "/lrun import -m x /busybox.tar busybox >/dev/null";
    let filtered = inside(&[], import);
    let line = complaint(&filtered, 1, "behind the filter");
    assert!(line.contains("user namespaces cannot be made"), "{line}");
    let way_out = "start that one with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`";
    assert!(filtered.stderr.contains(way_out), "{}", filtered.stderr);

    let masked = inside(
        &["--security-opt", "seccomp=unconfined"],
        &format!("{import}; /lrun run --rm --network none busybox true"),
    );
    assert_eq!(complaint(&masked, 125, "masked"), "lrun: mount /proc: operation not permitted");
    assert!(masked.stderr.contains("--security-opt systempaths=unconfined"), "{}", masked.stderr);

    let open = ["--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"];
    let works = inside(&open, &format!("{import}; /lrun run --rm --network none busybox echo nested"));
    assert_eq!((works.code, works.stdout.as_str()), (0, "nested\n"), "{}", works.stderr);
}

#[test]
fn more_layers_than_the_kernel_stacks() {
    if !long() {
        skip!("only with --long: it takes 500 commits");
    }
    let lrun = Lrun::with_busybox();
    // A container for each commit: one that is committed often keeps few layers.
    let layer = |n: usize| {
        let image = if n == 0 { "busybox" } else { "deep" };
        lrun.ok(&["run", "--network", "none", "--name", "web", image, "touch", &format!("/file{n}")]);
        lrun.ok(&["commit", "web", "deep"]);
        lrun.ok(&["rm", "web"]);
    };
    (0..497).for_each(layer);
    let count = "ls / | grep -c file";
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "deep", "sh", "-c", count]), "497", "498 layers work");
    lrun.ok(&["run", "--network", "none", "--name", "web", "deep", "touch", "/file497"]);
    let before = Listing::of(&lrun.store());
    let output = lrun.run(&["commit", "web", "deeper"]);
    let line = complaint(&output, 1, "one more layer");
    assert!(line.ends_with("the image would have 499 layers; the kernel stacks at most 498"), "{line}");
    assert!(output.stderr.contains("lrun commit --squash"), "{}", output.stderr);
    before.check(&lrun.store(), "one more layer");
    lrun.ok(&["commit", "--squash", "web", "flat"]);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "flat", "sh", "-c", count]), "498");
}

/// Killed while it tried whether the file system can hold a store.
#[test]
fn a_store_that_was_begun() {
    let lrun = Lrun::new();
    for folder in ["lower", "upper/made", "work/work"] {
        fs::create_dir_all(lrun.store().join(".probe").join(folder)).expect("a folder");
    }
    fs::set_permissions(lrun.store().join(".probe/work/work"), PermissionsExt::from_mode(0o000)).expect("chmod");
    assert_eq!(lrun.ok(&["images", "-q"]), "");
    assert!(!lrun.store().join(".probe").exists());
}

/// A `run` begins before its flags are read: that shows nowhere.
#[test]
fn a_wrong_command_line_makes_no_store_and_changes_none() {
    let new = Lrun::new();
    assert_eq!(new.run(&["run", "--no-such-flag", "busybox"]).code, 125);
    assert!(!new.store().exists(), "no store is made for it");
    let lrun = with_web();
    let before = Listing::of(&lrun.store());
    for _ in 0..5 {
        refused(&lrun, &before, 125, &["run", "--cap-add", "CAP_FLY", "busybox", "true"]);
        assert_eq!(lrun.run(&["run", "--no-such-flag", "busybox"]).code, 125);
    }
    before.check(&lrun.store(), "wrong flags");
    assert_eq!(lrun.run(&["run", "--help"]).code, 0);
}

//! Rows 30, 48, 50 and 51: names and texts that are paths, options or orders to a terminal; and who may look into a store.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use lrun_tests::{Entry, Listing, Mode, long, mode, skip};

use crate::host::Host;

/// Names that are no names: paths out of the store, and what looks like such paths to somebody.
fn bad_names() -> Vec<String> {
    let long = "a".repeat(300);
    let names = [
        "",
        ".",
        "..",
        "/",
        "//",
        "../x",
        "../../canary",
        "../../../canary/open",
        "x/../../../canary",
        "/etc/passwd",
        "a/b",
        "./x",
        "x/",
        "x\\y",
        "%2e%2e%2f",
        "\u{2024}\u{2024}/x",
        "\u{ff0e}\u{ff0e}",
        "x\ny",
        "x\ty",
        "*",
        "?",
        "[a]",
        "~",
        "$HOME",
        "a b",
        ":x",
        "x:",
        "@x",
        "x@",
        "x@sha256:",
        "sha256:../../..",
        "x@sha256:../../../canary",
        "sha256:",
        &long,
        "\u{e4}\u{f6}",
        "\u{202e}x",
    ];
    names.map(str::to_owned).to_vec()
}

/// Row 48, path injection by name: nothing that is not a name becomes one, no command looks beyond the store for it, and
/// nothing changes.
#[test]
fn names_that_are_paths_are_refused_by_every_command() {
    let host = Host::new();
    host.lrun.ok(&["create", "--name", "plain", "busybox", "true"]);
    let listing = Listing::of(&host.lrun.store());
    let archive = lrun_tests::images("busybox.tar");
    let archive = archive.to_str().expect("a UTF-8 path");
    for name in bad_names() {
        let name = name.as_str();
        let container: [&[&str]; 14] = [
            &["start", name],
            &["stop", name],
            &["kill", name],
            &["wait", name],
            &["rm", name],
            &["restart", name],
            &["exec", name, "true"],
            &["logs", name],
            &["attach", name],
            &["top", name],
            &["diff", name],
            &["rename", name, "other"],
            &["inspect", "--type", "container", name],
            &["export", name],
        ];
        let image: [&[&str]; 7] = [
            &["run", "--rm", name, "true"],
            &["create", name, "true"],
            &["rmi", name],
            &["history", name],
            &["tag", name, "other"],
            &["inspect", "--type", "image", name],
            &["commit", name, "other"],
        ];
        // A name to be made; an empty one is as none.
        let made: [&[&str]; 3] =
            [&["create", "--name", name, "busybox", "true"], &["rename", "plain", name], &["tag", "busybox", name]];
        let made = made.into_iter().filter(|_| !name.is_empty());
        for args in container.into_iter().chain(image).chain(made) {
            // The one that is a good reference.
            if args == ["tag", "busybox", "a/b"] {
                continue;
            }
            let output = host.lrun.run(args);
            assert!(output.code != 0 && output.code < 128, "{args:?}: {output:?}");
            assert!(
                !output.stderr.is_empty() && output.stdout.is_empty() || args[0] == "inspect",
                "{args:?}: {output:?}"
            );
        }
        let output = host.lrun.run(&["rm", "-f", name]);
        assert!(output.code < 2, "{output:?}");
        if !["", "a/b"].contains(&name) {
            host.lrun.fails(1, &["import", archive, name]);
        }
        listing.check(&host.lrun.store(), &format!("the name {name:?}"));
    }
    host.unharmed();
}

/// Row 48, path injection by id: prefixes name a container only where they are hexadecimal digits of its id; nothing is a
/// prefix of everything.
#[test]
fn prefixes_are_exact() {
    let host = Host::new();
    let id = host.lrun.ok(&["create", "--name", "plain", "busybox", "true"]);
    let show = |name: &str| host.lrun.run(&["inspect", "--type", "container", "--format", "{{.Id}}", name]);
    for name in [&id[..64], &id[..12], &id[..3], "plain", "/plain"] {
        assert_eq!(show(name).stdout.trim_end(), id, "{name}");
    }
    for name in [
        "",
        "p",
        "plai",
        "PLAIN",
        "//plain",
        "plain/",
        "plain/.",
        &id[1..],
        &format!("{id}0"),
        &format!("{}/", &id[..12]),
        &format!("../containers/{id}"),
        &format!("{id}/layer"),
        &id[..12].to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
    ] {
        assert_eq!(show(name).code, 1, "{name}");
    }
    host.unharmed();
}

/// Row 50, argument injection: what begins with `-` is a name after `--` and an unknown flag before; it never becomes an
/// argument of the network helper or of the programs that map ids.
#[test]
fn names_that_are_options_stay_names() {
    let host = Host::new();
    for name in ["-x", "--help", "--privileged", "-", "--", "-f", "--all", "-rf"] {
        for command in ["rm", "start", "stop", "inspect", "rmi", "history", "logs", "diff"] {
            let output = host.lrun.run(&[command, "--", name]);
            assert!(output.code == 1 && !output.stderr.contains("sage"), "{command} -- {name}: {output:?}");
        }
        let output = host.lrun.run(&["run", "--rm", "--network", "none", "--", name, "true"]);
        assert!(output.code == 125 && output.stderr.starts_with("lrun: "), "run -- {name}: {output:?}");
        let output = host.lrun.run(&["create", &format!("--name={name}"), "busybox"]);
        assert_ne!(output.code, 0, "{name}: {output:?}");
        assert_ne!(host.lrun.run(&["tag", "busybox", "--", name]).code, 0, "{name}");
        for flag in [
            "--hostname",
            "--network",
            "--dns",
            "--add-host",
            "--user",
            "--volume",
            "--device",
            "--sysctl",
            "--security-opt",
        ] {
            let output = host.lrun.run(&["run", "--rm", &format!("{flag}={name}"), "busybox", "true"]);
            assert!(output.code == 125 && !output.stderr.is_empty(), "{flag}={name}: {output:?}");
        }
    }
    // A command that begins with a dash is the command.
    let output = host.lrun.run(&["run", "--rm", "--network", "none", "busybox", "--version"]);
    assert!(output.code == 127 && output.stderr.contains("--version"), "{output:?}");
    assert_eq!(host.lrun.ok(&["run", "--rm", "--network", "none", "busybox", "echo", "--rm", "-x"]), "--rm -x");
    // A file whose name is an option is imported by that name.
    fs::copy(lrun_tests::images("busybox.tar"), host.lrun.folder().join("-x.tar")).expect("copy the archive");
    assert_eq!(host.lrun.run(&["import", "--", "-x.tar", "dashed"]).code, 0);
    // The network helper's command line holds nothing of the user's.
    let words = ["uncommon-host", "uncommon.example", "uncommon-user"];
    let run = [
        "run",
        "-d",
        "--name",
        "net",
        "-h",
        words[0],
        "--dns-search",
        words[1],
        "-l",
        words[2],
        "busybox",
        "sleep",
        "1000",
    ];
    host.lrun.ok(&run);
    let helper = helpers(&host);
    assert!(words.iter().all(|word| !helper.contains(word)), "{helper}");
    host.unharmed();
}

/// The command lines of the network helpers of this test's containers.
fn helpers(host: &Host) -> String {
    let init: i32 = host.lrun.inspect("net", "{{.State.Pid}}").parse().expect("a process id");
    let parent = |pid: i32| -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
    };
    let monitor = parent(init).expect("the monitor");
    let pids =
        fs::read_dir("/proc").expect("/proc").flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let siblings = pids.filter(|pid| *pid != init && parent(*pid) == Some(monitor));
    siblings
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " "))
        .collect()
}

/// An order to the terminal in every notation: colour (C0 and C1), title, cursor, bidirectional text, bell.
const ORDERS: &str = "\x1b[31mred\u{9b}32m\x1b]0;title\x07\u{202e}back\u{2066}\rstart\x08\x7f";

/// Whether the text holds what a terminal obeys. Carriage returns before newlines are the terminal's own.
fn is_obeyed(text: &str) -> bool {
    text.replace("\r\n", "\n").chars().any(|c| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// Row 51, terminal escapes: what an image, a container or a user says in commands, labels, messages, file names and
/// process names is shown, not obeyed, by every command that prints it on a terminal.
#[test]
fn no_text_gives_orders_to_the_terminal() {
    let host = Host::empty();
    let archive = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let json = serde_json::to_string(&["sh", "-c", ORDERS]).expect("JSON");
    let import = [
        "import",
        "-m",
        ORDERS,
        "-c",
        &format!("CMD {json}"),
        "-c",
        &format!("LABEL evil=\"{}\"", ORDERS.replace('\r', "")),
        "-",
        "evil",
    ];
    let output = host.lrun.run_with(&archive, &import);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let script = format!("echo x > '/tmp/{ORDERS}'; while :; do sleep 1; done");
    let label = format!("note={ORDERS}");
    host.lrun.ok(&[
        "run",
        "-d",
        "--name",
        "loud",
        "--network",
        "none",
        "-l",
        &label,
        "-e",
        &label,
        "evil",
        "sh",
        "-c",
        &script,
    ]);
    let image = "{{json .}} {{.Config.Labels}} {{.Comment}} {{println .Config.Cmd}}";
    let container = "{{json .Config}} {{.Config.Labels}} {{.Config.Cmd}} {{.Config.Env}}";
    let commands: [&[&str]; 16] = [
        &["ps", "-a"],
        &["ps", "--no-trunc"],
        &["ps", "--format", "{{.Command}} {{.Labels}}"],
        &["ps", "--format", "json"],
        &["images", "--no-trunc"],
        &["images", "--format", "json"],
        &["history", "evil"],
        &["history", "--no-trunc", "evil"],
        &["history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", "evil"],
        &["inspect", "evil"],
        &["inspect", "loud"],
        &["inspect", "--format", image, "evil"],
        &["inspect", "--format", container, "loud"],
        &["diff", "loud"],
        &["top", "loud"],
        &["top", "loud", "-eo", "pid,args"],
    ];
    for args in commands {
        let (shown, code) = host.lrun.pty(args).finish();
        assert_eq!(code, 0, "{args:?}: {shown}");
        assert!(!is_obeyed(&shown), "{args:?}: {shown:?}");
    }
    let errors: [&[&str]; 9] = [
        &[ORDERS],
        &["run", ORDERS],
        &[&format!("--{ORDERS}")],
        &["inspect", ORDERS],
        &["exec", "loud", ORDERS],
        &["run", "--rm", "--network", "none", "evil", ORDERS],
        &["import", ORDERS],
        &["rm", ORDERS],
        &["run", "--rm", "--network", "none", "--entrypoint", ORDERS, "evil"],
    ];
    for args in errors {
        let (shown, code) = host.lrun.pty(args).finish();
        assert_ne!(code, 0, "{args:?}: {shown}");
        assert!(!is_obeyed(&shown), "{args:?}: {shown:?}");
    }
    host.unharmed();
}

/// Row 51, terminal escapes: nor do the names in a hostile archive, whose errors and warnings say them.
#[test]
fn no_name_in_an_archive_gives_orders_to_the_terminal() {
    let host = Host::empty();
    let name = b"./\x1b]0;owned\x07\xc2\x9b31m\xe2\x80\xae";
    let entries = [
        Entry { name, kind: b'1', link: b"missing", ..Entry::default() },
        Entry { name, kind: b'Z', ..Entry::default() },
        Entry { name, kind: b'3', ..Entry::default() },
        Entry { name, uid: 0o7777777, ..Entry::default() },
    ];
    for (n, entry) in entries.into_iter().enumerate() {
        let path = host.lrun.file("evil.tar", lrun_tests::Tar::new().entry(entry).finish());
        let (shown, _) = host.lrun.pty(&["import", path.to_str().expect("UTF-8"), "evil"]).finish();
        // A progress bar moves the cursor; what the archive says does not.
        assert!(!["\x1b]0;", "\u{9b}", "\u{202e}", "\x07"].iter().any(|order| shown.contains(order)), "{n}: {shown:?}");
    }
    host.unharmed();
}

/// A command that runs as another user of the host, who may be anybody; `None` where this user cannot be another.
fn as_another_user() -> Option<Command> {
    let mut words = match mode() {
        Mode::Root => vec![],
        Mode::Subids => vec!["unshare", "--user", "--map-auto", "--map-root-user"],
        Mode::Single => return None,
    };
    words.extend(["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups", "--bounding-set", "-all"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    Some(command)
}

/// Row 30, permissions of the store: it is the user's alone, even where its directory was there with wider permissions or
/// the caller's umask is open, and a set-user-ID program of an image cannot be reached by anybody else.
#[test]
fn another_user_gets_nowhere_in_a_store() {
    let host = Host::empty();
    fs::create_dir(host.lrun.store()).expect("a directory for the store");
    fs::set_permissions(host.lrun.store(), fs::Permissions::from_mode(0o777)).expect("chmod");
    fs::set_permissions(host.lrun.folder(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let busybox = lrun_tests::images("busybox.tar");
    let open_umask = ["sh", "-c", "umask 0; exec \"$@\"", "sh"];
    let import = host.lrun.spawn_in(&open_umask, &["import", busybox.to_str().expect("UTF-8"), "busybox"]).wait();
    assert_eq!(import.code, 0, "{}", import.stderr);
    let script = "cp /bin/busybox /suid; chmod 4755 /suid; echo secret > /secret; chmod 666 /secret; sleep 1000";
    let run = host
        .lrun
        .spawn_in(&open_umask, &["run", "-d", "--name", "suid", "--network", "none", "busybox", "sh", "-c", script]);
    let id = run.wait().stdout.trim_end().to_owned();
    let store = host.lrun.store();
    assert_eq!(fs::metadata(&store).expect("the store").mode() & 0o7777, 0o700);
    let layer = store.join(format!("containers/{id}/layer/diff"));
    lrun_tests::eventually("the program is there", || layer.join("secret").exists());
    let Some(_) = as_another_user() else { skip!("a user with a single id cannot become another") };
    for (script, path) in [
        ("ls", store.clone()),
        ("cat", store.join("format")),
        ("cat", layer.join("secret")),
        ("exec", layer.join("suid")),
    ] {
        let mut command = as_another_user().expect("checked");
        let script = format!("id -u; {script} {} && echo ESCAPED", path.display());
        let output = command.args(["sh", "-c", &script]).output().expect("setpriv");
        let (shown, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(shown, "4242\n", "{complaint}");
        assert!(complaint.contains("Permission denied"), "{complaint}");
    }
    if long() {
        host.lrun.ok(&["commit", "suid", "kept"]);
    }
    host.unharmed();
}

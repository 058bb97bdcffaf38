//! `info`, `version`, help, and the answers to wrong command lines.

use lrun_tests::Lrun;
use serde_json::Value;

#[test]
fn info_counts_and_names_what_it_found() {
    let lrun = Lrun::with_busybox();
    lrun.ok(&["create", "busybox", "true"]);
    lrun.ok(&["run", "-d", "busybox", "sleep", "1000"]);
    let text = lrun.run(&["info"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    for line in [
        "Server:",
        " Containers: 2",
        "  Running: 1",
        "  Paused: 0",
        "  Stopped: 1",
        " Images: 1",
        " Storage Driver: overlay",
    ] {
        assert!(text.stdout.lines().any(|own| own == line), "{line}: {}", text.stdout);
    }
    for label in ["Id Mapping: ", "Network: ", "Cgroup Version: ", "Kernel Version: ", " Backing Filesystem: "] {
        assert!(text.stdout.contains(label), "{label}: {}", text.stdout);
    }
    let root = lrun.store();
    assert!(text.stdout.contains(&format!(" Docker Root Dir: {}\n", root.display())), "{}", text.stdout);
    // What is missing comes with a way out.
    let warnings = text.stderr.lines().filter(|line| line.starts_with("WARNING: ")).count();
    assert_eq!(text.stderr.lines().filter(|line| line.starts_with("  hint: ")).count(), warnings, "{}", text.stderr);

    let json: Value = serde_json::from_str(&lrun.ok(&["info", "-f", "{{json .}}"])).expect("JSON");
    assert_eq!((&json["Containers"], &json["ContainersRunning"], &json["Images"]), (&2.into(), &1.into(), &1.into()));
    for field in
        ["CgroupDriver", "CgroupVersion", "ServerVersion", "KernelVersion", "MemTotal", "NCPU", "SecurityOptions"]
    {
        assert!(!json[field].is_null(), "{field}: {json}");
    }
    assert_eq!(serde_json::from_str::<Value>(&lrun.ok(&["info", "--format", "json"])).expect("JSON"), json);
    assert_eq!(lrun.ok(&["info", "-f", "{{.Runtimes.nvidia}} {{.OSType}}"]), "<no value> linux");
    assert!(lrun.fails(1, &["info", "-f", "{{.Nope}}"]).contains("map has no entry for key \"Nope\""));
}

#[test]
fn info_tells_also_why_there_is_no_store() {
    let mut lrun = Lrun::new();
    let file = lrun.file("file", "");
    lrun.set_env("LRUN_ROOT", file.join("store").to_str().expect("UTF-8"));
    let output = lrun.run(&["info"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("Kernel Version: "), "{}", output.stdout);
    assert!(output.stderr.contains("not a directory") && output.stderr.contains("  hint: "), "{}", output.stderr);
}

#[test]
fn the_version_in_every_form() {
    let lrun = Lrun::new();
    let short = lrun.ok(&["-v"]);
    let rest = short.strip_prefix("lrun version ").expect("docker's words");
    let (version, build) = rest.split_once(", build ").expect("docker's words");
    assert!(!build.is_empty());
    assert_eq!(lrun.ok(&["--version"]), short);
    assert_eq!(lrun.ok(&["version", "--format", "{{.Server.Version}}"]), version);
    assert_eq!(lrun.ok(&["version", "-f", "{{.Client.Version}} {{.Client.GitCommit}}"]), format!("{version} {build}"));
    assert_eq!(lrun.ok(&["version", "-f", "{{.Server.APIVersion}} {{.Client.APIVersion}}"]), "1.56 1.56");
    let text = lrun.ok(&["version"]);
    assert!(
        text.starts_with(&format!("Client:\n Version:           {version}\n API version:       1.56\n"))
            && text.contains("\n\nServer:\n"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&lrun.ok(&["version", "-f", "json"])).expect("JSON");
    assert_eq!(json["Server"]["Os"], "linux");
    assert!(!lrun.store().exists(), "no store is made to tell the version");
}

/// Every command and every command of a group, in the order of the help.
fn commands(lrun: &Lrun, group: &[&str]) -> Vec<String> {
    let help = lrun.ok(&[group, &["--help"]].concat());
    let names = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  ").map(|(name, _)| name));
    names.filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase())).map(str::to_owned).collect()
}

#[test]
fn every_command_has_help() {
    let lrun = Lrun::new();
    for group in [&[][..], &["container"], &["image"]] {
        let names = commands(&lrun, group);
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            let words = [group, &[&name, "--help"]].concat();
            if name == "help" {
                continue;
            }
            let help = lrun.ok(&words);
            let path = [&["lrun"], group, &[name.as_str()]].concat().join(" ");
            assert!(help.contains(&format!("Usage: {path} ")), "{words:?}: {help}");
            assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
            if group.is_empty() {
                assert_eq!(lrun.ok(&["help", &name]), help);
            }
        }
    }
    assert!(!lrun.store().exists(), "help makes no store");
}

#[test]
fn wrong_command_lines_say_what_is_wrong_and_where_to_look() {
    let lrun = Lrun::new();
    for (code, args, message) in [
        (1, &["nope"][..], "lrun: 'nope' is not a lrun command. See 'lrun --help'.\n"),
        (1, &["nope", "ls"], "lrun: 'nope' is not a lrun command. See 'lrun --help'.\n"),
        (1, &["image", "nope"], "lrun: 'nope' is not a lrun image command. See 'lrun image --help'.\n"),
        (125, &["run", "--nope", "i"], "lrun: unknown flag: --nope. See 'lrun run --help'.\n"),
        (125, &["exec", "--nope", "c", "x"], "lrun: unknown flag: --nope. See 'lrun exec --help'.\n"),
        (125, &["create", "--nope", "i"], "lrun: unknown flag: --nope. See 'lrun create --help'.\n"),
        (125, &["ps", "--nope"], "lrun: unknown flag: --nope. See 'lrun ps --help'.\n"),
        (125, &["ps", "-y"], "lrun: unknown shorthand flag: 'y' in -y. See 'lrun ps --help'.\n"),
        (125, &["container", "ls", "--nope"], "lrun: unknown flag: --nope. See 'lrun container ls --help'.\n"),
        (125, &["ps", "--filter"], "lrun: flag needs an argument: --filter. See 'lrun ps --help'.\n"),
        (1, &["ps", "x"], "lrun: 'lrun ps' accepts no arguments. See 'lrun ps --help'.\n"),
        (1, &["rmi"], "lrun: 'lrun rmi' requires at least 1 argument. See 'lrun rmi --help'.\n"),
        (1, &["tag", "a"], "lrun: 'lrun tag' requires 2 arguments. See 'lrun tag --help'.\n"),
        (1, &["inspect"], "lrun: 'lrun inspect' requires at least 1 argument. See 'lrun inspect --help'.\n"),
    ] {
        assert_eq!(lrun.fails(code, args), message, "{args:?}");
    }
    let refused = lrun.fails(125, &["run", "-p", "80:80", "i"]);
    assert!(refused.starts_with("lrun: --publish 80:80: ") && refused.lines().count() == 2, "{refused}");
    let refused = lrun.fails(1, &["volume", "create"]);
    assert!(refused.starts_with("lrun: volume: this version") && refused.contains("\n  hint: "), "{refused}");
    let escaped = lrun.fails(1, &["\u{1b}[2Jx"]);
    assert!(!escaped.contains('\u{1b}'), "{escaped:?}");
    assert!(!lrun.store().exists(), "nothing was made");
}

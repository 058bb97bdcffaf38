//! Row 48 once more: names with a zero byte. No argument of a command can have one; archives, Dockerfiles and the files
//! that options name can.

use std::fs;

use lrun_tests::build::{build, context};
use lrun_tests::{Listing, images};
use serde_json::{Value, json};

use crate::host::Host;
use crate::made::{Made, archive};

/// Row 48, path injection by name: an archive's names of images are names, or the archive is refused; none is cut off.
#[test]
fn no_archive_brings_a_name_with_a_zero_byte() {
    let host = Host::new();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    let listing = Listing::of(&host.lrun.store());
    for name in
        ["busybox\0", "busybox:latest\0", "evil:1\0/../../canary", "\0", "evil\0:1", "../evil\0:1", "evil:1\0.tar"]
    {
        let made = Made { name: name.into(), config: json!({}), layers: vec![&busybox] };
        let output = host.lrun.run_with(&archive(&[made]), &["load"]);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{name:?}: {}", output.stderr);
        assert!(
            output.stderr.starts_with("lrun: load ") && !output.stderr.contains('\0'),
            "{name:?}: {}",
            output.stderr
        );
        listing.check(&host.lrun.store(), &format!("the name {name:?}"));
    }
    host.unharmed();
}

/// Row 48, path injection: where the config of an image has a zero byte in a path, a user, a command or a variable, a start
/// is refused with one line, or the value is not used; never is what comes before the byte taken for the whole.
#[test]
fn no_config_with_a_zero_byte_is_cut_off() {
    let host = Host::new();
    let busybox = fs::read(images("busybox.tar")).expect("busybox.tar");
    let configs = [
        json!({"WorkingDir": "/etc\0/../../.."}),
        json!({"User": "0\0:1000"}),
        json!({"User": "alice\0"}),
        json!({"Entrypoint": ["/bin/echo\0", "cut off"]}),
        json!({"Cmd": ["/bin/echo\0x", "cut off"]}),
        json!({"Cmd": ["/bin/echo", "cut off\0x"]}),
        json!({"Cmd": ["\0"]}),
        json!({"Volumes": {"/data\0/../../..": {}}}),
        json!({"Volumes": {"/\0": {}}}),
        json!({"Env": ["CUT=cut off\0x", "CUT\0=cut off", "\0CUT=cut off"]}),
        json!({"StopSignal": "KILL\0"}),
        json!({"Labels": {"a\0b": "c\0d"}}),
        json!({"ExposedPorts": {"80/tcp\0": {}}}),
        json!({"Shell": ["/bin/sh\0", "-c"]}),
        json!({"OnBuild": ["RUN echo cut off\0x"]}),
    ];
    let name = |n: usize| format!("zero{n}:1");
    let made = |(n, config): (usize, &Value)| Made { name: name(n), config: config.clone(), layers: vec![&busybox] };
    let made: Vec<Made<'_>> = configs.iter().enumerate().map(made).collect();
    let output = host.lrun.run_with(&archive(&made), &["load", "-q"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    for (n, config) in configs.iter().enumerate() {
        let image = name(n);
        let own = ["Cmd", "Entrypoint"].iter().any(|key| config.get(key).is_some());
        let words: &[&str] = if own { &[] } else { &["sh", "-c", "pwd; echo $CUT; id -un; ls /data"] };
        let output = host.lrun.run(&[&["run", "--rm", "--network", "none", &image], words].concat());
        let refused = [125, 126, 127].contains(&output.code) && output.stderr.starts_with("lrun: ");
        let whole = output.code < 2 && !output.stdout.contains("cut off") && output.stdout.starts_with("/\n");
        assert!(refused && output.stdout.is_empty() || !own && whole, "{config}: {output:?}");
        assert!(!output.stdout.contains("alice"), "{config}: {output:?}");
        let folder = context(&host.lrun, "context", &format!("FROM {image}\nRUN pwd; id -un; echo $CUT\n"), &[]);
        let output = build(&host.lrun, &folder, &["--no-cache"]);
        let shown = output.stderr.lines().any(|line| ["cut off", "alice", "/etc"].contains(&line));
        assert!(!shown && !output.stderr.contains("panicked"), "{config}: {}", output.stderr);
        for look in [&["inspect", image.as_str()][..], &["history", &image], &["images", &image]] {
            assert_eq!(host.lrun.run(look).code, 0, "{look:?}: {config}");
        }
        host.canary.check();
    }
    host.unharmed();
}

/// Row 48, path injection: a Dockerfile, a list of what to ignore, and files of variables and labels name nothing with a
/// zero byte either.
#[test]
fn no_file_that_lrun_reads_names_a_zero_byte() {
    let host = Host::new();
    let canary = host.canary("open");
    for step in [
        "WORKDIR /a\0/../..",
        "USER 0\0",
        "COPY open\0 /x",
        "COPY open /x\0y",
        "ADD open /etc/passwd\0.x",
        "ENV A=b\0c",
        "LABEL a=b\0c",
        "VOLUME /a\0b",
        "CMD [\"/bin/echo\\u0000\"]",
        "RUN [\"/bin/touch\", \"/cut\\u0000off\"]",
        "RUN --mount=type=bind,source=open\0,target=/x true",
        "RUN --mount=type=cache,id=a\0/../../..,target=/x true",
        "RUN touch /cut\0off",
        "SHELL [\"/bin/sh\\u0000\", \"-c\"]",
        "STOPSIGNAL KILL\0",
        "COPY --from=busybox\0 /etc/passwd /x",
    ] {
        let dockerfile = format!("FROM busybox\n{step}\nRUN ls -d /cut /x 2>/dev/null; true\n");
        let folder = context(&host.lrun, "context", &dockerfile, &[("open", "open"), (".dockerignore", "a\0/../..\n")]);
        let output = build(&host.lrun, &folder, &["--no-cache"]);
        assert!(output.code != 0, "{step:?}: {output:?}");
        let said = output.stderr.lines().any(|line| line.starts_with("lrun: ")) && !output.stderr.contains("panicked");
        assert!(said && !output.stderr.lines().any(|line| line == "/cut"), "{step:?}: {output:?}");
        host.canary.check();
    }
    for dockerfile in ["FROM busybox\0\n", "FROM busybox AS a\0\n", "FROM ../../x\0y\n"] {
        let folder = context(&host.lrun, "context", dockerfile, &[]);
        let output = build(&host.lrun, &folder, &[]);
        assert!(output.code != 0 && output.stderr.lines().any(|line| line.starts_with("lrun: ")), "{output:?}");
    }
    let listing = Listing::of(&host.lrun.store());
    let file = host.lrun.file("lines", format!("A=b\0{canary}\n"));
    for flag in ["--env-file", "--label-file"] {
        let output = host.lrun.run(&["create", flag, file.to_str().expect("UTF-8"), "busybox", "true"]);
        assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{flag}: {output:?}");
        assert!(output.stderr.starts_with("lrun: ") && !output.stderr.contains('\0'), "{flag}: {output:?}");
        listing.check(&host.lrun.store(), flag);
    }
    host.unharmed();
}

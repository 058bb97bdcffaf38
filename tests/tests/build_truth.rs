//! `build`: what it says of the Dockerfile and of the cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use lrun_tests::build::{build, built, context};
use lrun_tests::{Lrun, skip};

/// What a command read is told with the verdict, also where it came to the same, and by `--explain`; of the rest nothing.
#[test]
fn what_a_command_read_that_changes_is_told() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN mkdir /app; cp /proc/uptime /app/build_uptime\n\
        RUN read up < /proc/uptime; cat /etc/hosts /proc/filesystems /etc/passwd > /dev/null\n\
        RUN ls /proc /proc/sys/kernel > /dev/null; cat /proc/self/status > /dev/null\n";
    let folder = context(&lrun, "reads", dockerfile, &[]);
    assert_eq!(build(&lrun, &folder, &["-t", "reads"]).code, 0);
    // Who reads in the host's /proc is not the step.
    std::fs::read("/proc/loadavg").expect("the host's");
    let explained = build(&lrun, &folder, &["--explain"]);
    let told: Vec<&str> = explained.stderr.lines().filter(|line| line.contains("it read")).collect();
    assert_eq!(
        told,
        [
            "Step 2/4 RUN mkdir /app; cp /proc/uptime /app/build_uptime: cached: when it ran it read /proc/uptime, which may have changed",
            "Step 3/4 RUN read up < /proc/uptime; cat /etc/hosts /proc/filesystems /etc/passwd > /dev/null: cached: when it ran it read /etc/hosts, /proc/uptime, which may have changed",
        ],
        "{}",
        explained.stderr
    );
    let verified = build(&lrun, &folder, &["--verify"]);
    assert_eq!(verified.code, 1, "{}", verified.stderr);
    let told: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("idempotent")).collect();
    assert_eq!(
        told,
        [
            "Step 2/4 RUN mkdir /app; cp /proc/uptime /app/build_uptime: not idempotent: /app/build_uptime differs (read /proc/uptime)",
            "Step 3/4 RUN read up < /proc/uptime; cat /etc/hosts /proc/filesystems /etc/passwd > /dev/null: idempotent (read /etc/hosts, /proc/uptime)",
            "Step 4/4 RUN ls /proc /proc/sys/kernel > /dev/null; cat /proc/self/status > /dev/null: idempotent",
        ]
    );
}

/// The host has one name in all builds, so that a command that asks for it makes the same again.
#[test]
fn the_name_of_the_host_does_not_change() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN hostname >/name; cat /etc/hostname >>/name\n";
    let folder = context(&lrun, "name", dockerfile, &[]);
    assert_eq!(build(&lrun, &folder, &["-q", "-t", "name"]).code, 0);
    let name = lrun.ok(&["run", "--rm", "--network", "none", "name", "cat", "/name"]);
    assert_eq!(name, "buildkitsandbox\nbuildkitsandbox");
    let verified = build(&lrun, &folder, &["--verify"]);
    assert!(verified.code == 0 && verified.stderr.contains(": idempotent"), "{}", verified.stderr);
}

/// What came in over a network of the step's own is told too, and neither the loopback nor what only goes out.
#[test]
fn that_a_command_read_the_network_is_told() {
    let lrun = Lrun::with_busybox();
    let looked = lrun.run(&["run", "--rm", "busybox", "sh", "-c", "ip route | grep ^default"]);
    if looked.code != 0 {
        skip!("no pasta, or the host has no way out: there is no network to read");
    }
    let around = "(echo | nc -l -p 7 127.0.0.1 &); sleep 0.2; nc -w 1 127.0.0.1 7";
    // Whoever answers, nobody at that address or only the way there.
    let out = "nc -w 1 198.51.100.7 9 < /dev/null || true";
    let dockerfile = format!("FROM busybox\nRUN {around}\nRUN {out}\nRUN --network=none {out}\n");
    let folder = context(&lrun, "network", &dockerfile, &[]);
    let folder = folder.to_str().expect("UTF-8");
    lrun.ok(&["build", "-q", folder]);
    let explained = lrun.run(&["build", "--explain", folder]);
    let told: Vec<&str> = explained.stderr.lines().filter(|line| line.contains("it read")).collect();
    let expected = format!("Step 3/4 RUN {out}: cached: when it ran it read the network, which may have changed");
    assert_eq!(told, [expected], "{}", explained.stderr);
    let verified = lrun.run(&["build", "--verify", folder]);
    let told: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("idempotent")).collect();
    let [first, second, third] = told[..] else { panic!("{}", verified.stderr) };
    assert!(first.ends_with(": idempotent") && third.ends_with(": idempotent"), "{told:?}");
    assert!(second.ends_with(": idempotent (read the network)"), "{told:?}");
    assert_eq!(verified.code, 0, "{}", verified.stderr);
}

#[test]
fn a_check_says_how_a_dockerfile_should_be_written() {
    let lrun = Lrun::with_busybox();
    let fine = context(&lrun, "fine", "FROM busybox AS base\nCMD [\"true\"]\n", &[]);
    let output = build(&lrun, &fine, &["--check"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_eq!(output.stdout, "Check complete, no warnings found.\n");
    let text = "FROM busybox as base\nCOPY secret $nothere /\nRUN echo $X > /made \\\n  && false\nCMD true\n";
    let folder = context(&lrun, "warned", text, &[(".dockerignore", "secret\n")]);
    let output = build(&lrun, &folder, &["--check"]);
    assert_eq!((output.code, output.stderr.as_str()), (1, ""));
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next(), Some("Check complete, 4 warnings have been found!"));
    let path = folder.join("Dockerfile");
    let path = path.display();
    let page = "https://docs.docker.com/go/dockerfile/rule";
    let expected = format!(
        "\n\
        WARNING: FromAsCasing - {page}/from-as-casing/\n\
        'as' and 'FROM' keywords' casing do not match\n\
        {path}:1\n\
        --------------------\n\
        \x20  1 | >>> FROM busybox as base\n\
        \x20  2 |     COPY secret $nothere /\n\
        \x20  3 |     RUN echo $X > /made \\\n\
        --------------------\n"
    );
    let rest: String = lines.by_ref().take(9).map(|line| format!("{line}\n")).collect();
    assert_eq!(rest, expected);
    for warning in [
        format!("WARNING: UndefinedVar - {page}/undefined-var/\nUsage of undefined variable '$nothere'\n{path}:2\n"),
        format!(
            "WARNING: CopyIgnoredFile - {page}/copy-ignored-file/\nAttempting to Copy file \"secret\" that is excluded by .dockerignore\n{path}:2\n"
        ),
        format!("JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n{path}:5\n"),
    ] {
        assert!(output.stdout.contains(&warning), "{}", output.stdout);
    }
    // Nothing was built.
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 1);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn what_a_dockerfile_offers_is_told_without_building() {
    let lrun = Lrun::with_busybox();
    let text = "\
        # one makes it\n\
        FROM nowhere AS one\n\
        # N is how many\n\
        ARG N=1\n\
        RUN --mount=type=secret,id=key,required --mount=type=ssh false\n\
        FROM busybox AS two\n\
        FROM one\n";
    let folder = context(&lrun, "offers", text, &[]);
    let told = |flags: &[&str]| {
        let output = build(&lrun, &folder, flags);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.stdout
    };
    assert_eq!(told(&["--call=targets"]), "TARGET    DESCRIPTION\none       makes it\ntwo       \n(default) \n");
    assert_eq!(
        told(&["--call=outline", "--target=one", "--build-arg=N=2"]),
        "TARGET:      one\nDESCRIPTION: makes it\n\n\
         BUILD ARG   VALUE   DESCRIPTION\nN           2       is how many\n\n\
         SECRET   REQUIRED\nkey      true\n\nSSH       REQUIRED\ndefault   \n\n"
    );
    let file = lrun.folder().join("offers.json");
    let json = told(&["--call=outline,format=json", "--metadata-file", &file.display().to_string()]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["args"][0]["location"]["ranges"][0]["start"]["line"], 4);
    assert_eq!((&json["secrets"][0]["required"], json.get("name")), (&true.into(), None));
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    assert_eq!(kept["result.json"], json);
    let json: serde_json::Value = serde_json::from_str(&told(&["--call=targets,format=json"])).expect("JSON");
    assert_eq!((&json["targets"][1]["base"], &json["targets"][2]["default"]), (&"busybox".into(), &true.into()));
    assert!(
        build(&lrun, &folder, &["--call=outline", "--target=three"]).stderr.contains("\"three\" could not be found")
    );
}

#[test]
fn a_check_of_what_cannot_be_built_says_that_too() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "wrong", "FROM busybox\nMAINTAINER me\nNOTHING\n", &[]);
    let output = build(&lrun, &folder, &["--call=check"]);
    assert_eq!(output.code, 1);
    assert!(output.stdout.starts_with("Check complete, 1 warning has been found!\n\nWARNING: MaintainerDeprecated - "));
    assert!(output.stderr.contains("Dockerfile:3:1: unknown instruction: NOTHING"), "{}", output.stderr);
    let output = build(&lrun, &folder, &["--call", "check,format=json"]);
    assert_eq!(output.code, 1);
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(json["warnings"][0]["ruleName"], "MaintainerDeprecated");
    assert_eq!(json["warnings"][0]["location"]["ranges"][0]["start"]["line"], 2);
    assert!(json["buildError"]["message"].as_str().is_some_and(|text| text.contains("NOTHING")), "{json}");
}

#[test]
fn warnings_of_a_build_and_those_that_are_errors() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "it", "FROM busybox\nCMD true\n", &[]);
    let output = build(&lrun, &folder, &["--call=build"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(
        output.stderr.contains("Dockerfile:2: JSONArgsRecommended: JSON arguments recommended for CMD"),
        "{}",
        output.stderr
    );
    assert_eq!(build(&lrun, &folder, &["--check", "--call=check,ignorestatus=true"]).code, 0);
    fs::write(folder.join("Dockerfile"), "# check=skip=JSONArgsRecommended\nFROM busybox\nCMD true\n").unwrap();
    let output = build(&lrun, &folder, &[]);
    assert!(output.code == 0 && !output.stderr.contains("WARNING"), "{}", output.stderr);
    fs::write(folder.join("Dockerfile"), "# check=error=true\nFROM busybox\nCMD true\nRUN touch /made\n").unwrap();
    let error = lrun.fails(1, &["build", folder.to_str().unwrap()]);
    assert!(error.ends_with("lrun: lint violation found for rules: JSONArgsRecommended\n"), "{error}");
    assert!(error.contains("JSONArgsRecommended: JSON arguments"), "{error}");
    built(&lrun, &folder, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]);
}

/// What `--explain` says of each step that was not in the cache.
#[track_caller]
fn explained(lrun: &Lrun, folder: &Path, flags: &[&str]) -> Vec<String> {
    let output = build(lrun, folder, &[&["--explain"], flags].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.stderr.lines().filter(|line| line.contains(": not cached: ")).map(str::to_owned).collect()
}

#[test]
fn why_a_step_is_not_in_the_cache() {
    let lrun = Lrun::with_busybox();
    let text = "FROM busybox\nARG WHAT=1\nCOPY app /app\nRUN echo $WHAT > /made\nENV DONE=1\n";
    let folder = context(&lrun, "why", text, &[("app/hello.c", "int main;"), ("app/other.c", "")]);
    let first = explained(&lrun, &folder, &[]);
    assert_eq!(first.len(), 4);
    assert_eq!(first[1], "Step 3/5 COPY app /app: not cached: it was never built");
    assert_eq!(explained(&lrun, &folder, &[]), [""; 0]);
    fs::write(folder.join("app/hello.c"), "int main = 1;").unwrap();
    assert_eq!(
        explained(&lrun, &folder, &[]),
        [
            "Step 3/5 COPY app /app: not cached: app/hello.c changed",
            "Step 4/5 RUN echo $WHAT > /made: not cached: step 3 before it was made again",
            "Step 5/5 ENV DONE=1: not cached: step 3 before it was made again",
        ]
    );
    fs::remove_file(folder.join("app/other.c")).unwrap();
    fs::write(folder.join("app/new.c"), "").unwrap();
    fs::set_permissions(folder.join("app/hello.c"), fs::Permissions::from_mode(0o600)).unwrap();
    let copy = &explained(&lrun, &folder, &[])[0];
    let reasons = copy.strip_prefix("Step 3/5 COPY app /app: not cached: ").expect(copy);
    assert_eq!(reasons, "the mode of app/hello.c changed from 644 to 600, app/new.c is new, app/other.c was removed");
    // Values that are given may be secret.
    let run = &explained(&lrun, &folder, &["--build-arg", "WHAT=hunter2"])[0];
    assert_eq!(run, "Step 4/5 RUN echo $WHAT > /made: not cached: the argument WHAT changed");
    explained(&lrun, &folder, &[]);
    let text = text.replace("> /made", "> /maid");
    fs::write(folder.join("Dockerfile"), &text).unwrap();
    let run = &explained(&lrun, &folder, &[])[0];
    let expected =
        "Step 4/5 RUN echo $WHAT > /maid: not cached: the instruction changed, it was RUN echo $WHAT > /made";
    assert_eq!(run, expected);
    let no_cache = explained(&lrun, &folder, &["--no-cache"]);
    assert!(no_cache.iter().all(|line| line.ends_with("the cache was not asked for it")) && no_cache.len() == 4);
}

#[test]
fn why_a_step_is_not_in_the_cache_although_nothing_of_it_changed() {
    let lrun = Lrun::with_busybox();
    let text = "FROM base AS one\nRUN echo 1 > /made\nFROM one\nRUN echo 2 > /more\n";
    let folder = context(&lrun, "below", text, &[]);
    lrun.ok(&["tag", "busybox", "base"]);
    let id = built(&lrun, &folder, &[]);
    lrun.ok(&["rmi", &id]);
    lrun.ok(&["image", "prune", "-f"]);
    let gone = explained(&lrun, &folder, &[]);
    assert_eq!(gone[0], "Step 2/4 RUN echo 1 > /made: not cached: its layer was removed");
    lrun.ok(&["run", "--network", "none", "--name", "changed", "base", "touch", "/new"]);
    lrun.ok(&["commit", "changed", "base"]);
    let changed = explained(&lrun, &folder, &[]);
    assert_eq!(changed[0], "Step 2/4 RUN echo 1 > /made: not cached: the base base changed");
    assert_eq!(changed[1], "Step 4/4 RUN echo 2 > /more: not cached: the base one changed");
}

#[test]
fn commands_that_do_not_make_the_same_again_are_named() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN mkdir /app; echo same > /app/same\n\
        RUN cat /proc/sys/kernel/random/uuid > /app/id; touch /app/same\n\
        RUN u=$(cat /proc/sys/kernel/random/uuid); touch /app/$u\nCOPY a /app/\nRUN cat /app/a > /app/b\n";
    let folder = context(&lrun, "verify", dockerfile, &[("a", "a")]);
    let first = build(&lrun, &folder, &["-t", "verified", "--verify"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(!first.stderr.contains("idempotent"), "nothing was cached: {}", first.stderr);
    let before = (lrun.ok(&["images", "-aq"]), lrun.inspect("verified", "{{.Id}}"));
    let output = build(&lrun, &folder, &["-t", "verified", "--verify"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let told: Vec<&str> = output.stderr.lines().filter(|line| line.contains("idempotent")).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], "Step 2/6 RUN mkdir /app; echo same > /app/same: idempotent");
    assert_eq!(
        told[1],
        "Step 3/6 RUN cat /proc/sys/kernel/random/uuid > /app/id; touch /app/same: not idempotent: /app/id differs (read /proc/sys/kernel/random/uuid)"
    );
    assert!(told[2].contains(": not idempotent: /app/") && told[2].contains(" is new, /app/"), "{}", told[2]);
    assert!(told[2].ends_with(" is missing (read /proc/sys/kernel/random/uuid)"), "{}", told[2]);
    assert_eq!(told[3], "Step 6/6 RUN cat /app/a > /app/b: idempotent");
    // Nothing of it stays.
    assert_eq!((lrun.ok(&["images", "-aq"]), lrun.inspect("verified", "{{.Id}}")), before);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    lrun.ok(&["system", "check"]);
    // A command that fails the second time does not make the same either, and is no failed build.
    let counted =
        context(&lrun, "counted", "FROM busybox\nRUN --mount=type=cache,target=/c [ ! -e /c/x ] && touch /c/x\n", &[]);
    assert_eq!(build(&lrun, &counted, &[]).code, 0);
    let output = build(&lrun, &counted, &["--verify"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains(": not idempotent: it ended with code 1\n"), "{}", output.stderr);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

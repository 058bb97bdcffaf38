//! `build`: what stages are on: images without layers, contexts that have names, and bases with ONBUILD.

use std::fs;

use lrun_tests::Lrun;
use lrun_tests::build::{build, built, cached, context, in_image};

#[test]
fn an_image_without_layers_has_no_files() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM scratch AS a\nENV x=y\nFROM busybox\nCOPY --from=a / /x/\n\
        RUN --mount=from=a,target=/a ls -A /x /a > /found\n";
    let folder = context(&lrun, "empty", dockerfile, &[]);
    built(&lrun, &folder, &["-t", "empty"]);
    assert_eq!(in_image(&lrun, "empty", "cat /found; ls -A /x"), "/a:\n\n/x:");
    let one = context(&lrun, "one", "FROM scratch AS a\nCOPY f /\nFROM busybox\nCOPY --from=a / /x/\n", &[("f", "f")]);
    built(&lrun, &one, &["-t", "one"]);
    assert_eq!(in_image(&lrun, "one", "ls -A /x; cat /x/f"), "f\nf");
}

#[test]
fn what_a_base_wants_to_be_run_takes_files_from_stages_of_the_dockerfile() {
    let lrun = Lrun::with_busybox();
    let triggers = "ONBUILD COPY --from=build /made /copied\n\
        ONBUILD RUN --mount=from=config,target=/config cat /config/made > /mounted\n";
    let image = context(&lrun, "image", &format!("FROM busybox\n{triggers}"), &[]);
    built(&lrun, &image, &["-t", "wants"]);
    let made = |base: &str| {
        format!(
            "FROM busybox AS build\nRUN echo built > /made\nFROM busybox AS config\nRUN echo set > /made\n\
             FROM busybox AS unused\nRUN false\nFROM {base}\nRUN cat /copied /mounted > /all\n"
        )
    };
    let on_image = context(&lrun, "on-image", &made("wants"), &[]);
    let on_stage = format!("FROM busybox AS base\n{triggers}{}", made("base"));
    let on_stage = context(&lrun, "on-stage", &on_stage, &[]);
    // Its ONBUILD is two more steps.
    for (folder, steps) in [(&on_image, 5), (&on_stage, 7)] {
        for flags in [&["--no-cache", "--jobs", "1"][..], &["--no-cache"], &["--no-cache", "--progress", "json"]] {
            let output = build(&lrun, folder, &[flags, &["-t", "it"]].concat());
            assert_eq!(output.code, 0, "{}", output.stderr);
            assert_eq!(in_image(&lrun, "it", "cat /all"), "built\nset");
            assert_eq!(lrun.inspect("it", "{{json .Config.OnBuild}}"), "null");
        }
        assert_eq!(cached(&build(&lrun, folder, &[])), steps);
        let check = build(&lrun, folder, &["--check"]);
        assert_eq!((check.code, check.stderr.as_str()), (0, ""), "{}", check.stdout);
    }
    // A context has the name of an image with triggers, or of a stage that they take files from.
    let named = context(&lrun, "named", &made("other"), &[]);
    built(&lrun, &named, &["-t", "named", "--build-context", "other=docker-image://wants"]);
    assert_eq!(in_image(&lrun, "named", "cat /all"), "built\nset");
    let files = context(&lrun, "files", "", &[("made", "given\n")]);
    let given = format!("config={}", files.display());
    built(&lrun, &named, &["-t", "named", "--build-context", "other=docker-image://wants", "--build-context", &given]);
    assert_eq!(in_image(&lrun, "named", "cat /all"), "built\ngiven");
}

#[test]
fn what_a_base_wants_to_be_run_is_counted() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS base\nONBUILD RUN echo > /made\nONBUILD ENV a=b\nFROM base AS one\nRUN true\n\
        FROM base AS two\nFROM scratch\nCOPY --from=one /made /one\nCOPY --from=two /made /two\n";
    let folder = context(&lrun, "counted", dockerfile, &[]);
    let output = build(&lrun, &folder, &["--progress", "json"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let mut numbers = Vec::new();
    for line in output.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect(line);
        if event["event"] == "step" {
            assert_eq!(event["total"], 13, "{line}");
            numbers.push(event["number"].as_u64().expect(line));
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=13).collect::<Vec<_>>(), "each step has its own");
    built(&lrun, &folder, &["--target", "base", "-t", "wants"]);
    let on_image = context(&lrun, "one", "FROM wants\n", &[]);
    let output = build(&lrun, &on_image, &[]);
    assert!(output.stderr.starts_with("Step 1/3 : FROM wants\n"), "{}", output.stderr);
    assert!(output.stderr.contains("Step 3/3 : ENV a=b\n"), "{}", output.stderr);
}

#[test]
fn what_a_base_wants_to_be_run_and_cannot() {
    let lrun = Lrun::with_busybox();
    let image = context(&lrun, "image", "FROM busybox\nONBUILD COPY --from=build /made /copied\n", &[]);
    built(&lrun, &image, &["-t", "wants"]);
    let later = context(&lrun, "later", "FROM busybox AS a\nFROM wants AS b\nFROM busybox AS build\nFROM b\n", &[]);
    let output = build(&lrun, &later, &[]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("ONBUILD of wants:1:"), "{}", output.stderr);
    assert!(output.stderr.contains("it needs to be defined before current stage \"b\""), "{}", output.stderr);
    // It is found for a build, and not for a check.
    let missing = context(&lrun, "missing", "FROM busybox AS build\nFROM localhost:1/missing\n", &[]);
    assert_eq!(build(&lrun, &missing, &["--check"]).code, 0);
    let output = build(&lrun, &missing, &[]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("Dockerfile:2: FROM localhost:1/missing: "), "{}", output.stderr);
}

#[test]
fn a_stage_on_a_named_context_is_begun_as_others_are() {
    let lrun = Lrun::with_busybox();
    let files = context(&lrun, "files", "", &[("made", "given")]);
    let given = format!("base={}", files.display());
    let with = |name: &str, dockerfile: &str, flags: &[&str]| {
        let folder = context(&lrun, name, dockerfile, &[("a", "a"), ("b", "b")]);
        built(&lrun, &folder, &[&["-t", name, "--build-context", &given], flags].concat());
    };
    let env = "ENV PATH=/opt/bin:$PATH\n";
    with("scratch-path", &format!("FROM scratch\n{env}"), &[]);
    with("files-path", &format!("FROM base\n{env}"), &[]);
    let path = lrun.inspect("scratch-path", "{{json .Config.Env}}");
    assert!(path.starts_with("[\"PATH=/opt/bin:/usr/"), "{path}");
    assert_eq!(lrun.inspect("files-path", "{{json .Config.Env}}"), path);
    with("files-arm", "FROM --platform=linux/arm64 base\nCOPY a /\n", &[]);
    assert_eq!(lrun.inspect("files-arm", "{{.Architecture}}"), "arm64");
    with("files-squash", "FROM base\nCOPY a /\nCOPY b /\n", &["--squash"]);
    assert_eq!(lrun.inspect("files-squash", "{{len .RootFS.Layers}}"), "2", "the base's, and one of the build");
}

#[test]
fn why_a_stage_on_a_named_context_is_not_in_the_cache() {
    let lrun = Lrun::with_busybox();
    let files = context(&lrun, "files", "", &[("made", "given")]);
    let given = format!("base={}", files.display());
    let folder = context(&lrun, "on-files", "FROM base AS it\nENV a=b\n", &[]);
    let explained = |flags: &[&str]| {
        let output = build(&lrun, &folder, &[&["--explain", "--build-context", &given], flags].concat());
        assert_eq!(output.code, 0, "{}", output.stderr);
        let missed = output.stderr.lines().filter(|line| line.contains(": not cached: ")).map(str::to_owned);
        missed.collect::<Vec<_>>().join("\n")
    };
    let never = "Step 1/2 FROM base AS it: not cached: it was never built\n\
        Step 2/2 ENV a=b: not cached: it was never built";
    assert_eq!(explained(&[]), never);
    assert_eq!(explained(&[]), "");
    assert!(explained(&["--no-cache-filter", "it"]).starts_with("Step 1/2 FROM base AS it: not cached: the cache was"));
    fs::write(files.join("made"), "other").expect("a file");
    let changed = explained(&[]);
    assert!(changed.starts_with("Step 1/2 FROM base AS it: not cached: ") && changed.contains("made"), "{changed}");
}

#[test]
fn an_error_says_of_which_instruction_it_is() {
    let lrun = Lrun::with_busybox();
    for (dockerfile, wanted) in [
        ("FROM busybox\nUSER nobody-there\nRUN true\n", "Dockerfile:3: RUN true: unable to find user nobody-there"),
        (
            "FROM busybox\nENV A=1\nCOPY --chown=nobody-there f /new\n",
            "Dockerfile:3: COPY --chown=nobody-there f /new: unable to find user nobody-there",
        ),
        ("FROM busybox\nCOPY f /a/f\nWORKDIR /a/f\n", "Dockerfile:3: WORKDIR /a/f: make directory /a/f: "),
    ] {
        let folder = context(&lrun, "wrong", dockerfile, &[("f", "f")]);
        let output = build(&lrun, &folder, &[]);
        assert_eq!(output.code, 1, "{}", output.stderr);
        assert!(output.stderr.contains(wanted), "{wanted}: {}", output.stderr);
        assert_eq!(output.stderr.matches("Dockerfile:3:").count(), 1, "{}", output.stderr);
    }
}

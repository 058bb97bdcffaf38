//! `build`: what it says of the Dockerfile and of the cache.

use std::fs;

use lrun_tests::Lrun;
use lrun_tests::build::{build, built, context};

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
    let page = "https://docs.docker.com/go/dockerfile/rule";
    let expected = format!(
        "\n\
        WARNING: FromAsCasing - {page}/from-as-casing/\n\
        'as' and 'FROM' keywords' casing do not match\n\
        Dockerfile:1\n\
        --------------------\n\
        \x20  1 | >>> FROM busybox as base\n\
        \x20  2 |     COPY secret $nothere /\n\
        \x20  3 |     RUN echo $X > /made \\\n\
        --------------------\n"
    );
    let rest: String = lines.by_ref().take(9).map(|line| format!("{line}\n")).collect();
    assert_eq!(rest, expected);
    for warning in [
        "WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/\nUsage of undefined variable '$nothere'\nDockerfile:2\n",
        "WARNING: CopyIgnoredFile - https://docs.docker.com/go/dockerfile/rule/copy-ignored-file/\nAttempting to Copy file \"secret\" that is excluded by .dockerignore\nDockerfile:2\n",
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\nDockerfile:5\n",
    ] {
        assert!(output.stdout.contains(warning), "{}", output.stdout);
    }
    // Nothing was built.
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 1);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
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

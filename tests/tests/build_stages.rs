//! `build` with several stages: what is built at all, side by side, and how that ends.

use lrun_tests::build::{build, build_ok, built, cached, context, in_image, runs, unpublished};
use lrun_tests::{Lrun, eventually};
use rustix::process::Signal;

#[test]
fn stages_that_need_none_of_each_other_are_built_at_once() {
    let lrun = Lrun::with_busybox();
    let seconds = |digit: u32| format!("{digit}{}", std::process::id());
    let (one, two) = (seconds(81), seconds(82));
    let dockerfile = format!(
        "FROM busybox AS one\nRUN [\"sleep\", \"{one}\"]\nFROM busybox AS two\nRUN [\"sleep\", \"{two}\"]\nFROM busybox\nCOPY --from=one /x /\nCOPY --from=two /x /\n"
    );
    let folder = context(&lrun, "context", &dockerfile, &[]);
    for signal in [Signal::TERM, Signal::KILL] {
        let build = lrun.spawn(&["build", "--network", "none", folder.to_str().expect("UTF-8")]);
        eventually("both run", || runs(&["sleep", &one]) && runs(&["sleep", &two]));
        build.signal(signal);
        let output = build.wait();
        eventually("both end", || !runs(&["sleep", &one]) && !runs(&["sleep", &two]));
        if signal == Signal::TERM {
            assert_eq!((output.code, unpublished(&lrun)), (143, Vec::new()), "{}", output.stderr);
        }
        assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    }
    eventually("nothing of them is left", || lrun.processes().is_empty());
    let other = context(&lrun, "context", "FROM busybox\nRUN true\n", &[]);
    build_ok(&lrun, &other, &[]);
    assert_eq!(unpublished(&lrun), [""; 0], "what was killed is swept");
    lrun.ok(&["system", "check"]);
}

#[test]
fn what_they_make_comes_together() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS base\nRUN echo base > /base\n\
        FROM base AS one\nRUN cat /base > /one; echo told by one\n\
        FROM base AS two\nRUN cat /base > /two; printf 'told by two'\n\
        FROM busybox AS unused\nRUN false\n\
        FROM base\nCOPY --from=one /one /\nCOPY --from=two /two /\nRUN cat /one /two > /all\n";
    let folder = context(&lrun, "context", dockerfile, &[]);
    let first = build_ok(&lrun, &folder, &["-t", "all"]);
    for line in [
        "[one] told by one",
        "[two] told by two",
        "[base] Step 1/10 : FROM busybox AS base",
        "[two] Step 6/10 : RUN cat /base > /two; printf 'told by two'",
    ] {
        assert!(first.stderr.lines().any(|told| told == line), "{line}: {}", first.stderr);
    }
    assert_eq!(in_image(&lrun, "all", "cat /all"), "base\nbase");
    assert_eq!(built(&lrun, &folder, &[]), lrun.inspect("all", "{{.Id}}"));
    // One after the other it is the same.
    let alone = build(&lrun, &folder, &["--jobs", "1"]);
    assert_eq!(cached(&alone), 6, "{}", alone.stderr);
    // What is copied out of an image is known by its layers; another file of the same is not.
    let dockerfile = dockerfile.replace("COPY --from=two /two /", "COPY --from=two /base /two");
    let other = context(&lrun, "context", &dockerfile, &[]);
    build_ok(&lrun, &other, &["-t", "other"]);
    assert_eq!(in_image(&lrun, "other", "cat /two"), "base");
    // Who removes itself may still be at it.
    eventually("nothing is left", || unpublished(&lrun).is_empty());
}

#[test]
fn a_stage_has_the_arguments_of_the_stage_that_it_is_on() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS base\nARG KIND=small\nARG OTHER=1\n\
        FROM base AS child\nARG OTHER=2\nRUN echo $KIND $OTHER > /kind\nFROM busybox\nCOPY --from=child /kind /\nRUN echo \"[$KIND]\" >> /kind\n";
    let folder = context(&lrun, "context", dockerfile, &[]);
    build_ok(&lrun, &folder, &["-t", "inherited", "--build-arg", "KIND=large"]);
    assert_eq!(in_image(&lrun, "inherited", "cat /kind"), "large 2\n[]");
}

#[test]
fn a_step_that_two_need_is_made_once() {
    let lrun = Lrun::with_busybox();
    let step = "RUN sleep 0.3; cat /proc/sys/kernel/random/uuid > /id";
    let dockerfile = format!(
        "FROM busybox AS one\n{step}\nRUN echo 1 > /1\nFROM busybox AS two\n{step}\nRUN echo 2 > /2\nFROM busybox\nCOPY --from=one /id /one\nCOPY --from=two /id /two\n"
    );
    let folder = context(&lrun, "context", &dockerfile, &[]);
    build_ok(&lrun, &folder, &["-t", "both"]);
    in_image(&lrun, "both", "cmp /one /two");
}

#[test]
fn one_that_fails_ends_the_others() {
    let lrun = Lrun::with_busybox();
    let seconds = format!("83{}", std::process::id());
    let dockerfile = format!(
        "FROM busybox AS slow\nRUN echo made > /made\nRUN [\"sleep\", \"{seconds}\"]\nFROM busybox AS bad\nRUN sleep 1; echo half > /half; exit 9\nFROM busybox\nCOPY --from=slow /made /\nCOPY --from=bad /half /\n"
    );
    let folder = context(&lrun, "context", &dockerfile, &[]);
    let output = build(&lrun, &folder, &[]);
    assert_eq!(output.code, 9, "{}", output.stderr);
    assert!(output.stderr.contains("the command returned a non-zero code: 9"), "{}", output.stderr);
    assert!(!runs(&["sleep", &seconds]));
    assert_eq!(unpublished(&lrun), [""; 0]);
    let container = lrun.ok(&["ps", "-aq"]);
    assert_eq!(lrun.ok(&["diff", &container]), "A /half");
    // What the other had made is not made again.
    let other = context(&lrun, "context", "FROM busybox\nRUN echo made > /made\n", &[]);
    let other = build(&lrun, &other, &[]);
    assert_eq!(cached(&other), 1, "{}", other.stderr);
}

#[test]
fn on_a_terminal_what_is_done_stays_and_what_runs_shows_its_last_lines() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS one\nRUN echo first; sleep 1; echo second\nRUN echo why; exit 4\n";
    let folder = context(&lrun, "context", dockerfile, &[]);
    let terminal = lrun.pty(&["build", "--network", "none", folder.to_str().expect("UTF-8")]);
    let (shown, code) = terminal.finish();
    assert_eq!(code, 4, "{shown}");
    for text in [
        "[+] Building ",
        "\u{1b}[32m[one 2/3] RUN echo first; sleep 1; echo second",
        "  | first",
        "  | why\r\n",
        "non-zero code: 4",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let refused = build(&lrun, &folder, &["--progress", "tty"]);
    assert!(refused.code == 1 && refused.stderr.contains("not a terminal"), "{}", refused.stderr);
}

#[test]
fn programs_get_an_object_a_line() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "context", "FROM busybox AS one\nRUN echo told; printf rest\nCMD [\"true\"]\n", &[]);
    let output = build(&lrun, &folder, &["--progress", "json", "-t", "json"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{}", output.stderr);
    let mut events = Vec::new();
    for line in output.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(event["time"].is_string(), "{line}");
        let what = ["instruction", "output", "image"].iter().find_map(|field| event[*field].as_str()).unwrap_or("");
        events.push(format!("{} {what}", event["event"].as_str().expect(line)));
    }
    assert_eq!(events.first().map(String::as_str), Some("step FROM busybox AS one"), "{events:?}");
    for text in
        ["output told", "output rest", "step CMD [\"true\"]", &format!("built {}", lrun.inspect("json", "{{.Id}}"))]
    {
        assert!(events.iter().any(|event| event == text), "{text}: {events:?}");
    }
}

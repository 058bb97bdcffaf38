//! `lrun build --resume`: a build that goes on from the container of the command that failed.

use lrun_tests::Lrun;
use lrun_tests::build::{build, context, in_image};

/// A command that fails until `/fixed` is there, and leaves something each time.
const DOCKERFILE: &str = "FROM busybox\nRUN echo before > /before\n\
    RUN echo attempt >> /attempts; cat /fixed\nRUN cp /attempts /after\nCMD [\"cat\", \"/after\"]\n";

/// The short id of the container that the last line of a failed build names.
fn kept(stderr: &str) -> String {
    let (_, rest) = stderr.rsplit_once("`lrun logs ").expect(stderr);
    rest[..12].to_owned()
}

#[test]
fn a_build_goes_on_in_the_container_of_the_command_that_failed() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "resumed", DOCKERFILE, &[]);
    let failed = build(&lrun, &folder, &["-t", "made"]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(failed.stderr.contains("`lrun build --resume …` goes on in it"), "{}", failed.stderr);
    let first = kept(&failed.stderr);
    // It fails again, with what is there from before; the new container has all of it.
    let again = build(&lrun, &folder, &["-t", "made", "--resume"]);
    assert_eq!(again.code, 1, "{}", again.stderr);
    assert!(again.stderr.contains(&format!("going on from container {first}: the step will not be in the cache")));
    let second = kept(&again.stderr);
    assert_ne!(first, second);
    // Somebody mends it by hand.
    let file = lrun.file("fixed", "by hand");
    lrun.ok(&["cp", file.to_str().expect("UTF-8"), &format!("{second}:/fixed")]);
    let built = build(&lrun, &folder, &["-t", "made", "--resume"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(built.stderr.contains(&format!("going on from container {second}")), "{}", built.stderr);
    assert_eq!(
        in_image(&lrun, "made", "cat /before /attempts /fixed /after"),
        "before\nattempt\nattempt\nattempt\nby handattempt\nattempt\nattempt"
    );
    assert_eq!(lrun.ok(&["run", "--rm", "made"]), "attempt\nattempt\nattempt");
    let history = lrun.ok(&["history", "--format", "{{.CreatedBy}}|{{.Comment}}", "--no-trunc", "made"]);
    assert_eq!(history.matches("|what an attempt that failed has left").count(), 2, "{history}");
    assert_eq!(lrun.inspect("made", "{{json .Config.Cmd}}"), "[\"cat\",\"/after\"]");
    // What came to be by hand is in no cache: the Dockerfile alone fails, as before.
    let plain = build(&lrun, &folder, &[]);
    assert_eq!(plain.code, 1, "{}", plain.stderr);
    lrun.ok(&["system", "check"]);
}

#[test]
fn without_a_container_the_step_begins_anew_and_a_step_that_ended_well_is_not_resumed() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "anew", DOCKERFILE, &[]);
    let failed = build(&lrun, &folder, &[]);
    let first = kept(&failed.stderr);
    lrun.ok(&["rm", &first]);
    let anew = build(&lrun, &folder, &["--resume"]);
    assert_eq!(anew.code, 1);
    assert!(anew.stderr.contains(&format!("container {first}, in which this step failed, is gone: it begins anew")));
    let second = kept(&anew.stderr);
    assert_eq!(lrun.ok(&["diff", &second]).lines().collect::<Vec<_>>(), ["A /attempts"]);
    // A container that somebody has started: nothing of it can be taken now.
    let waiting = context(&lrun, "waiting", "FROM busybox\nRUN [ -e /x ] && sleep 1000; touch /x; false\n", &[]);
    let failed = build(&lrun, &waiting, &[]);
    let running = kept(&failed.stderr);
    lrun.ok(&["start", &running]);
    let refused = build(&lrun, &waiting, &["--resume"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains(&format!("go on from container {running}: commit container {running}: it runs")),
        "{}",
        refused.stderr
    );
    lrun.ok(&["rm", "-f", &running]);
    // Once it has ended well, there is nothing to go on from.
    let secret = lrun.file("secret", "x");
    let source = format!("id=s,src={}", secret.display());
    let step = "FROM busybox\nRUN --mount=type=secret,id=s echo made >> /made; [ -e /run/secrets/s ]\n";
    let folder = context(&lrun, "well", step, &[]);
    assert_eq!(build(&lrun, &folder, &[]).code, 1);
    assert_eq!(build(&lrun, &folder, &["--secret", &source]).code, 0);
    let after = build(&lrun, &folder, &["--secret", &source, "--resume", "--no-cache", "-t", "well"]);
    assert_eq!(after.code, 0, "{}", after.stderr);
    assert!(!after.stderr.contains("going on"), "{}", after.stderr);
    let why = "--resume: no container of a failed attempt at this step is kept: it begins anew";
    assert_eq!(after.stderr.matches(why).count(), 1, "{}", after.stderr);
    let cached = build(&lrun, &folder, &["--secret", &source, "--resume"]);
    assert!(cached.code == 0 && !cached.stderr.contains("--resume"), "{}", cached.stderr);
    assert_eq!(in_image(&lrun, "well", "cat /made"), "made");
}

#[test]
fn a_stage_that_is_built_beside_others_goes_on_as_well() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS one\nRUN echo one > /made\nFROM busybox AS two\nRUN echo two >> /made; cat /fixed\n\
        FROM busybox\nCOPY --from=one /made /one\nCOPY --from=two /made /two\n";
    let folder = context(&lrun, "stages", dockerfile, &[]);
    let failed = build(&lrun, &folder, &["--jobs", "2"]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    let file = lrun.file("fixed", "by hand");
    lrun.ok(&["cp", file.to_str().expect("UTF-8"), &format!("{}:/fixed", kept(&failed.stderr))]);
    let built = build(&lrun, &folder, &["--jobs", "2", "--resume", "-t", "made"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert_eq!(in_image(&lrun, "made", "cat /one /two"), "one\ntwo\ntwo");
}

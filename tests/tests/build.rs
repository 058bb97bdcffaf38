//! `build`: what the instructions do, what the cache knows, and what is said of what is wrong.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lrun_tests::build::{build, build_ok, built, cached, context, in_image, runs, unpublished};
use lrun_tests::{Lrun, Mode, eventually, mode};
use rustix::process::Signal;

/// Below the store no link is followed; the store's own name may be one.
#[test]
fn the_store_may_be_a_link() {
    let mut lrun = Lrun::new();
    fs::create_dir(lrun.folder().join("real")).expect("a folder");
    symlink("real", lrun.folder().join("link")).expect("a link");
    lrun.set_env("LRUN_ROOT", lrun.folder().join("link").to_str().expect("UTF-8"));
    lrun.import("busybox.tar", "busybox");
    let folder = context(&lrun, "it", "FROM busybox\nCOPY --link f /tmp/f\nRUN cat /tmp/f > /g\n", &[("f", "f")]);
    built(&lrun, &folder, &["-t", "made"]);
    assert_eq!(in_image(&lrun, "made", "cat /g; stat -c %a /tmp"), "f1777");
    assert_eq!(lrun.ok(&["system", "check"]), "");
    let root = lrun.ok(&["info", "-f", "{{.DockerRootDir}}"]);
    assert!(root.ends_with("/real"), "{root}");
}

/// What lrun makes it can open again, whatever the mask of whoever called it.
#[test]
fn a_mask_takes_nothing_from_the_owner() {
    let lrun = Lrun::with_busybox();
    let under = ["sh", "-c", "umask 0777; exec \"$@\"", "sh"];
    let folder = context(&lrun, "it", "FROM busybox\nRUN echo a > /a\n", &[]);
    let run = |args: &[&str]| {
        let output = lrun.command_in(&under, args).output().expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["create", "--name", "box", "--network", "none", "busybox", "sh", "-c", "umask; echo a > /a"]);
    run(&["build", "-q", "-t", "made", folder.to_str().expect("UTF-8")]);
    assert_eq!(lrun.ok(&["start", "-a", "box"]), "0022");
    assert_eq!(in_image(&lrun, "made", "stat -c %a /a"), "644");
    lrun.ok(&["rm", "box"]);
    assert_eq!(lrun.ok(&["system", "check"]), "");
}

/// As with docker: a wildcard that matches nothing is no source, and a user who is not known yet owns no directory.
#[test]
fn names_that_stand_for_nothing() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nCOPY none* f /named\nUSER nobody-knows\nWORKDIR /w/x\n\
                      USER 7:nobody-knows\nWORKDIR /v\nUSER 0\nCOPY --from=busybox /none* /etc/passwd /copied\n";
    let folder = context(&lrun, "it", dockerfile, &[("f", "f"), ("g", "g")]);
    built(&lrun, &folder, &["-t", "made"]);
    assert_eq!(
        in_image(&lrun, "made", "cat /named; stat -c %u:%g /w/x /v; cmp /copied /etc/passwd"),
        if mode() == Mode::Single { "f0:0\n0:0" } else { "f0:0\n7:7" }
    );
    let folder = context(&lrun, "bare", "FROM scratch\nUSER root\nWORKDIR /w\n", &[]);
    built(&lrun, &folder, &[]);
    let folder = context(&lrun, "two", "FROM busybox\nCOPY none* f g /named\n", &[("f", "f"), ("g", "g")]);
    let refused = build(&lrun, &folder, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("more than one source file"), "{}", refused.stderr);
}

#[test]
fn the_instructions_that_change_the_config() {
    let lrun = Lrun::with_busybox();
    let folder = context(
        &lrun,
        "config",
        r#"ARG base=busybox
FROM ${base} AS first
ENV A=1 B="two words" C=$A
ENV old form with spaces
LABEL one=1 "two"="$B"
EXPOSE 80 53/udp 7000-7001
VOLUME ["/data"]
USER 1000:1000
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --retries=2 CMD true
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT exec top
CMD ["-b"]
ONBUILD RUN true
MAINTAINER Ada
WORKDIR /srv/$A
WORKDIR below
"#,
        &[],
    );
    let id = built(&lrun, &folder, &["-t", "config"]);
    let json = |template: &str| lrun.inspect("config", template);
    assert_eq!(json("{{.Id}}"), id);
    let env = json("{{json .Config.Env}}");
    assert!(env.ends_with(r#""A=1","B=two words","C=","old=form with spaces"]"#), "{env}");
    assert_eq!(json("{{json .Config.Labels}}"), r#"{"one":"1","two":"two words"}"#);
    assert_eq!(json("{{json .Config.ExposedPorts}}"), r#"{"53/udp":{},"7000/tcp":{},"7001/tcp":{},"80/tcp":{}}"#);
    assert_eq!(
        json("{{json .Config.Volumes}} {{.Config.User}} {{.Config.StopSignal}}"),
        r#"{"/data":{}} 1000:1000 SIGUSR1"#
    );
    assert_eq!(json("{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Retries}}"), r#"["CMD-SHELL","true"] 2"#);
    assert_eq!(json("{{json .Config.Entrypoint}} {{json .Config.Cmd}}"), r#"["/bin/sh","-ec","exec top"] ["-b"]"#);
    assert_eq!(json("{{json .Config.OnBuild}} {{.Author}} {{.Config.WorkingDir}}"), r#"["RUN true"] Ada /srv/1/below"#);
    // Each step is an image, and what came of it is told.
    let history = lrun.ok(&["history", "--format", "{{.CreatedBy}}", "config"]);
    assert_eq!(history.lines().next(), Some("WORKDIR below"));
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 16);
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 2);
}

#[test]
fn a_step_runs_in_what_the_steps_before_it_made() {
    let lrun = Lrun::with_busybox();
    let folder = context(
        &lrun,
        "run",
        r#"FROM busybox
ARG WHO=nobody
ENV SET=1
RUN echo "$WHO $SET" > /made; umask; id -u
RUN ["sh", "-c", "echo exec >> /made"]
WORKDIR /w
USER 7:8
RUN pwd; id -u; id -g; touch /tmp/mine
SHELL ["/bin/sh", "-xc"]
RUN <<EOF
echo script
EOF
RUN cat <<ONE - <<"TWO" 
$SET
ONE
$SET
TWO
"#,
        &[],
    );
    let output = build(&lrun, &folder, &["-t", "made", "--build-arg", "WHO=me"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{}", output.stderr);
    for line in [
        "Step 1/11 : FROM busybox",
        "0022",
        "/w",
        "7",
        "8",
        "+ echo script",
        "script",
        "Successfully tagged made:latest",
    ] {
        assert!(output.stderr.lines().any(|told| told == line), "{line}: {}", output.stderr);
    }
    assert_eq!(
        in_image(&lrun, "made", "cat /made; ls -ln /tmp/mine"),
        in_image(&lrun, "made", "printf 'me 1\\nexec\\n'; ls -ln /tmp/mine")
    );
    // An argument is no variable of the image.
    assert_eq!(in_image(&lrun, "made", "echo $WHO"), "");
    assert!(lrun.ok(&["history", "--no-trunc", "made"]).contains("RUN |1 WHO=me /bin/sh -c echo \"$WHO $SET\""));
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn what_was_made_before_is_not_made_again() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nARG V=1\nCOPY a b /\nRUN echo $V > /two\nCMD cat /one\n";
    let folder = context(&lrun, "cache", dockerfile, &[("a", "a"), ("b", "b")]);
    let first = build(&lrun, &folder, &["-t", "t"]);
    assert_eq!((first.code, cached(&first)), (0, 0), "{}", first.stderr);
    let (id, one) = (lrun.inspect("t", "{{.Id}}"), in_image(&lrun, "t", "cat /one"));
    // The same; other times; the same content written anew.
    fs::write(folder.join("a"), "a").expect("it is written");
    let again = build(&lrun, &folder, &["-t", "t"]);
    assert_eq!((again.code, cached(&again)), (0, 5), "{}", again.stderr);
    assert_eq!(lrun.inspect("t", "{{.Id}}"), id);
    // Another argument: from its use on.
    assert_eq!(cached(&build(&lrun, &folder, &["-t", "t", "--build-arg", "V=2"])), 3);
    assert_eq!(in_image(&lrun, "t", "cat /one /two"), format!("{one}\n2"));
    // Another file, or mode: from the COPY on.
    fs::write(folder.join("a"), "changed").expect("it is written");
    assert_eq!(cached(&build(&lrun, &folder, &["-t", "t"])), 2);
    fs::set_permissions(folder.join("a"), PermissionsExt::from_mode(0o600)).expect("it is changed");
    assert_eq!(cached(&build(&lrun, &folder, &["-t", "t"])), 2);
    assert_eq!(in_image(&lrun, "t", "cat /one /a"), format!("{one}\nchanged"));
    // Not at all.
    assert_eq!(cached(&build(&lrun, &folder, &["--no-cache", "-t", "t"])), 0);
    assert_ne!(in_image(&lrun, "t", "cat /one"), one);
    // What the cache tells of may be gone, or damaged.
    for entry in fs::read_dir(lrun.store().join("cache")).expect("it is there") {
        fs::write(entry.expect("it is there").path(), "damaged").expect("it is written");
    }
    let found = lrun.ok(&["system", "check"]);
    assert!(found.contains("the build step runs again"), "{found}");
    assert_eq!(cached(&build(&lrun, &folder, &["-t", "t"])), 0);
    lrun.ok(&["rmi", "-f", "t"]);
    lrun.ok(&["image", "prune", "-f"]);
    assert_eq!(build(&lrun, &folder, &["-t", "t"]).code, 0);
}

#[test]
fn copy_and_add_place_files() {
    let lrun = Lrun::with_busybox();
    let dockerfile = r#"FROM busybox AS other
RUN mkdir -p /out/sub && echo made > /out/sub/file && chown 5:6 /out/sub/file && ln -s sub/file /out/link
FROM busybox
WORKDIR /app
COPY file .
COPY file /as/named
COPY file dir/sub/x* /many/
COPY --chown=7:8 --chmod=640 dir /dir
COPY . /all/
COPY --from=other /out /out
COPY --from=other /out/sub/file /usr/tool
COPY --from=busybox /bin/sh /sh
COPY --exclude=**/x* dir /excluded/
COPY <<A <<"B" /here/
$HOME ${UNSET:-default}
A
$HOME
B
ADD archive.tar /added/
ADD --unpack=false archive.tar /kept
"#;
    let files =
        [("file", "file\n"), ("dir/sub/x1", "1"), ("dir/sub/y", "y"), ("secret", "s"), (".dockerignore", "secret\n")];
    let folder = context(&lrun, "copy", dockerfile, &files);
    symlink("sub/y", folder.join("dir/link")).expect("a link");
    let archive = lrun_tests::Tar::new().dir("d/").file("d/f", b"in the archive").finish();
    fs::write(folder.join("archive.tar"), archive).expect("a file");
    built(&lrun, &folder, &["-t", "copied"]);
    let look = |script: &str| in_image(&lrun, "copied", script);
    assert_eq!(look("cat /app/file /as/named; ls /many"), "file\nfile\nfile\nx1");
    let own = |path: &str| look(&format!("stat -c '%u:%g %a' {path}"));
    // With a single id there are no others.
    let single = mode() == Mode::Single;
    let owner = |numbers: &str| if single { "0:0".to_owned() } else { numbers.to_owned() };
    assert_eq!(own("/app/file"), "0:0 644");
    assert_eq!(own("/dir/sub"), format!("{} 640", owner("7:8")));
    assert_eq!(own("/dir/sub/y"), format!("{} 640", owner("7:8")));
    assert_eq!(own("/out/sub/file"), format!("{} 644", owner("5:6")));
    assert_eq!(look("readlink /dir/link"), "sub/y");
    assert_eq!(look("ls -A /all"), ".dockerignore\nDockerfile\narchive.tar\ndir\nfile");
    assert_eq!(look("cat /out/link /usr/tool; test -x /sh && echo yes"), "made\nmade\nyes");
    assert_eq!(look("find /excluded | sort"), "/excluded\n/excluded/link\n/excluded/sub\n/excluded/sub/y");
    assert_eq!(look("cat /here/A /here/B"), " default\n$HOME");
    assert_eq!(look("cat /added/d/f; tar tf /kept"), "in the archived/\nd/f");
}

#[test]
fn nothing_outside_the_context_is_copied() {
    let lrun = Lrun::with_busybox();
    let outside = lrun.file("outside", "outside");
    let forbidden = "forbidden path outside the build context";
    let not_found = "file not found in build context or excluded by .dockerignore";
    for (source, said) in [
        ("../outside", forbidden),
        ("/../outside", forbidden),
        ("missing", not_found),
        ("ignored", not_found),
        ("link", not_found),
        ("up/outside", not_found),
    ] {
        let dockerfile = format!("FROM busybox\nCOPY {source} /x\n");
        let folder = context(&lrun, "outside-context", &dockerfile, &[("ignored", "i"), (".dockerignore", "ignored")]);
        let _ = fs::remove_file(folder.join("link"));
        let _ = fs::remove_file(folder.join("up"));
        symlink(&outside, folder.join("link")).expect("a link");
        symlink("..", folder.join("up")).expect("a link");
        let output = build(&lrun, &folder, &[]);
        assert_eq!(output.code, 1, "{source}: {}", output.stderr);
        let said = format!("Dockerfile:2: COPY {source} /x: {said}: {source}\n");
        assert!(output.stderr.contains(&said), "{}", output.stderr);
    }
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_command_that_fails_leaves_its_container() {
    let lrun = Lrun::with_busybox();
    let folder =
        context(&lrun, "fails", "FROM busybox\nRUN echo done > /done\nRUN echo told; echo half > /half; exit 3\n", &[]);
    let output = build(&lrun, &folder, &["-t", "never"]);
    assert_eq!((output.code, output.stdout.as_str()), (3, ""), "{}", output.stderr);
    let last: Vec<&str> = output.stderr.lines().rev().take(2).collect();
    assert_eq!(last[1], "lrun: RUN echo told; echo half > /half; exit 3: the command returned a non-zero code: 3");
    assert!(last[0].starts_with("  hint: `lrun logs "), "{}", last[0]);
    let id = lrun.ok(&["ps", "-aq"]);
    assert_eq!(lrun.ok(&["logs", &id]), "told");
    assert_eq!(lrun.ok(&["diff", &id]), "A /half");
    lrun.fails(125, &["run", "--pull", "never", "never", "true"]);
    lrun.ok(&["rm", &id]);
    // Who asks for the id alone sees why there is none.
    let quiet = build(&lrun, &folder, &["-q"]);
    let told = "told\nlrun: RUN echo told; echo half > /half; exit 3: the command returned";
    assert!((quiet.code, quiet.stdout.as_str()) == (3, "") && quiet.stderr.starts_with(told), "{quiet:?}");
    lrun.ok(&["rm", &lrun.ok(&["ps", "-aq"])]);
    let missing = context(&lrun, "missing", "FROM busybox\nRUN [\"no-such-program\"]\n", &[]);
    let output = build(&lrun, &missing, &[]);
    let said = "exec: \"no-such-program\": executable file not found in $PATH";
    assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn only_what_the_target_needs_is_built() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS base\nRUN echo base > /base\nFROM busybox AS unused\nRUN exit 1\nFROM base AS middle\nRUN echo middle > /middle\nFROM scratch AS last\nCOPY --from=middle /middle /\nCOPY --from=0 /base /\n";
    let folder = context(&lrun, "stages", dockerfile, &[]);
    built(&lrun, &folder, &["-t", "last"]);
    assert_eq!(lrun.inspect("last", "{{len .RootFS.Layers}}"), "2");
    built(&lrun, &folder, &["-t", "middle", "--target", "MIDDLE"]);
    assert_eq!(in_image(&lrun, "middle", "cat /base /middle"), "base\nmiddle");
    let said = lrun.fails(1, &["build", "--target", "midle", folder.to_str().expect("UTF-8")]);
    assert!(said.contains("target stage \"midle\" could not be found"), "{said}");
    // What a base wants its children to do.
    let base = context(&lrun, "trigger", "FROM busybox\nONBUILD ENV T=1\nONBUILD RUN echo $T > /triggered\n", &[]);
    built(&lrun, &base, &["-t", "trigger"]);
    let child = context(&lrun, "child", "FROM trigger\nRUN cat /triggered > /seen\n", &[]);
    built(&lrun, &child, &["-t", "child", "--label", "a=b"]);
    assert_eq!(in_image(&lrun, "child", "cat /seen"), "1");
    assert_eq!(lrun.inspect("child", "{{json .Config.OnBuild}} {{json .Config.Labels}}"), r#"null {"a":"b"}"#);
}

#[test]
fn the_same_input_and_clock_give_the_same_image() {
    let dockerfile = "FROM busybox\nCOPY file /\nRUN echo made > /made && mkdir /d\nENV A=1\nWORKDIR /w\n";
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let mut lrun = Lrun::new();
            lrun.set_env("SOURCE_DATE_EPOCH", "1700000000");
            lrun.import("busybox.tar", "busybox");
            let folder = context(&lrun, "same", dockerfile, &[("file", "content")]);
            built(&lrun, &folder, &[])
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn where_the_dockerfile_comes_from_and_where_the_id_goes() {
    let lrun = Lrun::with_busybox();
    let folder =
        context(&lrun, "files", "FROM nowhere.invalid/x\n", &[("f", "f"), ("other", "FROM busybox\nCOPY f /\n")]);
    let (path, other) = (folder.to_str().expect("UTF-8"), folder.join("other"));
    let iid = folder.join("id");
    let flags = ["-f", other.to_str().expect("UTF-8"), "--iidfile", iid.to_str().expect("UTF-8")];
    let id = built(&lrun, &folder, &flags);
    assert_eq!(fs::read_to_string(&iid).expect("it is there"), id);
    let output = lrun.run_with(b"FROM busybox\nCOPY f /\n", &["build", "-q", "-f", "-", path]);
    assert_eq!((output.code, output.stdout.trim_end()), (0, id.as_str()), "{}", output.stderr);
    let output = lrun.run_with(b"FROM busybox\nRUN exit 0\n", &["build", "--network", "none", "-q", "-"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let archive = lrun_tests::Tar::new().file("Dockerfile", b"FROM busybox\nCOPY f /\n").file("f", b"f").finish();
    let output = lrun.run_with(&archive, &["build", "-q", "-t", "piped", "-"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(in_image(&lrun, "piped", "cat /f"), "f");
    let empty = lrun.folder().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let said = lrun.fails(1, &["build", empty.to_str().expect("UTF-8")]);
    assert!(said.contains("failed to read dockerfile"), "{said}");
    for (context, said) in [
        ("/no/such/context", "open the build context /no/such/context: no such file or directory"),
        ("https://example.invalid/x.git", "git ls-remote failed: "),
    ] {
        let told = lrun.fails(1, &["build", context]);
        assert!(told.contains(said), "{told}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    let path = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&path, bytes).expect("it is written");
    let output = std::process::Command::new("sha256sum").arg(path.path()).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout[..64]).into_owned()
}

#[test]
fn an_image_that_another_program_made_is_itself_what_is_built_on() {
    let lrun = Lrun::with_busybox();
    let layer = lrun_tests::Tar::new().file("base", b"base").finish();
    // Not as lrun would write it.
    let architecture = lrun.inspect("busybox", "{{.Architecture}}");
    let config = format!(
        "{{ \"os\": \"linux\", \"rootfs\": {{\"diff_ids\": [\"sha256:{}\"], \"type\": \"layers\"}},\n  \"architecture\": \"{architecture}\" }}\n",
        sha256(&layer),
    );
    let manifest = r#"[{"Config":"config.json","RepoTags":["foreign:latest"],"Layers":["layer.tar"]}]"#;
    let archive = lrun_tests::Tar::new()
        .file("config.json", config.as_bytes())
        .file("layer.tar", &layer)
        .file("manifest.json", manifest.as_bytes())
        .finish();
    assert_eq!(lrun.run_with(&archive, &["load"]).code, 0);
    let foreign = lrun.inspect("foreign", "{{.Id}}");
    assert_eq!(foreign, format!("sha256:{}", sha256(config.as_bytes())));
    let folder = context(&lrun, "on-foreign", "FROM foreign\nCOPY --link f /\n", &[("f", "f")]);
    let output = build_ok(&lrun, &folder, &["-t", "on-foreign"]);
    assert_eq!(lrun.inspect("on-foreign", "{{.Parent}}"), foreign);
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 3);
    assert!(!output.stderr.contains("WARNING: "), "{}", output.stderr);
}

#[test]
fn an_interrupted_build_leaves_nothing_running() {
    let lrun = Lrun::with_busybox();
    let seconds = format!("6{}", std::process::id());
    let dockerfile = format!("FROM busybox\nRUN echo 1 > /1\nRUN [\"sleep\", \"{seconds}\"]\n");
    let folder = context(&lrun, "interrupted", &dockerfile, &[]);
    for signal in [Signal::INT, Signal::TERM] {
        let build = lrun.spawn(&["build", "--network", "none", folder.to_str().expect("UTF-8")]);
        eventually("the step runs", || runs(&["sleep", &seconds]));
        build.signal(signal);
        let output = build.wait();
        assert_eq!(output.code, 128 + signal.as_raw(), "{}", output.stderr);
        assert!(!runs(&["sleep", &seconds]));
        assert_eq!((lrun.ok(&["ps", "-aq"]).as_str(), unpublished(&lrun)), ("", Vec::new()));
        // What was made before is there.
        assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 2);
    }
}

#[test]
fn a_killed_build_takes_its_step_along_and_is_swept() {
    let lrun = Lrun::with_busybox();
    let seconds = format!("7{}", std::process::id());
    let dockerfile = format!("FROM busybox\nRUN echo 1 > /1\nRUN [\"sleep\", \"{seconds}\"]\n");
    let folder = context(&lrun, "killed", &dockerfile, &[]);
    let build = lrun.spawn(&["build", "--network", "none", folder.to_str().expect("UTF-8")]);
    eventually("the step runs", || runs(&["sleep", &seconds]));
    build.signal(Signal::KILL);
    build.wait();
    eventually("the step ends", || !runs(&["sleep", &seconds]));
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    let after = context(&lrun, "after", "FROM busybox\nRUN echo 2 > /2\n", &[]);
    built(&lrun, &after, &["-t", "after"]);
    assert_eq!(unpublished(&lrun), [""; 0]);
    assert_eq!(in_image(&lrun, "after", "cat /2"), "2");
    lrun.ok(&["system", "check"]);
}

#[test]
fn a_failed_steps_container_is_one_like_any_other() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN echo 1 > /1\nRUN echo 2 > /2; rm /1; echo told; exit 7\n";
    let folder = context(&lrun, "failed", dockerfile, &[]);
    assert_eq!(build(&lrun, &folder, &[]).code, 7);
    assert_eq!(unpublished(&lrun), [""; 0]);
    let id = lrun.ok(&["ps", "-aq"]);
    assert_eq!(lrun.inspect(&id, "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    assert_eq!((lrun.ok(&["diff", &id]).as_str(), lrun.ok(&["logs", &id]).as_str()), ("D /1\nA /2", "told"));
    lrun.ok(&["commit", &id, "rescued"]);
    assert_eq!(in_image(&lrun, "rescued", "ls /1 2>&1; cat /2"), "ls: /1: No such file or directory\n2");
    assert_eq!(lrun.run(&["start", "-a", &id]).code, 7);
    lrun.ok(&["system", "check"]);
    lrun.ok(&["rm", &id]);
    let again = build(&lrun, &folder, &[]);
    assert_eq!((again.code, cached(&again)), (7, 1), "{}", again.stderr);
}

#[test]
fn the_steps_of_a_build_share_a_user_namespace() {
    let lrun = Lrun::with_busybox();
    let step = "readlink /proc/self/ns/user; cat /proc/self/uid_map";
    let dockerfile = format!("FROM busybox\nRUN ({step}) > /one\nCOPY a /\nRUN ({step}) > /two\nRUN cmp /one /two\n");
    let folder = context(&lrun, "shared", &dockerfile, &[("a", "a")]);
    build_ok(&lrun, &folder, &[]);
}

#[test]
fn a_prune_beside_a_build_takes_nothing_from_it() {
    let lrun = Lrun::with_busybox();
    let steps: String = (0..12).map(|n| format!("RUN echo {n} > /{n}\nENV N={n}\n")).collect();
    let folder = context(&lrun, "pruned", &format!("FROM busybox\n{steps}"), &[]);
    let build = lrun.spawn(&["build", "--network", "none", "-t", "kept", folder.to_str().expect("UTF-8")]);
    for _ in 0..20 {
        lrun.ok(&["image", "prune", "-f"]);
    }
    let output = build.wait();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(in_image(&lrun, "kept", "cat /0 /11"), "0\n11");
}

#[test]
fn flags_that_are_not_served_are_refused() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "flags", "FROM busybox\nENV A=1\n", &[]);
    let folder = folder.to_str().expect("UTF-8");
    let own = lrun.inspect("busybox", "{{.Os}}/{{.Architecture}}");
    built(&lrun, Path::new(folder), &["--rm", "--load", "--platform", &own, "--progress=plain"]);
    for flags in [&["--platform", "linux/mips64,linux/arm64"][..], &["--rm=false"]] {
        let output = lrun.run(&[&["build"], flags, &[folder]].concat());
        // As a flag that is unknown, or as a value that cannot be had.
        assert!(matches!(output.code, 1 | 125), "{flags:?}: {}", output.code);
        assert!(output.stderr.starts_with("lrun: -"), "{flags:?}: {}", output.stderr);
        assert!(output.stderr.contains("\n  hint: "), "{flags:?}: {}", output.stderr);
    }
}

#[test]
fn what_is_wrong_in_a_dockerfile_is_shown() {
    let lrun = Lrun::with_busybox();
    for (dockerfile, said) in [
        ("FROM busybox\nRUNN true\n", "Dockerfile:2:1: unknown instruction: RUNN"),
        ("RUN true\n", "Dockerfile:1:1: no build stage in current context"),
        ("FROM busybox\nCOPY a\n", "Dockerfile:2:1: COPY requires at least two arguments"),
        ("FROM busybox\nENV ${\n", "Dockerfile:2:5: ENV must have two arguments"),
        (
            "FROM busybox AS itself\nCOPY --from=itself /x /\n",
            "Dockerfile:2:6: circular dependency detected on stage: itself",
        ),
        (
            "FROM busybox\nADD https://example.invalid/x /\n",
            "Dockerfile:2: ADD https://example.invalid/x /: https://example.invalid/x: https://example.invalid: ",
        ),
        ("FROM busybox\nRUN --mount=source=nothing,target=/x true\n", "Dockerfile:2:5: --mount: file not found"),
        ("FROM busybox\nRUN --security=insecure true\n", "Dockerfile:2:1: RUN --security=insecure: a container"),
        ("FROM --platform=a/b/c/d busybox\n", "Dockerfile:1:6: \"a/b/c/d\" is an invalid OS/ARCH"),
        ("", "Dockerfile:1:1: file with no instructions"),
    ] {
        let folder = context(&lrun, "wrong", dockerfile, &[]);
        let output = build(&lrun, &folder, &[]);
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{dockerfile}: {}", output.stderr);
        assert!(output.stderr.contains(said), "{dockerfile:?}: {}", output.stderr);
    }
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 1, "nothing was made");
}

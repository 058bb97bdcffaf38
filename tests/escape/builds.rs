//! Rows 2 and 7 once more, for what `build` starts: descriptors, working directories and capabilities of a step are as of
//! `run`. (Devices and the environment are with those of `run`.)

use std::fs;
use std::path::{Path, PathBuf};

use lrun_tests::build::{build, context};
use lrun_tests::{Output, Running, Tar, eventually, long, skip};

use crate::descriptors::{open_in, with_descriptors};
use crate::host::Host;
use crate::identity::{DEFAULT, capabilities};

/// A context with the attacker's program in it.
fn armed(host: &Host, dockerfile: &str) -> Option<PathBuf> {
    let weapon = host.weapon()?;
    let folder = context(&host.lrun, "context", dockerfile, &[]);
    fs::copy(weapon.split(':').next().expect("a path"), folder.join("attack")).expect("copy the attacker's program");
    Some(folder)
}

/// Starts a build of which nothing is cached, with the canary's folder open on 22 numbers.
fn start_with_descriptors(host: &Host, folder: &Path) -> Running {
    let folder = folder.to_str().expect("a UTF-8 path");
    with_descriptors(host, &["build", "--no-cache", "--network", "none", folder])
}

/// What the commands of a build wrote: the lines that begin with `> `.
#[track_caller]
fn shown(output: &Output) -> Vec<&str> {
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.stderr.lines().filter_map(|line| line.strip_prefix("> ")).collect()
}

/// Row 2, leaked descriptors: a step starts with its three streams, whatever is mounted for it and however its script is
/// given to it; nothing of what lrun inherits is open in any process of the build but lrun itself.
#[test]
fn inherited_descriptors_stop_before_a_step() {
    let host = Host::new();
    let dockerfile = "FROM busybox\nCOPY attack /\nRUN echo \"> $(/attack descriptors)\"\n\
        RUN [\"/attack\", \"descriptors\"]\n\
        RUN --mount=type=bind,target=/c --mount=type=cache,target=/d --mount=type=tmpfs,target=/e echo \"> $(/attack descriptors)\"\n\
        USER 1000\nRUN <<END\necho \"> $(/attack descriptors)\"\nEND\n";
    let Some(folder) = armed(&host, dockerfile) else { skip!("no gcc to compile the attacker's program") };
    let output = start_with_descriptors(&host, &folder).wait();
    // The shell's substitution has a pipe for its standard output, and nothing else.
    assert_eq!(shown(&output), ["0 1 2 "; 3], "{}", output.stderr);
    assert!(output.stderr.lines().any(|line| line == "0 1 2 "), "{}", output.stderr);

    fs::write(folder.join("Dockerfile"), "FROM busybox\nRUN touch /ready; sleep 1000\n").expect("a Dockerfile");
    let build = start_with_descriptors(&host, &folder);
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut found = Vec::new();
    eventually("the step runs", || {
        found = host.lrun.processes();
        found.iter().any(|(pid, _)| name(*pid) == "sleep\n")
    });
    let own = build.child.id();
    let inherited = open_in(own).into_iter().filter(|(_, to)| to.starts_with(host.canary.path())).count();
    assert!(found.len() > 2 && inherited == 22, "the attack reaches nothing: {inherited}, {found:?}");
    for (pid, why) in found.into_iter().filter(|(pid, _)| *pid != own) {
        let leaked: Vec<_> = open_in(pid).into_iter().filter(|(_, to)| to.starts_with(host.canary.path())).collect();
        assert!(leaked.is_empty(), "{why}: {leaked:?}");
    }
    build.signal(rustix::process::Signal::TERM);
    assert_ne!(build.wait().code, 0);
    host.unharmed();
}

/// Row 2, leaked working directory: neither does `WORKDIR /proc/self/fd/N` lead a step to the host, whatever number a
/// descriptor of lrun's or of its caller's has.
#[test]
fn no_working_directory_of_a_step_leads_out() {
    let host = Host::new();
    let numbers: Vec<u32> = if long() { (3..=64).collect() } else { vec![3, 4, 5, 6, 7, 8, 9, 24] };
    let mut directories: Vec<String> = numbers.iter().map(|n| format!("/proc/self/fd/{n}")).collect();
    directories.extend(["/proc/1/root", "/proc/self/fd/5/../../../.."].map(str::to_owned));
    let look = "RUN for d in . .. ../.. ../../../../..; do [ -e $d/private ] && echo '> ESCAPED'; \
                [ -e $d/canary ] && echo '> ESCAPED'; done; echo \"> $(/bin/pwd)\"\n";
    for directory in directories {
        let folder = context(&host.lrun, "context", &format!("FROM busybox\nWORKDIR {directory}\n{look}"), &[]);
        let output = start_with_descriptors(&host, &folder).wait();
        let refused = output.code != 0 && output.stderr.lines().any(|line| line.starts_with("lrun: "));
        assert!(refused || shown(&output).iter().all(|line| line.starts_with('/')), "{directory}: {output:?}");
        host.canary.check();
    }
    host.unharmed();
}

/// Row 2, leaked working directory: nor is anything copied or unpacked there, directly or through a link of the image's.
#[test]
fn nothing_is_copied_into_a_descriptor() {
    let host = Host::new();
    let mut dockerfile = "FROM busybox\nRUN for n in $(seq 3 64); do ln -s /proc/self/fd/$n /l$n; done\n".to_owned();
    for n in if long() { 3..=64 } else { 3..=12 } {
        dockerfile += &format!("ADD owned.tar /proc/self/fd/{n}/\nCOPY owned /l{n}/new\n");
    }
    dockerfile += "COPY --chown=1000 --chmod=777 owned owned.tar /proc/self/cwd/private/\nRUN echo \"> $(echo /l*)\"\n";
    let folder = context(&host.lrun, "context", &dockerfile, &[("owned", "owned\n")]);
    fs::write(folder.join("owned.tar"), Tar::new().file("open", b"owned\n").finish()).expect("an archive");
    let output = start_with_descriptors(&host, &folder).wait();
    assert_eq!(shown(&output).concat().split(' ').count(), 62, "{}", output.stderr);
    host.unharmed();
}

/// Row 7, capabilities: a step has what the first process of `run` has, as root and as another user; programs with file
/// capabilities, or setuid, gain nothing beyond.
#[test]
fn capability_sets_of_a_step_are_exact() {
    let host = Host::new();
    crate::identity::privileged_programs(&host);
    let show = |program: &str| format!("RUN {program} sed -n 's/^Cap/> Cap/p' /proc/self/status\n");
    let plain = show("busybox");
    for (user, own) in [("0", DEFAULT), ("root", DEFAULT), ("1000", 0), ("alice", 0), ("7:8", 0)] {
        let exec = format!("USER {user}\nRUN [\"sed\", \"-n\", \"s/^Cap/> Cap/p\", \"/proc/self/status\"]\n");
        let mounts = plain.replace("RUN ", "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t ");
        let folder = context(&host.lrun, "plain", &format!("FROM busybox\n{exec}{plain}{mounts}"), &[]);
        let output = build(&host.lrun, &folder, &[]);
        let lines = shown(&output);
        assert_eq!(lines.len(), 15, "{user}: {lines:?}");
        for sets in lines.chunks(5) {
            assert_eq!(capabilities(&sets.join("\n")), [0, own, own, DEFAULT, 0], "build as {user}");
        }
    }
    for program in ["/busybox-permitted", "/busybox-setuid"] {
        let folder = context(&host.lrun, "files", &format!("FROM hostile\nUSER 1000\n{}", show(program)), &[]);
        let output = build(&host.lrun, &folder, &[]);
        let [_, permitted, effective, bounding, ambient] = capabilities(&shown(&output).join("\n"));
        assert_eq!([permitted & !DEFAULT, effective & !DEFAULT, bounding, ambient], [0, 0, DEFAULT, 0], "{program}");
        // The attack works where it may; busybox gives up what setuid gave it.
        assert_eq!(permitted != 0, program == "/busybox-permitted");
    }
    let folder = context(&host.lrun, "files", &format!("FROM hostile\nUSER 1000\n{}", show("/busybox-effective")), &[]);
    let output = build(&host.lrun, &folder, &[]);
    assert!(output.code != 0 && output.stderr.contains("not permitted"), "{output:?}");
    host.unharmed();
}

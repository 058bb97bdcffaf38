//! `RUN --mount=type=ssh`: agents and keys that a step may use, and no image has.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use lrun_tests::build::{build, context, in_image, owner, written};
use lrun_tests::{Lrun, eventually};

/// An agent that has one key, signs everything, and answers whatever else it is asked with success.
fn agent(path: &Path) -> std::thread::JoinHandle<Vec<u8>> {
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        let (mut client, _) = listener.accept().expect("a client");
        let mut length = [0; 4];
        while client.read_exact(&mut length).is_ok() {
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            client.read_exact(&mut request).expect("a request");
            asked.push(request[0]);
            client.write_all(&[0, 0, 0, 3, b'k', b'e', b'y']).expect("it is answered");
        }
        asked
    })
}

#[test]
fn an_agent_is_reached_for_signing_only() {
    let mut lrun = Lrun::with_stage0();
    let socket = lrun.folder().join("agent.sock");
    // 11 asks for the keys, 13 for a signature, 19 is to remove all keys.
    let dockerfile = "FROM stage0\n\
        RUN --mount=type=ssh echo $SSH_AUTH_SOCK; stat -c '%F %u:%g %a' $SSH_AUTH_SOCK\n\
        RUN --mount=type=ssh,id=default,target=/agent,mode=0666,uid=7,gid=8 stat -c '%u:%g %a' /agent\n\
        RUN --mount=type=ssh,required <<EOF\n#!/usr/bin/perl\nuse IO::Socket::UNIX;\n\
        my $agent = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die;\n\
        for my $kind (11, 19, 13) {\n\
        syswrite $agent, pack('NC', 1, $kind);\nsysread $agent, my $answer, 100;\n\
        print join(' ', unpack('C*', $answer)), \"\\n\";\n}\nEOF\n\
        RUN --mount=type=ssh,id=other env | grep SSH || true\n";
    let folder = context(&lrun, "ssh", dockerfile, &[]);
    let serving = agent(&socket);
    lrun.set_env("SSH_AUTH_SOCK", socket.to_str().expect("UTF-8"));
    let lines = written(&lrun, &folder, &["-t", "ssh", "--ssh", "default"]);
    let (other, key, refused) = (format!("{} 666", owner("7:8")), "0 0 0 3 107 101 121", "0 0 0 1 5");
    assert_eq!(lines, ["/run/buildkit/ssh_agent.0", "socket 0:0 600", &other, key, refused, key]);
    assert_eq!(serving.join().expect("it ends"), [11, 13]);
    assert_eq!(in_image(&lrun, "ssh", "ls -d /run/buildkit /agent 2>/dev/null; true"), "");
    // Without one.
    let folder = context(&lrun, "required", "FROM stage0\nRUN --mount=type=ssh,required true\n", &[]);
    let output = build(&lrun, &folder, &[]);
    assert!(output.code == 1 && output.stderr.contains("no SSH key \"default\" forwarded"), "{}", output.stderr);
    let key = lrun.file("id_ed25519", "PRIVATE KEY");
    let output = build(&lrun, &folder, &["--ssh", &format!("default={}", key.to_str().expect("UTF-8"))]);
    let why = format!("--ssh default: give the key {} to an agent: ", key.display());
    assert!(output.code != 0 && output.stderr.contains(&why), "{}", output.stderr);
    lrun.set_env("SSH_AUTH_SOCK", "");
    let output = build(&lrun, &folder, &["--ssh", "default"]);
    assert!(output.code != 0 && output.stderr.contains("make sure SSH_AUTH_SOCK is set"), "{}", output.stderr);
}

#[test]
fn keys_are_served_by_an_agent_that_ends_with_the_build() {
    let lrun = Lrun::with_stage0();
    let key = lrun.folder().join("id_ed25519");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "of the test", "-f"])
        .arg(&key)
        .status();
    assert!(made.expect("ssh-keygen: hack/test installs it").success());
    // What others may read is no reason not to use it; a step is told its comment.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    let dockerfile = "FROM stage0\nRUN --mount=type=ssh,required <<EOF\n#!/usr/bin/perl\nuse IO::Socket::UNIX;\n\
        my $agent = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die;\n\
        syswrite $agent, pack('NC', 1, 11);\nsysread $agent, my $answer, 1000;\n\
        print unpack('x4C', $answer), ' ', unpack('x5N', $answer), ' ', substr($answer, -11), \"\\n\";\nEOF\n";
    let folder = context(&lrun, "keys", dockerfile, &[]);
    let given = format!("default={}", key.to_str().expect("UTF-8"));
    let lines = written(&lrun, &folder, &["-t", "keys", "--ssh", &given]);
    assert_eq!(lines, ["12 1 of the test"]);
    let name = lrun.folder().to_str().expect("UTF-8");
    let agents = || {
        let listed = Command::new("ps").args(["-eo", "args"]).output().expect("ps");
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        listed
            .lines()
            .filter(|line| line.contains("ssh-agent -D") || (line.contains(name) && line.contains("ssh")))
            .count()
    };
    assert_eq!(agents(), 0);
    // Also when the build was killed.
    let slow = context(&lrun, "slow", "FROM stage0\nRUN --mount=type=ssh,required echo begun; sleep 1000\n", &[]);
    let mut build = lrun.command(&["build", "--ssh", &given, slow.to_str().expect("UTF-8")]);
    let mut build = build.stderr(Stdio::piped()).spawn().expect("lrun");
    let mut lines = BufReader::new(build.stderr.take().expect("it is piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "begun")));
    assert_ne!(agents(), 0);
    build.kill().expect("it runs");
    build.wait().expect("it ends");
    eventually("the agent ends", || agents() == 0);
}

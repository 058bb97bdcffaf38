//! Standard streams of containers: pipes, terminals, attached clients, the log.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use lrun_tests::{Lrun, eventually, long};
use rustix::process::Signal;

fn log_has(lrun: &Lrun, container: &str, text: &str) {
    eventually("the log has it", || lrun.run(&["logs", container]).stdout.contains(text));
}

/// A process has a container's log open.
fn reads_a_log(pid: u32) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|file| file.ends_with("log")))
}

/// Bytes that are not all alike, in lines.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Tells the container to go on. It may end as soon as the file is there, and takes the command along.
fn go(lrun: &Lrun) {
    let touch = lrun.run(&["exec", "box", "touch", "/opt/go"]);
    assert!(matches!(touch.code, 0 | 137), "{}: {}", touch.code, touch.stderr);
}

#[test]
fn standard_input_ends_where_the_users_ends() {
    let lrun = Lrun::with_busybox();
    let output = lrun.run_with(b"x\n", &["run", "-i", "--rm", "busybox", "cat"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "x\n", ""));
    assert_eq!(lrun.run_with(b"", &["run", "-i", "--rm", "busybox", "cat"]).stdout, "");
    assert_eq!(lrun.run_with(b"x\n", &["run", "--rm", "busybox", "cat"]).stdout, "", "without -i there is none");
    let file = lrun.file("input", "from a file\n");
    let mut command = lrun.command(&["run", "-i", "--rm", "busybox", "cat"]);
    let output = command.stdin(fs::File::open(file).expect("open")).output().expect("run");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from a file\n");
    // What the program leaves unread holds nobody up.
    let output = lrun.run_with(&noise(4 << 20), &["run", "-i", "--rm", "busybox", "head", "-c", "3"]);
    assert_eq!((output.code, output.bytes.len()), (0, 3), "{}", output.stderr);
}

#[test]
fn a_hundred_mebibytes_go_both_ways_without_loss() {
    let lrun = Lrun::with_busybox();
    let input = noise(100 << 20);
    let output = lrun.run_with(&input, &["run", "-i", "--rm", "busybox", "cat"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(output.bytes == input, "{} bytes of {}", output.bytes.len(), input.len());
}

#[test]
fn output_goes_where_it_belongs_and_into_the_log() {
    let lrun = Lrun::with_busybox();
    let script = "echo out; echo err >&2; printf end";
    let both = lrun.run(&["run", "--name", "both", "busybox", "sh", "-c", script]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\nend", "err\n"));
    let only = lrun.run(&["run", "--name", "only", "-a", "stdout", "busybox", "sh", "-c", script]);
    assert_eq!((only.stdout.as_str(), only.stderr.as_str()), ("out\nend", ""));
    let other = lrun.run(&["run", "--name", "other", "-a", "stderr", "busybox", "sh", "-c", script]);
    assert_eq!((other.stdout.as_str(), other.stderr.as_str()), ("", "err\n"));
    for name in ["both", "only", "other"] {
        let log = lrun.run(&["logs", name]);
        assert_eq!((log.code, log.stdout.as_str(), log.stderr.as_str()), (0, "out\nend", "err\n"), "{name}");
    }
    // Into a file, at its end.
    let file = lrun.file("all", "before\n");
    let open = || fs::OpenOptions::new().append(true).open(&file).expect("open");
    let mut command = lrun.command(&["logs", "both"]);
    assert!(command.stdout(open()).stderr(open()).status().expect("run").success());
    let all = fs::read_to_string(&file).expect("the file");
    assert!(all.starts_with("before\n") && all.len() == "before\nout\nerr\nend".len(), "{all}");
    let mut command = lrun.command(&["run", "--rm", "busybox", "seq", "200000"]);
    assert!(command.stdout(open()).status().expect("run").success());
    assert!(fs::read_to_string(&file).expect("the file").ends_with("\n199999\n200000\n"));
    for args in [&["run", "--rm", "busybox", "echo", "x"][..], &["ps", "-a"], &["inspect", "both"], &["logs", "both"]] {
        let mut command = lrun.command(args);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("open");
        let output = command.stdout(full).stderr(Stdio::piped()).output().expect("run");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains("no space left on device"), "{args:?}: {message}");
    }
}

#[test]
fn the_log_is_shown_by_lines_by_time_and_as_it_grows() {
    let mut lrun = Lrun::with_busybox();
    let wait = "while [ ! -e /opt/go ]; do sleep 0.02; done";
    lrun.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &format!("seq 5; {wait}; echo late; exit 3")]);
    log_has(&lrun, "box", "5\n");
    assert_eq!(lrun.ok(&["logs", "-n", "2", "box"]), "4\n5");
    assert_eq!(lrun.ok(&["logs", "--tail=0", "box"]), "");
    assert_eq!(lrun.ok(&["logs", "--tail", "all", "box"]), "1\n2\n3\n4\n5");
    assert_eq!(lrun.ok(&["logs", "--details", "-n", "1", "box"]), " 5");
    let timed = lrun.ok(&["logs", "-t", "-n", "1", "box"]);
    let (time, line) = timed.split_once(' ').expect("a time");
    assert!(time.len() == 30 && time.ends_with('Z') && line == "5", "{timed}");
    let followers = [lrun.spawn(&["logs", "-f", "-n", "1", "box"]), lrun.spawn(&["logs", "--follow", "box"])];
    // One that comes late begins with what was last by then.
    eventually("both read the log", || followers.iter().all(|follower| reads_a_log(follower.child.id())));
    go(&lrun);
    let [tail, all] = followers.map(|follower| follower.wait());
    assert_eq!((tail.code, tail.stdout.as_str()), (0, "5\nlate\n"), "{}", tail.stderr);
    assert_eq!((all.code, all.stdout.as_str()), (0, "1\n2\n3\n4\n5\nlate\n"), "the container's exit code is its own");
    assert_eq!(lrun.run(&["logs", "-f", "box"]).code, 0, "nothing more will come");
    assert_eq!(lrun.ok(&["logs", "--since", "1h", "box"]).lines().count(), 6);
    assert_eq!(lrun.ok(&["logs", "--since", "2100-01-01", "box"]), "");
    assert_eq!(lrun.ok(&["logs", "--until", "1h", "box"]), "");
    assert_eq!(lrun.ok(&["logs", "--since", time, "--until", time, "box"]), "1\n2\n3\n4\n5");
    lrun.set_env("TZ", "EAST-1");
    let local = time.trim_end_matches('Z');
    assert_eq!(lrun.ok(&["logs", "--until", local, "box"]), "", "the user's clock is an hour ahead");
    assert!(lrun.fails(1, &["logs", "--since", "sometime", "box"]).starts_with("lrun: invalid time \"sometime\"\n"));
    assert!(lrun.fails(1, &["logs", "nobody"]).starts_with("lrun: No such container: nobody\n"));
    lrun.ok(&["create", "--name", "fresh", "busybox", "true"]);
    assert_eq!(lrun.ok(&["logs", "-f", "fresh"]), "");
}

#[test]
fn every_attached_client_gets_the_output_and_the_exit_code() {
    let lrun = Lrun::with_busybox();
    let script = "while [ ! -e /opt/go ]; do sleep 0.02; done; seq 100000; echo err >&2; exit 9";
    lrun.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    let clients: Vec<_> = (0..4).map(|_| lrun.spawn(&["attach", "box"])).collect();
    eventually("all are connected", || clients.iter().all(|client| client.catches(Signal::USR1)));
    go(&lrun);
    for client in clients {
        let output = client.wait();
        assert_eq!((output.code, output.stderr.as_str()), (9, "err\n"));
        assert!(output.stdout.starts_with("1\n2\n") && output.stdout.ends_with("99999\n100000\n"));
        assert_eq!(output.stdout.lines().count(), 100_000);
    }
}

#[test]
fn a_detached_container_takes_input_from_whoever_attaches() {
    let lrun = Lrun::with_busybox();
    let script = "while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 4; done";
    lrun.ok(&["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script]);
    let mut first = lrun.spawn(&["attach", "box"]);
    let mut input = first.stdin();
    input.write_all(b"one\n").expect("write");
    log_has(&lrun, "box", "got one\n");
    let mut listener = lrun.spawn(&["attach", "--no-stdin", "box"]);
    drop(listener.stdin());
    drop(input);
    let mut second = lrun.spawn(&["attach", "box"]);
    second.stdin().write_all(b"two\nend\n").expect("write");
    let second = second.wait();
    assert_eq!(second.code, 4, "{}", second.stderr);
    assert_eq!(
        lrun.run(&["logs", "box"]).stdout,
        "got one\ngot two\ngot end\n",
        "its input stays open between clients"
    );
    assert_eq!((first.wait().code, listener.wait().code), (4, 4));
}

#[test]
fn detach_keys_leave_the_container_running_and_it_is_attached_again() {
    let lrun = Lrun::with_busybox();
    let mut terminal = lrun.pty(&["run", "-ti", "--name", "box", "busybox", "sh"]);
    terminal.expect("# ");
    terminal.line("variable=kept; echo v=$variable");
    terminal.expect("v=kept");
    terminal.send("\x10\x11");
    assert_eq!(terminal.finish().1, 0);
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "running");

    let mut terminal = lrun.pty(&["attach", "--detach-keys", "ctrl-x,x", "box"]);
    terminal.line("echo again=$variable");
    terminal.expect("again=kept");
    // The default keys are ordinary ones now, and half of the sequence is, too.
    terminal.send("\x10\x18");
    terminal.line("echo still here $((20 + 3))");
    terminal.expect("still here 23");
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "running");
    terminal.send("\x18x");
    assert_eq!(terminal.finish().1, 0);

    let mut terminal = lrun.pty(&["attach", "--detach-keys=", "box"]);
    terminal.line("echo $((30 + 4)) none");
    terminal.expect("34 none");
    terminal.line("exit 6");
    assert_eq!(terminal.finish().1, 6);
    let mut terminal = lrun.pty(&["start", "-ai", "box"]);
    terminal.expect("# ");
    terminal.line("exit 2");
    assert_eq!(terminal.finish().1, 2);
    lrun.fails(125, &["run", "--detach-keys", "nonsense", "busybox", "true"]);
}

#[test]
fn a_terminal_is_one_stream_with_its_own_line_ends() {
    let lrun = Lrun::with_busybox();
    let output =
        lrun.run(&["run", "-t", "--name", "box", "busybox", "sh", "-c", "echo out; echo err >&2; tty; test -t 0"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "out\r\nerr\r\n/dev/pts/0\r\n"), "{}", output.stderr);
    let log = lrun.run(&["logs", "box"]);
    assert_eq!((log.stdout.as_str(), log.stderr.as_str()), ("out\r\nerr\r\n/dev/pts/0\r\n", ""));
    let refused = lrun.fails(1, &["run", "-ti", "busybox", "true"]);
    assert!(refused.contains("the input device is not a TTY"), "{refused}");
}

#[test]
fn a_client_that_does_not_read_stalls_the_container_and_a_dead_one_does_not() {
    let lrun = Lrun::with_busybox();
    let script = "n=0; while :; do n=$((n+1)); echo $n > /opt/n; head -c 65536 /dev/zero; done";
    let mut client = lrun.command(&["run", "--name", "box", "busybox", "sh", "-c", script]);
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("run");
    let count = || lrun.run(&["exec", "box", "cat", "/opt/n"]).stdout.trim().parse::<u64>().unwrap_or(0);
    eventually("it has begun", || count() > 0);
    // However long that takes: the count comes to rest.
    let (mut last, mut since) = (count(), Instant::now());
    eventually("it stalls", || {
        let now = count();
        if std::mem::replace(&mut last, now) != now {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_millis(500)
    });
    assert!(last < 1000, "{last} times 64 KiB are in no pipe");
    let mut some = vec![0; 1 << 20];
    let mut stdout = client.stdout.take().expect("piped");
    stdout.read_exact(&mut some).expect("read");
    eventually("it goes on as far as was read", || count() > last);
    client.kill().expect("kill");
    client.wait().expect("wait");
    let stalled = count();
    eventually("it goes on without a client", || count() > stalled + 1000);
    drop(stdout);
}

#[test]
fn a_reader_that_has_enough_ends_the_client_and_not_the_container() {
    let lrun = Lrun::with_busybox();
    let mut client =
        lrun.command(&["run", "--name", "box", "busybox", "sh", "-c", "while echo yes; do sleep 0.01; done"]);
    let mut client = client.stdout(Stdio::piped()).spawn().expect("run");
    let mut stdout = client.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 4]).expect("read");
    drop(stdout);
    assert_eq!(client.wait().expect("wait").code(), Some(141), "as SIGPIPE would end it");
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "running");
    let mut follower = lrun.command(&["logs", "-f", "box"]).stdout(Stdio::piped()).spawn().expect("logs");
    drop(follower.stdout.take());
    assert_eq!(follower.wait().expect("wait").code(), Some(141));
}

#[test]
fn the_log_is_bounded_when_it_shall_be_and_says_so() {
    let lrun = Lrun::with_busybox();
    let flags = ["--log-opt", "max-size=64k", "--log-opt", "max-file=3"];
    let args = [&["run", "-d", "--name", "box"][..], &flags, &["busybox", "yes", "a line of output"]].concat();
    lrun.ok(&args);
    let folder = lrun.store().join("containers").join(lrun.inspect("box", "{{.Id}}"));
    let logs = || -> Vec<u64> {
        let entries = fs::read_dir(&folder).expect("the container").flatten();
        let logs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("log"));
        logs.filter_map(|entry| Some(entry.metadata().ok()?.len())).collect()
    };
    let shown = || lrun.run(&["logs", "-n", "1", "box"]).stdout;
    eventually("it has rotated", || logs().len() == 3);
    let init = lrun.inspect("box", "{{.State.Pid}}");
    let stat = fs::read_to_string(format!("/proc/{init}/stat")).expect("it runs");
    let monitor = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).expect("a parent").to_owned();
    let resident = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{monitor}/status")).expect("the monitor");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    // A minute of it with `--long`.
    for _ in 0..if long() { 6000 } else { 200 } {
        let logs = logs();
        assert!(logs.len() <= 4 && logs.iter().sum::<u64>() <= 4 * 64 * 1024, "{logs:?}");
        assert!(resident() < 4096, "{} kB", resident());
        std::thread::sleep(Duration::from_millis(10));
    }
    let last = shown();
    assert!("a line of output\n".starts_with(&last) && !last.is_empty(), "{last:?}");
    lrun.ok(&["kill", "box"]);
    lrun.ok(&["wait", "box"]);
    let log = lrun.run(&["logs", "box"]);
    assert!(log.stderr.contains(" bytes of older output are gone: the log is limited"), "{}", log.stderr);
    let first = log.stdout.lines().next();
    assert_eq!(first, Some("a line of output"), "what is left begins with a whole line");
}

/// As docker's documents have it: the id, once the container has ended, and nothing else.
#[test]
fn attached_to_standard_input_alone_it_waits_and_prints_the_id() {
    let lrun = Lrun::with_busybox();
    let args = ["run", "-i", "-a", "stdin", "--name", "box", "busybox", "sh", "-c", "cat; echo to err >&2; exit 3"];
    let output = lrun.run_with(b"piped\n", &args);
    assert_eq!((output.code, output.stderr.as_str()), (3, ""));
    assert_eq!(output.stdout, format!("{}\n", lrun.inspect("box", "{{.Id}}")));
    assert_eq!(lrun.inspect("box", "{{.State.Status}}"), "exited");
    let log = lrun.run(&["logs", "box"]);
    assert_eq!((log.stdout.as_str(), log.stderr.as_str()), ("piped\n", "to err\n"));
}

#[test]
fn a_log_in_many_files_has_every_byte() {
    let lrun = Lrun::with_busybox();
    let flags = ["--log-opt", "max-size=64k", "--log-opt", "max-file=1000"];
    let args = [&["run", "-d", "--name", "box"][..], &flags, &["busybox", "seq", "300000"]].concat();
    lrun.ok(&args);
    let followed = lrun.spawn(&["logs", "-f", "box"]).wait();
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    assert!(followed.stdout == expected, "{} bytes of {}: {}", followed.stdout.len(), expected.len(), followed.stderr);
    let log = lrun.run(&["logs", "box"]);
    assert_eq!(log.stderr, "");
    assert!(log.stdout == expected);
    assert_eq!(lrun.ok(&["logs", "-n", "3", "box"]), "299998\n299999\n300000");
}

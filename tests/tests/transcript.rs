//! The session of the README, typed on a real terminal: import, run, ps, diff, commit, run again.

use lrun_tests::{Canary, Lrun};

/// The first column of a prompt such as `root@4c1c0ee8492b:/# `.
fn short_id(prompt: &str) -> String {
    let (_, id) = prompt.rsplit_once("root@").expect("a prompt");
    id.chars().take(12).collect()
}

#[test]
fn the_session_of_the_readme() {
    let lrun = Lrun::new();
    let canary = Canary::new(lrun.folder());
    let id = lrun.import("stage0.tar", "stage0");
    let hex = id.strip_prefix("sha256:").expect("an image id");
    assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");

    let first = delete_files_on_a_terminal(&lrun);
    let second = look_again_on_a_terminal(&lrun);
    the_table_of_containers(&lrun, &first, &second);
    the_differences(&lrun);

    let committed = lrun.ok(&["commit", "deleting_files", "image_with_files_deleted"]);
    assert!(committed.starts_with("sha256:") && committed != id, "{committed}");
    the_table_of_images(&lrun, &id, &committed);
    the_history(&lrun);

    let gone = lrun.run(&["run", "--rm", "image_with_files_deleted", "ls", "/usr/share/doc"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (2, ""));
    assert!(gone.stderr.contains("cannot access '/usr/share/doc': No such file or directory"), "{}", gone.stderr);
    assert_eq!(lrun.ok(&["run", "--rm", "image_with_files_deleted", "cat", "/opt/x"]), "hi");
    assert!(lrun.ok(&["run", "--rm", "stage0", "ls", "/usr/share/doc"]).contains("bash"));
    assert_eq!(lrun.ok(&["ps", "-aq"]).lines().count(), 2, "--rm leaves nothing");
    canary.check();
}

fn delete_files_on_a_terminal(lrun: &Lrun) -> String {
    let mut terminal = lrun.pty(&["run", "-ti", "--name", "deleting_files", "stage0", "bash"]);
    let prompt = terminal.expect(":/# ");
    let id = short_id(&prompt);
    terminal.line("cd /opt && rm -rf /usr/share/doc && echo hi > x && exit");
    let (rest, code) = terminal.finish();
    assert_eq!(code, 0, "{rest}");
    id
}

fn look_again_on_a_terminal(lrun: &Lrun) -> String {
    let mut terminal = lrun.pty(&["run", "-ti", "stage0", "bash"]);
    let id = short_id(&terminal.expect(":/# "));
    terminal.line("ls -d /usr/share/doc/bash /opt/x");
    terminal.expect("\r\n/usr/share/doc/bash");
    terminal.expect(":/# ");
    terminal.line("exit 0");
    assert_eq!(terminal.finish().1, 0);
    id
}

fn the_table_of_containers(lrun: &Lrun, first: &str, second: &str) {
    let table = lrun.ok(&["ps", "-a"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let header: Vec<&str> = lines[0].split("   ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(header, ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    for (line, id) in [(lines[1], second), (lines[2], first)] {
        assert!(line.starts_with(id), "newest first: {table}");
        assert!(line.contains("stage0    \"bash\"    "), "{line}");
        let created = line.split_once(" ago ").map(|(_, status)| status.trim_start());
        assert!(created.is_some_and(|status| status.starts_with("Exited (0) ")), "{line}");
    }
    assert!(lines[2].ends_with(" deleting_files"), "{table}");
    let name = lines[1].split_whitespace().last().expect("a name");
    assert!(name.split_once('_').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()), "an invented name: {name}");
    assert_eq!(lines[0].find("NAMES"), lines[1].find(name), "columns line up");
}

fn the_differences(lrun: &Lrun) {
    let differences = lrun.ok(&["diff", "deleting_files"]);
    let mut lines: Vec<&str> = differences.lines().collect();
    lines.sort_unstable();
    // bash writes its history only when it has a home that it can write to; nothing else may appear.
    lines.retain(|line| !matches!(*line, "C /root" | "A /root/.bash_history"));
    assert_eq!(lines, ["A /opt/x", "C /opt", "C /usr", "C /usr/share", "D /usr/share/doc"]);
}

fn the_table_of_images(lrun: &Lrun, imported: &str, committed: &str) {
    let table = lrun.ok(&["images"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]);
    assert_eq!(lines.len(), 3, "{table}");
    for (line, name, id) in [(&lines[1], "image_with_files_deleted", committed), (&lines[2], "stage0", imported)] {
        assert_eq!(line[..3], [name, "latest", &id["sha256:".len()..][..12]], "newest first: {table}");
        assert!(line.last().is_some_and(|size| size.ends_with("MB")), "{table}");
    }
}

fn the_history(lrun: &Lrun) {
    let table = lrun.ok(&["history", "image_with_files_deleted"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    for column in ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"] {
        assert!(lines[0].contains(column), "{table}");
    }
    assert!(lines[1].contains("bash"), "the command that made the layer: {table}");
}

/// Real packages from the network, in whatever id mapping this user has. It needs the distribution's archive.
#[test]
fn a_compiler_is_installed_and_used() {
    let lrun = Lrun::with_stage0();
    let script = "set -e; apt-get update -q; apt-get install -q -y gcc libc6-dev; cd /tmp
        printf '#include <stdio.h>\\nint main(void) { puts(\"hello from inside\"); return 42; }\\n' > hello.c
        gcc -o hello hello.c; ./hello";
    let output = install(&lrun, script);
    assert_eq!(output.code, 42, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.ends_with("\nhello from inside\n"), "{}", output.stdout);
}

/// Longer than other commands may take.
fn install(lrun: &Lrun, script: &str) -> lrun_tests::Output {
    lrun.run_for(std::time::Duration::from_secs(600), &["run", "--rm", "stage0", "sh", "-c", script])
}

#[test]
fn the_window_size_is_there_before_the_program_and_follows() {
    let lrun = Lrun::with_stage0();
    let terminal = lrun.pty(&["run", "-ti", "--rm", "stage0", "stty", "size"]);
    let (shown, code) = terminal.finish();
    assert_eq!((shown.as_str(), code), ("24 80\r\n", 0));

    let mut terminal = lrun.pty(&["run", "-ti", "--rm", "stage0", "bash"]);
    terminal.expect(":/# ");
    terminal.line("trap 'echo now $(stty size)' WINCH; echo trap is $((1 + 1))");
    terminal.expect("trap is 2");
    // Before it prompts, readline reads the terminal's size and sets it again: a change between the two would be undone.
    terminal.expect(":/# ");
    terminal.resize(50, 132);
    terminal.line("");
    terminal.expect("now 50 132");
    terminal.line("exit 3");
    assert_eq!(terminal.finish().1, 3);
}

#[test]
fn ctrl_c_job_control_and_end_of_file_work() {
    let lrun = Lrun::with_stage0();
    let mut terminal = lrun.pty(&["run", "-ti", "--rm", "stage0", "bash"]);
    terminal.expect(":/# ");
    terminal.line("sleep 1000; echo ended with $?");
    terminal.expect("\n");
    wait_for_process(&lrun, "sleep 1000");
    terminal.send("\x03");
    terminal.expect("^C");
    terminal.expect(":/# ");
    terminal.line("sleep 2000");
    wait_for_process(&lrun, "sleep 2000");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect(":/# ");
    terminal.line("jobs; fg");
    terminal.expect("sleep 2000");
    terminal.expect("sleep 2000");
    lrun_tests::eventually("it is in the foreground again", || {
        let id = lrun.ok(&["ps", "-q"]);
        let processes = lrun.run(&["top", &id, "-eo", "stat,args"]).stdout;
        // Whoever runs the tests with another priority sees a letter between the two.
        let foreground = |stat: &str| stat.starts_with('S') && stat.contains('+');
        processes
            .lines()
            .filter_map(|line| line.split_once(' '))
            .any(|(stat, args)| foreground(stat) && args.trim() == "sleep 2000")
    });
    terminal.send("\x03");
    terminal.expect("^C");
    // The shell reads keys itself from the prompt on; before that, the terminal would take this one.
    terminal.expect(":/# ");
    terminal.send("\x04");
    let (rest, code) = terminal.finish();
    assert!(rest.contains("exit"), "{rest}");
    assert_eq!(code, 130, "the shell ends with the status of the last command, which was interrupted");
}

/// Waits until the only container has a process with this command line.
fn wait_for_process(lrun: &Lrun, command: &str) {
    lrun_tests::eventually(command, || {
        let id = lrun.ok(&["ps", "-q"]);
        !id.is_empty() && lrun.run(&["top", &id, "-eo", "args"]).stdout.lines().any(|line| line == command)
    });
}

#[test]
fn a_full_screen_program_leaves_the_terminal_as_it_was() {
    let lrun = Lrun::with_busybox();
    let mut terminal = lrun.pty(&["run", "-ti", "--rm", "busybox", "vi", "/tmp/note"]);
    terminal.expect("/tmp/note");
    terminal.send("ihello\x1b");
    terminal.expect("[Modified]");
    terminal.send(":wq\r");
    lrun_tests::eventually("vi ends", || terminal.child.try_wait().expect("wait").is_some());
    assert!(terminal.is_cooked(), "the terminal's modes are put back");
    assert_eq!(terminal.finish().1, 0);
}

#[test]
fn a_hang_up_reaches_the_program() {
    let lrun = Lrun::with_stage0();
    let mut terminal = lrun.pty(&["run", "-ti", "--name", "gone", "stage0", "bash"]);
    terminal.expect(":/# ");
    let mut child = terminal.close();
    lrun_tests::eventually("the client ends", || child.try_wait().expect("wait").is_some());
    lrun_tests::eventually("bash ends with its terminal", || lrun.inspect("gone", "{{.State.Status}}") == "exited");
}

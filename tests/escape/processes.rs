//! Rows 1 and 18, seen from inside: a container sees and reaches no process but its own.

use std::fs;

use crate::host::Host;

/// The parent of a process of the host.
fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).expect("its parent")
}

/// Rows 1 and 18, processes: neither the monitor nor the network helper nor what waits for `exec` on the host is visible
/// inside, so that a root which may trace and kill has nothing of theirs to open, and nobody to trace or kill.
#[test]
fn a_container_sees_only_its_own_processes() {
    let host = Host::new();
    for options in
        [&[][..], &["--init"], &["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"], &["--network", "host"]]
    {
        let run = ["run", "-d", "--name", "inside"];
        host.lrun.ok(&[&run, options, &["busybox", "sleep", "1000"]].concat());
        let init: i32 = host.lrun.inspect("inside", "{{.State.Pid}}").parse().expect("a process id");
        let monitor = parent(init);
        let names =
            host.lrun.ok(&["exec", "inside", "sh", "-c", "for p in /proc/[0-9]*; do cat $p/comm; done 2>/dev/null"]);
        let known = ["sleep", "sh", "cat", "lrun-init"];
        assert!(names.lines().all(|name| known.contains(&name)), "{options:?}: {names}");
        let outside = ["lrun-monitor", "pasta", "passt"];
        assert!(!names.lines().any(|name| outside.iter().any(|other| name.contains(other))), "{options:?}: {names}");
        // By their numbers on the host, which mean nothing inside.
        for pid in [monitor, init, std::process::id() as i32] {
            let script = format!(
                "[ {pid} -gt 100 ] || exit 9; [ -e /proc/{pid} ] && echo SEEN; kill -9 {pid} && echo KILLED; true"
            );
            let output = host.lrun.run(&["exec", "inside", "sh", "-c", &script]);
            assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{options:?}: {output:?}");
        }
        // Everything that may be signalled is the container's. Below an init, that ends it.
        if !options.contains(&"--init") {
            host.lrun.run(&["exec", "inside", "sh", "-c", "kill -KILL -1"]);
            assert_eq!(host.lrun.inspect("inside", "{{.State.Status}}"), "running", "{options:?}");
            assert_eq!(parent(init), monitor, "{options:?}: the monitor lives");
        }
        host.lrun.ok(&["rm", "-f", "inside"]);
    }
    host.unharmed();
}

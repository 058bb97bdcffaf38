//! Rows 14 and 18: system calls that reach the kernel past the filter, and nested namespaces. Rows 16 and 17: kernel
//! settings and kernel files.

use std::fs;

use libc::c_long;
use lrun_tests::{Mode, mode, skip};
use syscalls::Sysno;

use crate::host::Host;

const EPERM: &str = "-1";
const ENXIO: &str = "-6";
const ENOSYS: &str = "-38";
/// Set beyond the 32 bits that the kernel reads.
const UPPER: u64 = 1 << 32;

/// Results of calls made inside: by the first process of a container with these options, or by `exec` in `in_container`.
fn probe(host: &Host, weapon: &str, options: &[&str], in_container: Option<&str>, calls: &[String]) -> Vec<String> {
    let input = calls.iter().map(|call| format!("{call}\n")).collect::<String>();
    let run = [&["run", "-i", "--rm", "--network", "none", "-v", weapon][..], options, &["busybox"]].concat();
    let args = match in_container {
        Some(name) => vec!["exec", "-i", name],
        None => run,
    };
    let output = host.lrun.run_with(input.as_bytes(), &[&args[..], &["/attack", "probe"]].concat());
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let results: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    assert_eq!(results.len(), calls.len(), "{results:?}");
    results
}

fn call(number: c_long, arguments: &[u64]) -> String {
    let arguments: String = arguments.iter().map(|argument| format!(" {argument:#x}")).collect();
    format!("native {number}{arguments}")
}

/// Calls that nothing in a container needs, or only with a capability that it does not have: all that the default profile
/// refuses whatever their arguments, written down independently of it. Those that this architecture does not have are
/// left out.
const REFUSED: &str = include_str!("../../runtime/src/sandbox/seccomp/tests/refused.txt");

/// The numbers of the refused calls.
fn refused_numbers() -> Vec<c_long> {
    REFUSED.split_whitespace().filter_map(|name| Some(name.parse::<Sysno>().ok()?.id().into())).collect()
}

/// Calls that the default profile names to refuse them, or to allow them with a capability that a container does not have,
/// without those of which only some arguments are refused.
fn refused_by_the_profile() -> Vec<&'static str> {
    let profile = include_str!("../../runtime/seccomp/default.profile");
    let by_arguments = ["clone", "personality", "socket", "ioctl"];
    let names = profile.lines().filter_map(|line| match line.split_once(' ')? {
        ("refuse", names) => Some(names),
        ("grant", rest) => {
            rest.split_once(" : ").filter(|(capabilities, _)| *capabilities != "SYS_CHROOT").map(|(_, names)| names)
        }
        _ => None,
    });
    let known = |name: &&str| name.parse::<Sysno>().is_ok() && !by_arguments.contains(name) && *name != "clone3";
    names.flat_map(str::split_whitespace).filter(known).collect()
}

/// Row 14, filter bypass: every refused call is refused for the first process and for what `exec` adds, for root and for
/// another user, with whatever arguments; and without the filter most of them answer differently.
#[test]
fn refused_calls_are_refused_everywhere() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let unlisted: Vec<&str> = refused_by_the_profile()
        .into_iter()
        .filter(|name| !REFUSED.split_whitespace().any(|known| known == *name))
        .collect();
    assert!(unlisted.is_empty(), "the profile refuses {unlisted:?}, which nobody tries here");
    let refused = refused_numbers();
    assert!(
        refused.len() > 50
            && (cfg!(not(target_arch = "x86_64")) || refused.len() == REFUSED.split_whitespace().count())
    );
    // Newer kernels (6.18 does) ask no filter about this one; they refuse it to all but their own code for probes.
    let uprobe = "uprobe".parse::<Sysno>().ok().map(|call| call.id());
    let shapes: [&[u64]; 3] = [&[u64::MAX; 6], &[], &[UPPER; 6]];
    let calls: Vec<String> = shapes.iter().flat_map(|args| refused.iter().map(|number| call(*number, args))).collect();
    host.lrun.ok(&["run", "-d", "--name", "probed", "--network", "none", "-v", &weapon, "busybox", "sleep", "1000"]);
    host.lrun.ok(&[
        "run",
        "-d",
        "--name",
        "user",
        "-u",
        "1000",
        "--init",
        "--network",
        "none",
        "-v",
        &weapon,
        "busybox",
        "sleep",
        "1000",
    ]);
    for (options, container) in
        [(&[][..], None), (&["-u", "1000"], None), (&["--init"], None), (&[], Some("probed")), (&[], Some("user"))]
    {
        let results = probe(&host, &weapon, options, container, &calls);
        for (call, result) in calls.iter().zip(results) {
            let passed_by = uprobe.is_some_and(|number| call.starts_with(&format!("native {number}")));
            let refused = result == EPERM || passed_by && [ENXIO, "signal 4"].contains(&result.as_str());
            assert!(refused, "{call} in {container:?} with {options:?}: {result}");
        }
    }
    let free = ["--security-opt", "seccomp=unconfined", "--cap-add", "ALL"];
    let results = probe(&host, &weapon, &free, None, &calls[..refused.len()]);
    let answered = results.iter().filter(|result| *result != EPERM).count();
    assert!(answered * 2 > refused.len(), "the attack proves nothing: without a filter {results:?}");
    host.unharmed();
}

/// Row 14, filter bypass: calls of another ABI, on which argument rules would not hold, do not exist, whatever their
/// number; nor do numbers beyond those that the filter knows. Nothing is killed.
#[test]
fn foreign_abis_and_unknown_numbers_do_not_exist() {
    if !cfg!(target_arch = "x86_64") {
        skip!("only x86_64 has the ABIs that are tried here");
    }
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let minus = " -1 -1 -1 -1 -1 -1";
    let mut calls: Vec<String> = (0..600).map(|number| format!("i386 {number}{minus}")).collect();
    calls.extend((0..600).map(|number| format!("native {}{minus}", 0x4000_0000u64 + number)));
    // A new call is unknown as well, and so is clone3, whose flags no filter sees.
    let unknown = (471..600).chain([libc::SYS_clone3, 1000, 4096, 0xffff]);
    calls.extend(unknown.map(|number| format!("native {number}{minus}")));
    host.lrun.ok(&["run", "-d", "--name", "probed", "--network", "none", "-v", &weapon, "busybox", "sleep", "1000"]);
    for container in [None, Some("probed")] {
        for (call, result) in calls.iter().zip(probe(&host, &weapon, &[], container, &calls)) {
            assert_eq!(result, ENOSYS, "{call}");
        }
    }
    host.unharmed();
}

/// Row 14, filter bypass: rules on arguments look at what the kernel reads; bits beyond it change nothing.
#[test]
fn bits_that_the_kernel_does_not_read_do_not_help() {
    const TIOCSTI: u64 = 0x5412;
    const TIOCLINUX: u64 = 0x541c;
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let mut calls = Vec::new();
    for upper in [0, UPPER, 0xffff_ffff << 32] {
        calls.extend([38, 40].map(|family| call(libc::SYS_socket, &[upper | family, 1, 0])));
        calls.extend([TIOCSTI, TIOCLINUX].map(|request| call(libc::SYS_ioctl, &[0, upper | request, 0])));
        calls.extend(
            [0x4_0000, 0x80_0000, 1, 6, 0x2_0001].map(|persona| call(libc::SYS_personality, &[upper | persona])),
        );
        calls.extend(NAMESPACES.map(|flag| call(libc::SYS_clone, &[upper | flag | 17, 0, 0, 0, 0])));
    }
    for (call, result) in calls.iter().zip(probe(&host, &weapon, &[], None, &calls)) {
        assert_eq!(result, EPERM, "{call}");
    }
    host.unharmed();
}

/// `CLONE_NEW…`: mount, cgroup, UTS, IPC, user, PID, network.
const NAMESPACES: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/// Row 18, kernel bugs reached through nested namespaces: there is no way to make one, or to join one, by unshare, clone,
/// clone3 or setns; not even for another user, who in `single` mode is in such a namespace already.
#[test]
fn no_namespace_is_made_inside() {
    const NEWTIME: u64 = 0x80;
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    let mut calls: Vec<String> =
        NAMESPACES.iter().chain(&[NEWTIME, 0]).map(|flag| call(libc::SYS_unshare, &[*flag])).collect();
    calls.extend(NAMESPACES.map(|flag| call(libc::SYS_clone, &[flag | 17, 0, 0, 0, 0])));
    calls.push(call(libc::SYS_setns, &[0, 0]));
    let refused = calls.len();
    calls.push(call(libc::SYS_clone3, &[0, 0]));
    calls.push(call(libc::SYS_clone3, &[0, 88]));
    for options in [&[][..], &["-u", "1000"], &["--init"]] {
        let results = probe(&host, &weapon, options, None, &calls);
        for (n, (call, result)) in calls.iter().zip(results).enumerate() {
            assert_eq!(result, if n < refused { EPERM } else { ENOSYS }, "{call} with {options:?}");
        }
    }
    let free = ["--security-opt", "seccomp=unconfined"];
    let user = [call(libc::SYS_unshare, &[0x1000_0000])];
    assert_eq!(probe(&host, &weapon, &free, None, &user), ["0"], "without the filter the attack works");
    host.unharmed();
}

/// Row 16, sysctls: only those of the container's own namespaces are set, by names that lead nowhere else.
#[test]
fn sysctls_of_the_host_are_refused() {
    let host = Host::new();
    let settings = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/domainname",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/file-max",
        "/proc/sys/kernel/panic",
    ];
    let read = || settings.map(|path| fs::read_to_string(path).expect("a setting"));
    let before = read();
    for sysctl in [
        "kernel.core_pattern=|/evil",
        "kernel/core_pattern=|/evil",
        "net/../kernel/core_pattern=|/evil",
        "net.ipv4/../../kernel/core_pattern=|/evil",
        "net.ipv4.../kernel.core_pattern=x",
        "net..kernel=1",
        "vm.overcommit_memory=1",
        "fs.file-max=1",
        "kernel.panic=1",
        "user.max_user_namespaces=0",
        "net.=1",
        ".=1",
        "=1",
        "",
        "a+b=c",
        "net.ipv4.ip_forward=1\nkernel.panic=1",
        "kernel.shm_rmid_forced/../panic=1",
        "kernel.msgmax.=1",
        "debug.exception-trace=0",
        "kernel.ns_last_pid=1",
    ] {
        let output = host.lrun.run(&["run", "--rm", "--network", "none", "--sysctl", sysctl, "busybox", "true"]);
        assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{sysctl:?}: {}", output.stderr);
    }
    let host_network = ["run", "--rm", "--network", "host", "--sysctl", "net.core.somaxconn=1", "busybox", "true"];
    assert_eq!(host.lrun.run(&host_network).code, 125, "the host's network has the host's settings");
    // What annotations and labels of an image mean elsewhere means nothing here.
    let archive = fs::read(lrun_tests::images("busybox.tar")).expect("busybox.tar");
    let labels = r#"LABEL run.oci.hooks.stdin="x" io.kubernetes.cri-o.UnifiedCgroup="x" org.systemd.property.ExecStart="/evil" io.podman.annotations.privileged="TRUE""#;
    assert_eq!(host.lrun.run_with(&archive, &["import", "-c", labels, "-", "labelled"]).code, 0);
    let show = ["run", "--rm", "--network", "none", "labelled", "grep", "CapBnd", "/proc/self/status"];
    assert_eq!(host.lrun.ok(&show), "CapBnd:\t00000000800405fb");
    assert_eq!(read(), before);
    // The container's own are set.
    let own = [
        "run",
        "--rm",
        "--network",
        "none",
        "--sysctl",
        "net.core.somaxconn=77",
        "--sysctl",
        "kernel.msgmax=4096",
        "busybox",
        "cat",
        "/proc/sys/net/core/somaxconn",
        "/proc/sys/kernel/msgmax",
    ];
    assert_eq!(host.lrun.ok(&own), "77\n4096");
    host.unharmed();
}

/// What of `/proc` opens for writing: a process's own files, `/dev/null` on masked ones, and what everybody may.
fn may_open(path: &str) -> bool {
    let masks = [
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/timer_list",
        "/proc/timer_stats",
    ];
    let masked = path.strip_suffix(" (device)").is_some_and(|path| masks.contains(&path));
    masked || path.starts_with("/proc/self/") || path.starts_with("/proc/pressure/")
}

/// Files of `/proc` that belong to the root that the container has under the identity mapping, so that they open; the
/// kernel has nothing that would take a write.
const READ_ONLY_BY_NATURE: &[&str] = &[
    "/proc/allocinfo",
    "/proc/buddyinfo",
    "/proc/cgroups",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/consoles",
    "/proc/cpuinfo",
    "/proc/crypto",
    "/proc/devices",
    "/proc/diskstats",
    "/proc/dma",
    "/proc/execdomains",
    "/proc/fb",
    "/proc/filesystems",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/loadavg",
    "/proc/locks",
    "/proc/mdstat",
    "/proc/meminfo",
    "/proc/misc",
    "/proc/modules",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sysvipc/msg",
    "/proc/sysvipc/sem",
    "/proc/sysvipc/shm",
    "/proc/tty/drivers",
    "/proc/tty/driver/serial",
    "/proc/tty/ldiscs",
    "/proc/uptime",
    "/proc/version",
    "/proc/vmallocinfo",
    "/proc/vmstat",
    "/proc/zoneinfo",
];

/// Row 17, kernel files: of all `/proc` and `/sys`, nothing that reaches beyond the container opens for writing, for root
/// with the capabilities of a default container, with its own network and with the host's, started and executed.
#[test]
fn no_kernel_file_opens_for_writing() {
    let host = Host::new();
    let Some(weapon) = host.weapon() else { skip!("no gcc to compile the attacker's program") };
    for network in ["none", "host"] {
        host.lrun.ok(&[
            "run",
            "-d",
            "--name",
            "sweep",
            "--network",
            network,
            "-v",
            &weapon,
            "busybox",
            "sleep",
            "1000",
        ]);
        let run = ["run", "--rm", "--network", network, "-v", &weapon, "busybox"];
        for start in [&run[..], &["exec", "sweep"]] {
            let sweep = |folder| host.lrun.ok(&[start, &["/attack", "writable", folder]].concat());
            assert_eq!(sweep("/sys"), "", "{start:?}");
            let found = sweep("/proc");
            assert!(found.contains("/proc/self/comm"), "the attack finds nothing: {found}");
            let natural = |path: &str| mode() == Mode::Root && READ_ONLY_BY_NATURE.contains(&path);
            let wrong: Vec<&str> = found.lines().filter(|path| !may_open(path) && !natural(path)).collect();
            assert!(wrong.is_empty(), "{start:?}: {wrong:?}");
        }
        host.lrun.ok(&["rm", "-f", "sweep"]);
    }
    host.unharmed();
}

/// Row 17, kernel files: what tells about the host or leads to it is hidden; the cgroup is a namespace of its own.
#[test]
fn kernel_files_are_hidden_and_cgroups_are_private() {
    let host = Host::new();
    let script = "for f in /proc/acpi /proc/asound /proc/scsi /sys/firmware /sys/devices/virtual/powercap /sys/fs/selinux \
                  /sys/devices/system/cpu/cpu*/thermal_throttle; do [ ! -d $f ] || ls -A $f; done; \
                  for f in /proc/keys /proc/kcore /proc/interrupts /proc/timer_list /proc/latency_stats /proc/sched_debug; do \
                  [ ! -e $f ] || cat $f; done; grep -v ':/$' /proc/self/cgroup; cat /proc/1/cgroup | grep -v ':/$'; true";
    for network in ["none", "host"] {
        let shown = host.lrun.ok(&["run", "--rm", "--network", network, "busybox", "sh", "-c", script]);
        assert_eq!(shown, "", "network {network}");
    }
    host.unharmed();
}

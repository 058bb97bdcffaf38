//! Filters and capability sets on the real kernel: what a program under them sees.
//!
//! Filters belong to threads, so a test loads one for a thread of its own and starts a prober from there; the prober
//! is a Python script that makes raw system calls. Each probe is made without the filter as well, and must come out
//! differently there. Capabilities are tried by this very test program, started again in a user namespace.

use lrun_runtime::sandbox::caps::{CapPlan, apply, default_set};
use lrun_runtime::sandbox::seccomp::{Filter, Rules, compile, default_linux_seccomp};
use std::fs;
use std::process::{Command, Output};
use syscalls::Sysno;

const EPERM: i64 = 1;
const EINVAL: i64 = 22;
const ENOSYS: i64 = 38;

/// Makes the calls of argv[1], a JSON list of probes. A probe is a list of calls made in one child, a call a list of
/// number and arguments; prints a list of lists of results, where -N is error number N, and null where the child died.
const PROBER: &str = r#"
import ctypes, json, mmap, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def native(call):
    arguments = [ctypes.c_char_p(a.encode()) if isinstance(a, str) else ctypes.c_ulong(a) for a in call]
    result = libc.syscall(*arguments)
    return -ctypes.get_errno() if result == -1 else result

def i386(number):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rbx; mov eax, number; int 0x80; pop rbx; ret
    page.write(b"\x53\xb8" + number.to_bytes(4, "little") + b"\xcd\x80\x5b\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()

def probe(calls):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        results = [i386(c[1]) if c[0] == "i386" else native(c) for c in calls]
        os.write(writer, json.dumps(results).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as results:
        return json.loads(results.read() or "null")

print(json.dumps([probe(calls) for calls in json.loads(sys.argv[1])]))
"#;

/// Calls made one after the other, and what they return under the filter.
struct Probe {
    calls: Vec<serde_json::Value>,
    expected: Vec<i64>,
}

/// One call by name with its arguments.
macro_rules! call {
    ($name:ident $(, $argument:expr)*) => {
        serde_json::json!([Sysno::$name.id() $(, $argument)*])
    };
}

fn probe(call: serde_json::Value, expected: i64) -> Probe {
    Probe { calls: vec![call], expected: vec![expected] }
}

/// Runs the command from a thread with this filter.
fn output(mut command: Command, filter: Option<Filter>) -> Output {
    std::thread::spawn(move || {
        if let Some(filter) = filter {
            rustix::thread::set_no_new_privs(true).unwrap();
            filter.load().unwrap();
        }
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    })
    .join()
    .unwrap()
}

fn results(probes: &[Probe], filter: Option<Filter>) -> Vec<Option<Vec<i64>>> {
    let calls: Vec<_> = probes.iter().map(|probe| &probe.calls).collect();
    let mut command = Command::new("python3");
    command.args(["-c", PROBER, &serde_json::to_string(&calls).unwrap()]);
    let output = output(command, filter);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Checks every probe under the filter, and that most of them would show its absence: what else a machine forbids, as
/// by a sysctl for io_uring, cannot be told from the filter.
fn check(probes: &[Probe], filter: &Filter) {
    let free = results(probes, None);
    let filtered = results(probes, Some(filter.clone()));
    let mut mute = Vec::new();
    for ((probe, free), filtered) in probes.iter().zip(free).zip(filtered) {
        assert_eq!(filtered.as_ref(), Some(&probe.expected), "{:?}", probe.calls);
        if free == filtered {
            mute.push(&probe.calls);
        }
    }
    assert!(mute.len() * 4 < probes.len(), "these prove nothing here: {mute:?}");
}

fn default_filters() -> [Filter; 2] {
    let custom = compile(&default_linux_seccomp(default_set())).unwrap();
    [Rules::Default(default_set()), Rules::Custom(custom)].map(|rules| Filter { rules, emulate_root: false })
}

#[test]
fn the_default_filter_refuses() {
    const TIOCSTI: u64 = 0x5412;
    const UPPER: u64 = 1 << 32;
    let probes = [
        probe(call!(socket, 38, 5, 0), -EPERM),
        probe(call!(socket, 40, 1, 0), -EPERM),
        probe(call!(socket, UPPER | 38, 5, 0), -EPERM),
        probe(call!(socket, UPPER | 40, 1, 0), -EPERM),
        probe(call!(socket, 16, 3, 9), -EINVAL),
        probe(call!(socket, UPPER | 16, 3, UPPER | 9), -EINVAL),
        probe(call!(clone3, 0, 0), -ENOSYS),
        probe(call!(unshare, 0), -EPERM),
        probe(call!(setns, u64::MAX, 0), -EPERM),
        probe(call!(personality, 0x0004_0000), -EPERM),
        probe(call!(personality, UPPER | 0x0004_0000), -EPERM),
        probe(call!(keyctl, 0, 0xffff_fffdu64, 0), -EPERM),
        probe(call!(add_key, 0, 0, 0, 0, 0), -EPERM),
        probe(call!(request_key, 0, 0, 0, 0), -EPERM),
        probe(call!(io_uring_setup, 0, 0), -EPERM),
        probe(call!(io_uring_enter, u64::MAX, 0, 0, 0, 0, 0), -EPERM),
        probe(call!(ioctl, u64::MAX, TIOCSTI, "x"), -EPERM),
        probe(call!(ioctl, u64::MAX, UPPER | TIOCSTI, "x"), -EPERM),
        probe(call!(ioctl, u64::MAX, 0x541c, "x"), -EPERM),
        probe(call!(get_mempolicy, 0, 0, 0, 0, 0), -EPERM),
        probe(call!(kcmp, 0x7fff_ffff, 0x7fff_ffff, 0, 0, 0), -EPERM),
        probe(call!(pidfd_getfd, u64::MAX, 0, 0), -EPERM),
        probe(call!(process_madvise, u64::MAX, 0, 0, 0, 0), -EPERM),
        probe(call!(sysfs, 3), -EPERM),
        probe(call!(move_pages, 0, 0, 0, 0, 0, 0), -EPERM),
    ];
    for filter in default_filters() {
        check(&probes, &filter);
    }
}

#[test]
fn the_default_filter_refuses_namespaces_by_clone_and_passes_what_programs_need() {
    const SIGCHLD: u64 = 17;
    const UPPER: u64 = 1 << 32;
    let refused = [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        .into_iter()
        .flat_map(|flag| [flag | SIGCHLD, UPPER | flag | SIGCHLD])
        .map(|flags| probe(call!(clone, flags, 0, 0, 0, 0), -EPERM));
    // Not successes: they show that the kernel itself answered.
    let passed = [
        probe(call!(ptrace, 0, 0, 0, 0), 0),
        probe(call!(process_vm_readv, 0x7fff_ffff, 0, 0, 0, 0, 0), 0),
        probe(call!(ioctl, u64::MAX, 0x5413, 0), -9),
        probe(call!(seccomp, 2, 0, 0), -14),
        probe(call!(chroot, "/nonexistent"), -2),
        probe(call!(personality, 0xffff_ffffu64), 0),
        probe(call!(close, UPPER | 0xffff_ffff), -9),
    ];
    let probes: Vec<Probe> = refused.chain(passed).collect();
    for filter in default_filters() {
        for (probe, result) in probes.iter().zip(results(&probes, Some(filter))) {
            assert_eq!(result.as_ref(), Some(&probe.expected), "{:?}", probe.calls);
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn foreign_abis_answer_enosys_and_kill_nothing() {
    let probes = [
        Probe { calls: vec![serde_json::json!(["i386", 20])], expected: vec![-ENOSYS] },
        Probe { calls: vec![serde_json::json!([0x4000_0000 + Sysno::getpid.id()])], expected: vec![-ENOSYS] },
    ];
    for filter in default_filters() {
        for (probe, result) in probes.iter().zip(results(&probes, Some(filter))) {
            assert_eq!(result.as_ref(), Some(&probe.expected), "{:?}", probe.calls);
        }
    }
}

#[test]
fn root_emulation_answers_without_doing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let uid = i64::from(rustix::process::getuid().as_raw());
    let gid = i64::from(rustix::process::getgid().as_raw());
    let minus_one = 0xffff_ffffu64;
    let probes = [
        probe(call!(chown, path("absent"), 5, 5), 0),
        probe(call!(fchownat, 0xffff_ff9cu64, path("absent"), 5, 5, 0), 0),
        probe(call!(mknod, path("null"), 0o020_666, 0x103), 0),
        Probe { calls: vec![call!(setuid, 54321), call!(getuid)], expected: vec![0, uid] },
        Probe { calls: vec![call!(setgid, 54321), call!(getgid)], expected: vec![0, gid] },
        Probe { calls: vec![call!(setresuid, minus_one, 54321, minus_one), call!(geteuid)], expected: vec![0, uid] },
        Probe { calls: vec![call!(setgroups, 1 << 20, 0)], expected: vec![0] },
    ];
    for rules in [Rules::Unconfined, Rules::Default(default_set())] {
        let filter = Filter { rules, emulate_root: true };
        let results = results(&probes, Some(filter.clone()));
        for (probe, result) in probes.iter().zip(results) {
            assert_eq!(result.as_ref(), Some(&probe.expected), "{:?}", probe.calls);
        }
        assert!(fs::symlink_metadata(path("null")).is_err(), "no device is made");
        let real = [
            probe(call!(mknod, path("fifo"), 0o010_600, 0), 0),
            probe(call!(mknodat, 0xffff_ff9cu64, path("file"), 0o600, 0), 0),
            probe(call!(setuid, minus_one), -EINVAL),
            probe(call!(setfsuid, minus_one), uid),
        ];
        for (probe, result) in real.iter().zip(self::results(&real, Some(filter))) {
            assert_eq!(result.as_ref(), Some(&probe.expected), "{:?}", probe.calls);
        }
        for name in ["fifo", "file"] {
            fs::remove_file(path(name)).unwrap_or_else(|error| panic!("{name} was not made: {error}"));
        }
    }
}

/// Capability lines of a status file, by name.
fn capability_lines(status: &str) -> Vec<(String, u64)> {
    let lines = status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t"));
    lines.map(|(name, bits)| (name.to_owned(), u64::from_str_radix(bits, 16).unwrap())).collect()
}

/// The child of the test below: applies the plan in the variable, loads the default filter without `no_new_privs`,
/// and shows the capabilities of a program that it executes.
#[test]
#[ignore = "started by capability_sets_survive_exec"]
fn apply_and_show() {
    let plan: CapPlan = serde_json::from_str(&std::env::var("LRUN_TEST_PLAN").unwrap()).unwrap();
    apply::before_setid(&plan).unwrap();
    apply::regain().unwrap();
    Filter { rules: Rules::Default(plan.bounding), emulate_root: false }.load().unwrap();
    apply::after_setid(&plan).unwrap();
    let output = Command::new("cat").arg("/proc/self/status").output().unwrap();
    println!("{}", String::from_utf8(output.stdout).unwrap());
}

#[test]
fn capability_sets_survive_exec() {
    let added = ["NET_RAW".to_owned(), "CHECKPOINT_RESTORE".to_owned()];
    let allowed = lrun_runtime::sandbox::caps::with_changes(&added, &[]).unwrap();
    for (uid, added) in [(0, &added[..]), (1000, &added[..]), (1000, &[])] {
        let plan = CapPlan::for_user(uid, allowed, added).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", &format!("--map-user={uid}"), "--keep-caps", "--"]);
        command.arg(std::env::current_exe().unwrap()).args(["--exact", "apply_and_show", "--ignored", "--nocapture"]);
        command.env("LRUN_TEST_PLAN", serde_json::to_string(&plan).unwrap());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let expected = [
            ("Inh", plan.inheritable),
            ("Prm", plan.permitted),
            ("Eff", plan.effective),
            ("Bnd", plan.bounding),
            ("Amb", plan.ambient),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(name, set)| (name.to_owned(), set.bits())).collect();
        assert_eq!(capability_lines(&text), expected, "uid {uid}");
    }
}

//! The handle on lrun: one store and one folder for each test, commands with a deadline, and at the end the check that
//! no process and no mount is left.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::environment::{Mode, binary, images, long, mode, natural_mode};
use crate::pty::Pty;
use crate::watch::{DEADLINE, wait_until};

/// What a command wrote and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 are replaced, see `bytes`.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code, 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// Standard output as it came.
    pub bytes: Vec<u8>,
}

/// A started command; its output is collected while it runs.
pub struct Running {
    /// The process.
    pub child: Child,
    what: String,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{what}: {e}"));
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Self { child, what, stdout, stderr }
    }

    /// The command's standard input, once.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is a pipe, and taken once")
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signal a child");
    }

    /// Whether the process receives this signal by itself, and so does not die of it: a client does once it is connected.
    pub fn catches(&self, signal: rustix::process::Signal) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process");
        let mask = text.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask").trim();
        u64::from_str_radix(mask, 16).expect("a mask") & (1 << (signal.as_raw() - 1)) != 0
    }

    /// Waits for the end and for both streams to be closed by everybody.
    #[track_caller]
    pub fn wait(self) -> Output {
        self.wait_for(DEADLINE)
    }

    /// The same with a deadline of its own.
    #[track_caller]
    pub fn wait_for(mut self, deadline: Duration) -> Output {
        let end = Instant::now() + deadline;
        let status = wait_until(&mut self.child, end);
        if status.is_none() {
            self.child.kill().expect("kill a child");
            self.child.wait().expect("reap a child");
        }
        let Some(status) = status else {
            let rest = Duration::from_secs(1);
            let streams = (self.stdout.recv_timeout(rest), self.stderr.recv_timeout(rest));
            panic!("{} did not end: {streams:?}", self.what);
        };
        self.streams(exit_code(status), end - Instant::now())
    }

    /// What a command wrote that has ended with this code, and whose streams everybody closes in this time.
    #[track_caller]
    pub(crate) fn streams(self, code: i32, rest: Duration) -> Output {
        let streams = (self.stdout.recv_timeout(rest), self.stderr.recv_timeout(rest));
        let (Ok(bytes), Ok(stderr)) = streams else { panic!("{}: ended, but its output is held open", self.what) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output { stdout: text(&bytes), stderr: text(&stderr), code, bytes }
    }
}

/// Reads a stream to its end on a thread of its own.
fn collect(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// lrun on a store of its own.
pub struct Lrun {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
    binary: PathBuf,
    user: Option<String>,
    env: Vec<(String, String)>,
}

impl Lrun {
    /// With an empty store.
    #[allow(clippy::new_without_default, reason = "makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("t").tempdir().expect("a folder for the test");
        let path = fs::canonicalize(folder.path()).expect("the test's folder");
        fs::create_dir(path.join("home")).expect("a home");
        let env = if mode() == natural_mode() { Vec::new() } else { vec![("LRUN_IDMAP".into(), mode().name().into())] };
        Self { folder: Some(folder), path, binary: binary(), user: None, env }
    }

    /// Runs a copy of the binary from now on, which belongs to this user: one that could be overwritten. Gives its path.
    pub fn own_binary(&mut self) -> PathBuf {
        let copy = self.path.join("lrun");
        fs::copy(binary(), &copy).expect("copy the binary");
        self.binary.clone_from(&copy);
        copy
    }

    /// As root: with an empty store of another user, as whom all commands run.
    pub fn as_user(user: &str) -> Self {
        let mut this = Self::new();
        let id = |flag| Command::new("id").args([flag, user]).output().expect("id").stdout;
        let id = |flag| String::from_utf8_lossy(&id(flag)).trim().parse::<u32>().expect("an existing user");
        fs::set_permissions(&this.path, fs::Permissions::from_mode(0o755)).expect("chmod");
        for path in [this.path.clone(), this.path.join("home")] {
            chown(path, Some(id("-u")), Some(id("-g"))).expect("chown");
        }
        this.user = Some(user.to_owned());
        this.env.clear();
        this
    }

    /// With the image `busybox`: small, every applet in /bin, users root and alice (1000, also in group staff, 50), 40
    /// files in /var/lib/files.
    pub fn with_busybox() -> Self {
        let this = Self::new();
        this.import("busybox.tar", "busybox");
        this
    }

    /// With the image `stage0`, a Debian.
    pub fn with_stage0() -> Self {
        let this = Self::new();
        this.import("stage0.tar", "stage0");
        this
    }

    /// Imports one of the test images under a name; gives its id.
    pub fn import(&self, archive: &str, name: &str) -> String {
        let archive = images(archive);
        let output = self.run(&["import", archive.to_str().expect("a UTF-8 path"), name]);
        assert_eq!(output.code, 0, "import: {}", output.stderr);
        // A busy machine gets to see how far it is. One id cannot hold all owners of a distribution's files, and lrun says
        // so.
        let mut said = output.stderr.lines().filter(|line| !line.starts_with("Importing: "));
        let warned = mode() == Mode::Single && self.user.is_none();
        let expected = |line: &str| line.is_empty() || (warned && line.starts_with("WARNING: "));
        assert!(said.next().is_none_or(expected), "{}", output.stderr);
        output.stdout.trim_end().to_owned()
    }

    /// Imports these bytes under a name; gives the image's id.
    pub fn import_bytes(&self, archive: &[u8], name: &str) -> String {
        let output = self.run_with(archive, &["import", "-", name]);
        assert_eq!(output.code, 0, "import: {}", output.stderr);
        output.stdout.trim_end().to_owned()
    }

    /// A variable for all later commands.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// The folder of this test; the store is one of its entries.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// A file of the test's folder, written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }

    /// lrun with these arguments, not started; standard input is empty.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        self.command_in(&[], args)
    }

    /// The same under a wrapper: `wrapper lrun args`.
    pub fn command_in<S: AsRef<OsStr>>(&self, wrapper: &[&str], args: &[S]) -> Command {
        let mut words: Vec<&OsStr> = Vec::new();
        if let (Some(user), false) = (&self.user, wrapper.first().is_some_and(|w| *w == "strace")) {
            words.extend(["setpriv", "--reuid", user, "--regid", user, "--init-groups"].map(OsStr::new));
        }
        words.extend(wrapper.iter().map(OsStr::new));
        words.push(self.binary.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(args).stdin(Stdio::null()).current_dir(&self.path);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let user = self.user.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "root".into());
        command.env("LRUN_ROOT", self.store()).env("HOME", self.path.join("home")).env("USER", user);
        command.env("LANG", "C.UTF-8").env("TERM", "xterm");
        // No test goes to a registry outside: nobody serves this port, and loopback is reached without it.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a command; standard input is a pipe.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Running {
        self.spawn_in(&[], args)
    }

    /// Starts a command under a wrapper; standard input is a pipe.
    pub fn spawn_in<S: AsRef<OsStr>>(&self, wrapper: &[&str], args: &[S]) -> Running {
        let mut command = self.command_in(wrapper, args);
        command.stdin(Stdio::piped());
        Running::start(command)
    }

    /// Starts a command on a new terminal of 24 lines and 80 columns.
    pub fn pty<S: AsRef<OsStr>>(&self, args: &[S]) -> Pty {
        Pty::start(self.command_in(&["setsid", "--ctty"], args))
    }

    /// Starts a command under a wrapper (`wrapper lrun args`) on a new terminal.
    pub fn pty_in<S: AsRef<OsStr>>(&self, wrapper: &[&str], args: &[S]) -> Pty {
        Pty::start(self.command_in(&[&["setsid", "--ctty"], wrapper].concat(), args))
    }

    /// Runs a command to its end, with nothing on standard input.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        Running::start(self.command(args)).wait()
    }

    /// Runs a command under a wrapper to its end.
    #[track_caller]
    pub fn run_in<S: AsRef<OsStr>>(&self, wrapper: &[&str], args: &[S]) -> Output {
        Running::start(self.command_in(wrapper, args)).wait()
    }

    /// Runs a command that may take longer than others.
    #[track_caller]
    pub fn run_for<S: AsRef<OsStr>>(&self, deadline: Duration, args: &[S]) -> Output {
        Running::start(self.command(args)).wait_for(deadline)
    }

    /// Runs a command to its end with these bytes on standard input.
    #[track_caller]
    pub fn run_with<S: AsRef<OsStr>>(&self, input: &[u8], args: &[S]) -> Output {
        let mut running = self.spawn(args);
        let (mut stdin, input) = (running.stdin(), input.to_owned());
        let writer = std::thread::spawn(move || {
            // A command that does not want it all closes the pipe.
            let _ = stdin.write_all(&input);
        });
        let output = running.wait();
        writer.join().expect("the writer");
        output
    }

    /// Standard output, without the last newline, of a command that must succeed and say nothing else.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> String {
        let output = self.run(args);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{args:?} wrote {:?}", output.stdout);
        output.stdout.strip_suffix('\n').unwrap_or(&output.stdout).to_owned()
    }

    /// Standard error of a command that must fail with this code and print no result.
    #[track_caller]
    pub fn fails<S: AsRef<OsStr> + std::fmt::Debug>(&self, code: i32, args: &[S]) -> String {
        let output = self.run(args);
        assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{args:?} complained {:?}", output.stderr);
        output.stderr
    }

    /// One value of `inspect`.
    #[track_caller]
    pub fn inspect(&self, object: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, object])
    }

    /// Process ids, on the host, of all that visibly belongs to this store: by command line, environment, open files,
    /// working directory or mounts.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let needle = self.path.to_str().expect("a UTF-8 path");
        let own = std::process::id();
        let pids = fs::read_dir("/proc").expect("/proc").filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != own).filter_map(|pid| Some((pid, belongs(pid, needle)?))).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let needle = self.path.to_str().expect("a UTF-8 path");
        table.lines().filter(|line| line.contains(needle)).map(str::to_owned).collect()
    }

    /// Removes all containers and images; what remains of the store are empty folders and files of the user's own.
    fn empty_store(&self) {
        // A layer of a million files takes its time.
        let deadline = if long() { 10 * DEADLINE } else { DEADLINE };
        let remove = |args: &[String]| drop(self.run_for(deadline, args));
        let list =
            |args: &[&str]| -> Vec<String> { self.run(args).stdout.split_whitespace().map(str::to_owned).collect() };
        let containers = list(&["ps", "-aq", "--no-trunc"]);
        if !containers.is_empty() {
            remove(&[&["rm".to_owned(), "-f".to_owned(), "-v".to_owned()][..], &containers].concat());
        }
        let images = list(&["images", "-aq", "--no-trunc"]);
        if !images.is_empty() {
            remove(&[&["rmi".to_owned(), "-f".to_owned()][..], &images].concat());
        }
    }
}

/// How this process belongs to the folder `needle`, if it does.
fn belongs(pid: u32, needle: &str) -> Option<String> {
    let proc = Path::new("/proc").join(pid.to_string());
    let has = |bytes: &[u8], needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    let contains = |bytes: &[u8]| has(bytes, needle);
    let name = fs::read_to_string(proc.join("comm")).unwrap_or_default().trim_end().to_owned();
    // Mounts have their sources' paths within a file system, which need not be the host's root.
    let (_, within) = needle.rsplit_once('/').unwrap_or_default();
    for (file, needle) in [("cmdline", needle), ("environ", needle), ("mountinfo", &format!("/{within}/"))] {
        if fs::read(proc.join(file)).is_ok_and(|bytes| has(&bytes, needle)) {
            return Some(format!("{name}: {file}"));
        }
    }
    let descriptors = fs::read_dir(proc.join("fd")).ok().into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    for link in descriptors.chain([proc.join("cwd"), proc.join("root")]) {
        if fs::read_link(&link).is_ok_and(|to| contains(to.as_os_str().as_encoded_bytes())) {
            return Some(format!("{name}: {}", link.display()));
        }
    }
    None
}

impl Drop for Lrun {
    fn drop(&mut self) {
        if self.store().exists() {
            self.empty_store();
        }
        let end = Instant::now() + Duration::from_secs(10);
        while !self.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (processes, mounts) = (self.processes(), self.mounts());
        if let Some(folder) = self.folder.take() {
            // Ids of a range own what a failed test leaves; only their namespace can remove it.
            let path = folder.keep();
            if fs::remove_dir_all(&path).is_err() && crate::mode() == Mode::Subids {
                let _ = Command::new("unshare").args(["--map-auto", "-r", "rm", "-rf"]).arg(&path).status();
            }
        }
        if !std::thread::panicking() {
            assert!(processes.is_empty(), "processes left: {processes:?}");
            assert!(mounts.is_empty(), "mounts left: {mounts:?}");
        }
    }
}

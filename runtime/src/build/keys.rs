//! `--ssh NAME=KEY`: private keys, served to the steps by an SSH agent of the build's own, which is OpenSSH's.
//!
//! The agent and its socket are there for as long as the build is. Runs in the CLI, on the host, as the user.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::given::{Agent, Agents};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;

/// Longer than any private key.
const LARGEST: u64 = 100 << 10;
/// Starts the agent `$0`, and ends it when nobody has the other end of standard input any more: also when the build was
/// killed. (A signal at a parent's death does not reach the agent, whose program changes its group.)
const GUARD: &str = "command -v ssh-agent >/dev/null || exit 127; ssh-agent -D -a \"$0\" & read -r end; kill $!";
/// How long the agent may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// An agent with keys. It ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    process: Child,
    /// A socket's address is short, a path need not be: the directory's descriptor is part of the agent's path.
    _directory: OwnedFd,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Starts an agent for each that is to have keys; from then on it is a socket as the others are. `directory` is the
/// build's own.
pub fn serve(agents: &mut Agents, directory: &Path) -> Result<Vec<Serving>> {
    let mut serving = Vec::new();
    for (number, (id, agent)) in agents.iter_mut().enumerate() {
        if let Agent::Keys(keys) = agent {
            let (process, socket) = start(keys, directory, number).context(|| format!("--ssh {id}"))?;
            *agent = Agent::Socket(socket);
            serving.push(process);
        }
    }
    Ok(serving)
}

fn start(keys: &[PathBuf], directory: &Path, number: usize) -> Result<(Serving, PathBuf)> {
    let name = format!("keys-{number}");
    let opened = file::open_dir(directory)?;
    let socket = PathBuf::from(format!("/proc/{}/fd/{}/{name}", std::process::id(), opened.as_raw_fd()));
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, &name]).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = command.spawn().context(|| "start ssh-agent")?;
    let mut serving = Serving { process, _directory: opened };
    let begun = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        if serving.process.try_wait()?.is_some() {
            return Err(missing());
        }
        if begun.elapsed() > PATIENCE {
            return Err(Error::new(ErrorKind::Io, "ssh-agent does not listen"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    keys.iter().try_for_each(|key| add(key, &socket))?;
    Ok((serving, socket))
}

/// Gives the agent a key. `ssh-add` reads it from a pipe: there it does not ask who else may read the file.
fn add(key: &Path, socket: &Path) -> Result<()> {
    let attempt = || format!("give the key {} to an agent", key.display());
    let mut bytes = Vec::new();
    File::open(key).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)).context(attempt)?;
    let mut command = Command::new("ssh-add");
    command.args(["-q", "-"]).env("SSH_AUTH_SOCK", socket).env("SSH_ASKPASS_REQUIRE", "never");
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|_| missing())?;
    if let Some(mut stdin) = process.stdin.take() {
        // What it does not read is no key: it says so.
        let _ = stdin.write_all(&bytes);
    }
    let output = process.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("ssh-add failed").to_owned();
    Err(Error::new(ErrorKind::Invalid, said).context(attempt()).hint(
        "a key with a passphrase is served by an agent: eval $(ssh-agent); ssh-add KEY; lrun build --ssh default …",
    ))
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "keys need ssh-agent and ssh-add, which are not here")
        .hint("install openssh-client, or give the socket of an agent")
}

//! `start`, `stop`, `restart`, `kill`, `pause`, `port`, `rm`, `wait`, `attach`, `rename`.

use clap::{ArgAction, Args};
use lrun_runtime::Result;
use lrun_runtime::container::options::Signal;

/// `lrun start`.
#[derive(Clone, Debug, Args)]
pub struct StartArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// Attach standard output and error, and forward signals
    #[arg(short, long)]
    pub attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// Keys that detach; empty: none
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
}

/// `lrun stop` and `lrun restart`.
#[derive(Clone, Debug, Args)]
pub struct StopArgs {
    /// Names or ids
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// All running containers
    #[arg(short, long)]
    pub all: bool,
    /// Signal to send first
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds until the container is killed; -1: never
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS")]
    pub timeout: Option<i32>,
}

impl StopArgs {
    /// The signal that was asked for.
    pub fn signal(&self) -> Result<Option<Signal>> {
        self.signal.as_deref().filter(|signal| !signal.is_empty()).map(Signal::parse).transpose()
    }
}

/// `lrun kill`.
#[derive(Clone, Debug, Args)]
pub struct KillArgs {
    /// Names or ids
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// All running containers
    #[arg(short, long)]
    pub all: bool,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
}

impl KillArgs {
    /// The signal to send.
    pub fn signal(&self) -> Result<Signal> {
        // As docker has it.
        Signal::parse(if self.signal.is_empty() { "KILL" } else { &self.signal })
    }
}

/// `lrun rm`.
#[derive(Clone, Debug, Args)]
pub struct RmArgs {
    /// Names or ids
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// All containers
    #[arg(short, long)]
    pub all: bool,
    /// Kill and remove running containers too
    #[arg(short, long)]
    pub force: bool,
    /// A container that does not exist is no failure
    #[arg(short, long)]
    pub ignore: bool,
    /// With --force: seconds until a running container is killed
    #[arg(short, long, value_name = "SECONDS", requires = "force")]
    pub time: Option<i32>,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
    /// Delete at once: do not keep what `lrun undelete` could bring back
    #[arg(long)]
    pub no_trash: bool,
}

/// `lrun container exists` and `lrun image exists`.
#[derive(Clone, Debug, Args)]
pub struct ExistsArgs {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub name: String,
}

/// `lrun undelete`.
#[derive(Clone, Debug, Args)]
pub struct UndeleteArgs {
    /// Names or ids; none: the container that was removed last
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// List what can be brought back
    #[arg(short, long, conflicts_with = "containers")]
    pub list: bool,
    /// With --list: table, json or a Go template
    #[arg(long, value_name = "FORMAT", requires = "list")]
    pub format: Option<String>,
    /// With --list: do not shorten anything
    #[arg(long, requires = "list")]
    pub no_trunc: bool,
}

/// `lrun wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `lrun pause` and `lrun unpause`.
#[derive(Clone, Debug, Args)]
pub struct PauseArgs {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// `lrun port`.
#[derive(Clone, Debug, Args)]
pub struct PortArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Only this port of the container
    #[arg(value_name = "PRIVATE_PORT[/PROTOCOL]")]
    pub port: Option<String>,
}

/// `lrun attach`.
#[derive(Clone, Debug, Args)]
pub struct AttachArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Keys that detach; empty: none
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Do not attach standard input
    #[arg(long)]
    pub no_stdin: bool,
    /// Forward signals (default true)
    #[arg(long, action = ArgAction::SetFalse)]
    pub sig_proxy: bool,
}

/// `lrun rename`.
#[derive(Clone, Debug, Args)]
pub struct RenameArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// The name that it gets
    #[arg(value_name = "NEW_NAME")]
    pub new_name: String,
}

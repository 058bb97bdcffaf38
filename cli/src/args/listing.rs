//! `ps`, `logs`, `inspect`, `top`, `info`, `version`.

use clap::{Args, ValueEnum};

/// `lrun ps`.
#[derive(Clone, Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    pub all: bool,
    /// Show only those that match, such as status=exited
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show the N last created, in whatever state; -1: no limit
    #[arg(short = 'n', long, value_name = "N", default_value_t = -1)]
    pub last: i64,
    /// Show the last created, in whatever state
    #[arg(short, long)]
    pub latest: bool,
    /// Do not shorten anything
    #[arg(long)]
    pub no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    pub size: bool,
    /// In this order, instead of the last created first
    #[arg(long, value_name = "BY", value_enum)]
    pub sort: Option<SortBy>,
}

/// What `ps` can sort by, in podman's words; the smallest or oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// The command.
    Command,
    /// When it was created.
    Created,
    /// The id.
    Id,
    /// The image's name.
    Image,
    /// The name.
    Names,
    /// When it was started.
    Runningfor,
    /// Bytes in all its layers.
    Size,
    /// The status as it is shown.
    Status,
}

/// `lrun logs`.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Show extra details that the log has
    #[arg(long)]
    pub details: bool,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Show what is not older than this: 2026-01-02T13:23:37Z, 42m or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show what is older than this
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Show so many lines from the end, or all
    #[arg(short = 'n', long, value_name = "N", default_value = "all")]
    pub tail: String,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
}

impl LogsArgs {
    /// How many lines from the end; absent: all. As docker has it, anything that is not a count means all.
    pub fn tail_lines(&self) -> Option<u64> {
        self.tail.parse().ok()
    }
}

/// `lrun inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Names or ids
    #[arg(required = true, value_name = "NAME|ID")]
    pub names: Vec<String>,
    /// json or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only if the image is for this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Show the sizes of containers
    #[arg(short, long)]
    pub size: bool,
    /// Look among these only: container, image, network, volume
    #[arg(long = "type", value_name = "TYPE", hide_possible_values = true)]
    pub kind: Option<InspectType>,
}

impl InspectArgs {
    /// The same, for one type only.
    pub(super) fn of(self, kind: InspectType) -> Self {
        Self { kind: Some(kind), ..self }
    }
}

/// What `inspect` looks among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InspectType {
    /// Containers
    Container,
    /// Images
    Image,
    /// Networks, of which there are none
    Network,
    /// Volumes, of which there are none
    Volume,
}

/// `lrun top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Name or id, then options of ps(1)
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "CONTAINER")]
    words: Vec<String>,
}

impl TopArgs {
    /// The container as typed.
    pub fn container(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The options of `ps(1)`.
    pub fn ps_options(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// `lrun info` and `lrun version`.
#[derive(Clone, Debug, Args)]
pub struct SystemArgs {
    /// json or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

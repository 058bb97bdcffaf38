//! `images`, `history`, `tag`, `rmi`, `commit`, `diff`, `export`, `import`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// `lrun images`.
#[derive(Clone, Debug, Args)]
pub struct ImagesArgs {
    /// Only this repository, or this tag of it
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
    /// Show intermediate images too
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Show only those that match, such as dangling=true
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not shorten anything
    #[arg(long)]
    pub no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `lrun image tree`.
#[derive(Clone, Debug, Args)]
pub struct TreeArgs {
    /// Names or ids; none: all images
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// table or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `lrun history`.
#[derive(Clone, Debug, Args)]
pub struct HistoryArgs {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print sizes and dates for people (default true)
    #[arg(short = 'H', long, action = ArgAction::SetFalse)]
    pub human: bool,
    /// Do not shorten anything
    #[arg(long)]
    pub no_trunc: bool,
    /// Only if the image is for this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `lrun tag`.
#[derive(Clone, Debug, Args)]
pub struct TagArgs {
    /// Name or id
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// The name that it gets
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}

/// `lrun untag`.
#[derive(Clone, Debug, Args)]
pub struct UntagArgs {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Take these names away; without any, all
    #[arg(value_name = "NAME[:TAG]")]
    pub names: Vec<String>,
}

/// `lrun rmi`.
#[derive(Clone, Debug, Args)]
pub struct RmiArgs {
    /// Names or ids
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "IMAGE")]
    pub images: Vec<String>,
    /// All images
    #[arg(short, long)]
    pub all: bool,
    /// An image that does not exist is no failure
    #[arg(short, long)]
    pub ignore: bool,
    /// Remove the image with all its names
    #[arg(short, long)]
    pub force: bool,
    /// Keep parents without a name
    #[arg(long)]
    pub no_prune: bool,
    /// Only if the image is for this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
}

/// `lrun commit`.
#[derive(Clone, Debug, Args)]
pub struct CommitArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Name of the new image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
    /// Author, such as "Ada <ada@example.org>"
    #[arg(short, long)]
    pub author: Option<String>,
    /// Change the new image's config by an instruction of a Dockerfile, such as 'CMD ["bash"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Message for the history
    #[arg(short, long)]
    pub message: Option<String>,
    /// Do not pause a running container meanwhile
    #[arg(long)]
    pub no_pause: bool,
    /// Pause a running container meanwhile (default true)
    #[arg(short, long, action = ArgAction::SetFalse)]
    pause: bool,
    /// Make one layer of the image's and the container's
    #[arg(long)]
    pub squash: bool,
}

impl CommitArgs {
    /// Whether a running container is paused meanwhile.
    pub fn pauses(&self) -> bool {
        self.pause && !self.no_pause
    }
}

/// `lrun diff`.
#[derive(Clone, Debug, Args)]
pub struct DiffArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// `lrun export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Write to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `lrun import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The archive: a file, an HTTP(S) address, or - for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub source: String,
    /// Name of the new image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
    /// Change the new image's config by an instruction of a Dockerfile, such as 'CMD ["bash"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub change: Vec<String>,
    /// Message for the history
    #[arg(short, long)]
    pub message: Option<String>,
    /// What the files are made for, such as linux/arm64
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    pub platform: Option<String>,
}

impl ImportArgs {
    /// Whether the source is downloaded.
    pub fn is_url(&self) -> bool {
        ["http://", "https://"].iter().any(|scheme| self.source.starts_with(scheme))
    }
}

//! `pull`, `push`, `login`, `logout`, `search`; and how `run` and `create` pull.

use clap::{Args, ValueEnum};
use lrun_runtime::{Error, ErrorKind, Result};

/// `lrun pull`.
#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
    /// Pull every tag of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// What the image must be made for, such as linux/arm64
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    pub platform: Option<String>,
    /// Print the image's name alone
    #[arg(short, long)]
    pub quiet: bool,
}

/// `lrun push`.
#[derive(Clone, Debug, Args)]
pub struct PushArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
    /// Push every tag of the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// How layers that must be sent are compressed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub compression_format: CompressionFormat,
    /// Only if the image is for this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Print the image's name alone
    #[arg(short, long)]
    pub quiet: bool,
}

/// How `push` compresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CompressionFormat {
    /// Read by everybody.
    #[default]
    Gzip,
    /// Smaller, and faster to unpack.
    Zstd,
}

/// `lrun manifest inspect`.
#[derive(Clone, Debug, Args)]
pub struct ManifestArgs {
    /// The image, here or at a registry; or a list that is being made here
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
    /// One of the list's images
    #[arg(value_name = "IMAGE")]
    pub image: Option<String>,
    /// Ask the registry over plain HTTP
    #[arg(long)]
    pub insecure: bool,
    /// Print what each image of an index is, too
    #[arg(short, long)]
    pub verbose: bool,
}

/// `lrun manifest create`.
#[derive(Clone, Debug, Args)]
pub struct ListCreateArgs {
    /// The list's name at its registry
    #[arg(value_name = "LIST")]
    pub list: String,
    /// Images of it, at the same registry
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    pub images: Vec<String>,
    /// Add to a list that is being made
    #[arg(short, long)]
    pub amend: bool,
    /// Ask the registry over plain HTTP
    #[arg(long)]
    pub insecure: bool,
}

/// `lrun manifest annotate`.
#[derive(Clone, Debug, Args)]
pub struct ListAnnotateArgs {
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// The image in it
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub image: String,
    /// Architecture that the image is made for
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// Operating system
    #[arg(long, value_name = "OS")]
    pub os: Option<String>,
    /// Features of the operating system that it needs
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
}

/// `lrun manifest push`.
#[derive(Clone, Debug, Args)]
pub struct ListPushArgs {
    /// The list
    #[arg(value_name = "LIST")]
    pub list: String,
    /// Remove the list from here afterwards
    #[arg(short, long)]
    pub purge: bool,
    /// Speak to the registry over plain HTTP
    #[arg(long)]
    pub insecure: bool,
}

/// `lrun manifest rm`.
#[derive(Clone, Debug, Args)]
pub struct ListRemoveArgs {
    /// Lists
    #[arg(required = true, value_name = "LIST")]
    pub lists: Vec<String>,
}

/// `lrun manifest referrers`.
#[derive(Clone, Debug, Args)]
pub struct ReferrersArgs {
    /// The image, at a registry
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
    /// Show only those of this type
    #[arg(long, value_name = "TYPE")]
    pub artifact_type: Option<String>,
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Ask the registry over plain HTTP
    #[arg(long)]
    pub insecure: bool,
}

/// `lrun login`.
#[derive(Clone, Debug, Args)]
pub struct LoginArgs {
    /// The registry (default docker.io)
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password; others can see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// `lrun logout`.
#[derive(Clone, Debug, Args)]
pub struct LogoutArgs {
    /// The registry (default docker.io)
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `lrun search`.
#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// What to look for, behind the registry if it is another than docker.io: localhost:5000/word
    #[arg(value_name = "[REGISTRY/]TERM")]
    pub term: String,
    /// Show only those that match: stars=N, is-official=true
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print at most so many; 0: as many as docker does, 25
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,
    /// Do not shorten descriptions
    #[arg(long)]
    pub no_trunc: bool,
}

impl SearchArgs {
    /// How many are printed at most.
    pub fn most(&self) -> usize {
        if self.limit == 0 { 25 } else { self.limit }
    }
}

/// When `run` and `create` pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// The image is not here.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Not at all.
    Never,
    /// The image is not here, or the registry has another and can be reached.
    Newer,
}

/// How `run` and `create` pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulling {
    /// When.
    pub when: When,
    /// What the image must be made for.
    pub platform: Option<String>,
    /// Nothing is said of it.
    pub quiet: bool,
}

/// Reads `--pull`.
pub(super) fn parse_when(text: &str) -> Result<When> {
    match text {
        "missing" => Ok(When::Missing),
        "always" => Ok(When::Always),
        "never" => Ok(When::Never),
        "newer" => Ok(When::Newer),
        _ => {
            let message = format!(
                "invalid pull option: '{text}': must be one of \"always\", \"missing\", \"never\" or \"newer\""
            );
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

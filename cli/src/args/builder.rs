//! `builder`, or `buildx`: the commands about the one builder that there is.

use clap::Args;

/// `lrun buildx version`.
#[derive(Clone, Debug, Args)]
pub struct BuildxVersionArgs {}

/// `lrun buildx du`.
#[derive(Clone, Debug, Args)]
pub struct BuilderDuArgs {
    /// Only what is so: type=regular (steps) or type=exec.cachemount (files of RUN --mount=type=cache), until=TIME
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// table, pretty, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// All that is known of each
    #[arg(long)]
    pub verbose: bool,
}

/// `lrun buildx ls`.
#[derive(Clone, Debug, Args)]
pub struct BuilderLsArgs {
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not cut anything
    #[arg(long)]
    pub no_trunc: bool,
}

/// `lrun buildx inspect`, `use`, `rm`.
#[derive(Clone, Debug, Args)]
pub struct BuilderNameArgs {
    /// The builder; there is one, default
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// See to it that it is ready, which it always is
    #[arg(long)]
    pub bootstrap: bool,
    /// Use it for this context only; there is one
    #[arg(long, hide = true)]
    pub default: bool,
    /// Do not ask
    #[arg(short, long, hide = true)]
    pub force: bool,
}

/// `lrun buildx create`.
#[derive(Clone, Debug, Args)]
pub struct BuilderCreateArgs {
    /// Where it would be
    #[arg(value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Its name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// What would build
    #[arg(long, value_name = "DRIVER")]
    pub driver: Option<String>,
    /// Its options
    #[arg(long, value_name = "OPTION")]
    pub driver_opt: Vec<String>,
    /// Flags of a daemon
    #[arg(long, value_name = "FLAGS")]
    pub buildkitd_flags: Option<String>,
    /// Build with it from now on
    #[arg(long = "use")]
    pub use_it: bool,
    /// Start it
    #[arg(long)]
    pub bootstrap: bool,
    /// What it would build for
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Vec<String>,
}

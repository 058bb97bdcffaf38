//! `system df`, `system prune`, `container prune`, `image prune`.

use clap::Args;

/// `lrun system df`.
#[derive(Clone, Debug, Args)]
pub struct DfArgs {
    /// table, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show each image and container
    #[arg(short, long)]
    pub verbose: bool,
}

/// `lrun container prune`.
#[derive(Clone, Debug, Args)]
pub struct ContainerPruneArgs {
    /// Remove only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// `lrun image prune`.
#[derive(Clone, Debug, Args)]
pub struct ImagePruneArgs {
    /// Remove all images that no container was made from, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Remove only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE], dangling=true
    #[arg(long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// `lrun system prune`.
#[derive(Clone, Debug, Args)]
pub struct SystemPruneArgs {
    /// Remove all images that no container was made from, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Remove only those that match: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Remove anonymous volumes too; lrun has none
    #[arg(long)]
    pub volumes: bool,
}

/// `lrun system check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Mend what can be mended; asks the registry that an image was pulled from for what nothing else here has
    #[arg(long)]
    pub repair: bool,
    /// Do not read the contents of files in layers
    #[arg(long)]
    pub quick: bool,
}

//! `load`, `save`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `lrun load`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Read this archive or directory, not standard input
    #[arg(short, long, value_name = "FILE|DIR")]
    pub input: Option<PathBuf>,
    /// Which image of several, such as linux/arm64 (default: this machine's)
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    pub platform: Option<String>,
    /// Do not show how far it is
    #[arg(short, long)]
    pub quiet: bool,
}

/// `lrun save`.
#[derive(Clone, Debug, Args)]
pub struct SaveArgs {
    /// Names or ids; a name without a tag stands for all its tags
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Write to this file (with oci-dir: make this directory), not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Layout: docker-archive, oci-archive, oci-dir
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", hide_default_value = true)]
    #[arg(hide_possible_values = true)]
    pub format: SaveFormat,
    /// What the images must be made for, such as linux/amd64
    #[arg(long, value_name = "OS[/ARCH[/VARIANT]]")]
    pub platform: Option<String>,
    /// Do not show how far it is
    #[arg(short, long)]
    pub quiet: bool,
    /// Leave out the layers of this image, which the receiver has
    #[arg(long, value_name = "IMAGE")]
    pub since: Option<String>,
}

/// `save --format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SaveFormat {
    /// docker's
    DockerArchive,
    /// An OCI layout as a tar
    OciArchive,
    /// An OCI layout as a directory
    OciDir,
}

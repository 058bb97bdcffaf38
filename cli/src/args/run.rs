//! `run` and `create`.

use std::path::Path;

use clap::{ArgAction, Args};
use lrun_runtime::container::options::{RunOptions, Streams};
use lrun_runtime::{Error, ErrorKind, Result};

use super::container::detach_keys;
use super::{ContainerFlags, Pulling};

/// `lrun run`.
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true, override_usage = "lrun run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct RunArgs {
    /// Leave the container running in the background and print its id
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach; empty: none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Forward signals (default true)
    #[arg(long, action = ArgAction::SetFalse)]
    sig_proxy: bool,
    // Last: it ends in groups of its own.
    #[command(flatten)]
    flags: ContainerFlags,
}

/// `lrun create`.
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true, override_usage = "lrun create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct CreateArgs {
    #[command(flatten)]
    flags: ContainerFlags,
}

impl RunArgs {
    /// Whether the name is taken from the container that has it.
    pub fn replace(&self) -> Result<bool> {
        self.flags.replace()
    }

    /// When and how the image is pulled.
    pub fn pulling(&self) -> Result<Pulling> {
        self.flags.pulling()
    }

    /// Refuses to stay attached to what runs in the background.
    pub fn check_attach(&self) -> Result<()> {
        match self.detach && self.flags.has_attach() {
            true => {
                Err(Error::new(ErrorKind::Invalid, "conflicting options: cannot specify both --attach and --detach"))
            }
            false => Ok(()),
        }
    }

    /// The flags, parsed; `lookup` is the caller's environment, `cwd` its directory. An error here is wrong usage.
    pub fn into_options(self, lookup: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<RunOptions> {
        let mut options = self.flags.into_options(lookup, cwd)?;
        if self.detach {
            options.attach = Streams::default();
        }
        options.detach = self.detach;
        options.detach_keys = detach_keys(self.detach_keys)?;
        options.sig_proxy = self.sig_proxy;
        Ok(options)
    }
}

impl CreateArgs {
    /// Whether the name is taken from the container that has it.
    pub fn replace(&self) -> Result<bool> {
        self.flags.replace()
    }

    /// When and how the image is pulled.
    pub fn pulling(&self) -> Result<Pulling> {
        self.flags.pulling()
    }

    /// The flags, parsed; `lookup` is the caller's environment, `cwd` its directory. An error here is wrong usage.
    pub fn into_options(self, lookup: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<RunOptions> {
        let mut options = self.flags.into_options(lookup, cwd)?;
        options.sig_proxy = true;
        Ok(options)
    }
}

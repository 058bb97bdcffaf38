//! `exec`.

use std::path::Path;

use clap::Args;
use lrun_runtime::Result;
use lrun_runtime::container::options::{ExecOptions, env, parse_workdir, user};

use super::container::{EnvFlags, detach_keys, flag};

/// `lrun exec`.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "lrun exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub struct ExecArgs {
    /// Name or id, then the command and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    words: Vec<String>,
    /// Leave the command running in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach; empty: none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    #[command(flatten)]
    env: EnvFlags,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group, to run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory to run in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
}

impl ExecArgs {
    /// The container as typed.
    pub fn container(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The flags, parsed; `lookup` is the caller's environment, `cwd` its directory. An error here is wrong usage.
    pub fn into_options(self, lookup: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<ExecOptions> {
        let parse_user = |text: &String| flag("-u, --user", text, user::parse_user);
        let parse_dir = |text: &String| flag("-w, --workdir", text, parse_workdir);
        // Docker takes an empty value as none.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let mut vars = Vec::new();
        for var in self.env.parse(lookup, cwd)? {
            env::set_env(&mut vars, var);
        }
        Ok(ExecOptions {
            argv: self.words.into_iter().skip(1).collect(),
            env: vars,
            user: given(self.user).as_ref().map(parse_user).transpose()?,
            workdir: given(self.workdir).as_ref().map(parse_dir).transpose()?,
            tty: self.tty,
            interactive: self.interactive,
            detach: self.detach,
            detach_keys: detach_keys(self.detach_keys)?,
        })
    }
}

//! The flags of `build` that say how the commands of RUN run: those of `run` that mean the same there.

use std::path::Path;

use clap::Args;
use lrun_runtime::container::options::{Dns, RunOptions, limits, network};
use lrun_runtime::error::Result;

use crate::args::container::{flags, given, security_options};

/// Memory, limits, names and protection of steps.
#[derive(Clone, Debug, Default, Args)]
pub struct StepFlags {
    /// Size of /dev/shm while RUN runs, such as 64m
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,
    /// Set a limit of the processes of RUN, such as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Ask this DNS server while RUN runs
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// Set an option of resolv.conf while RUN runs
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Look for host names in this domain while RUN runs
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Protection of RUN: no-new-privileges, seccomp=FILE or seccomp=unconfined, as for run
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// A limit on memory; only 0, none, is served
    #[arg(short, long, value_name = "BYTES", hide = true)]
    memory: Option<String>,
}

impl StepFlags {
    /// The flags, parsed and checked together.
    pub fn apply(&self, options: &mut RunOptions) -> Result<()> {
        options.shm_size = given("--shm-size", self.shm_size.as_ref(), limits::parse_shm_size)?.flatten();
        for limit in flags("--ulimit", &self.ulimit, limits::parse_ulimit)? {
            limits::set_ulimit(&mut options.ulimits, limit);
        }
        options.dns = Dns {
            servers: flags("--dns", &self.dns, network::parse_dns_server)?,
            search: flags("--dns-search", &self.dns_search, network::parse_dns_search)?,
            options: flags("--dns-option", &self.dns_option, network::parse_dns_option)?,
        };
        // A name that is not absolute starts from the current directory.
        options.security = security_options(&self.security_opt, Path::new(""))?;
        given("-m, --memory", self.memory.as_ref(), limits::parse_memory)?;
        options.check()
    }
}

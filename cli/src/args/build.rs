//! `build`, `builder prune`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use lrun_runtime::build::Options;
use lrun_runtime::build::given::{Lookup, parse_agent, parse_secret};
use lrun_runtime::build::hide::without_users;
use lrun_runtime::container::options::{Network, RunOptions, env, limits, network};
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::reference::Reference;
use lrun_runtime::registry::platform::Platform;

use super::container::{flags, given};

mod call;
mod output;
mod steps;

pub use call::{Call, CallFlags, Method};
pub use output::{OutputFlags, Outputs};

/// The build argument that says what the host is called for RUN.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// What it is called otherwise, as in docker: the same in each build, so that a command that asks for it gives the same.
const SANDBOX: &str = "buildkitsandbox";

/// How a build shows what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// As it fits where standard error goes
    #[default]
    Auto,
    /// Line by line
    Plain,
    /// What is done now, with the last lines of each command
    Tty,
    /// Objects in JSON, one in a line
    Json,
    /// Nothing, as with -q
    Quiet,
    /// Nothing, nor the image's id
    None,
}

/// `lrun build`.
#[derive(Clone, Debug, Args)]
pub struct BuildArgs {
    /// Where the files are that COPY and ADD copy: a directory, - for an archive on standard input, the URL of an archive or
    /// of a Dockerfile, or a git repository (https://HOST/NAME.git#REF:DIRECTORY)
    #[arg(value_name = "PATH")]
    pub context: PathBuf,
    /// Name of the new image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: Vec<String>,
    /// The Dockerfile (default PATH/Dockerfile, else dockerfile or Containerfile there); - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Set an ARG; without a value, to that of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Files or an image under a name of their own, for FROM, COPY --from and RUN --mount: a directory, docker-image://NAME,
    /// oci-layout://DIRECTORY[:TAG], a git repository or a URL
    #[arg(long, value_name = "NAME=PLACE")]
    pub build_context: Vec<String>,
    /// Run every step again
    #[arg(long)]
    pub no_cache: bool,
    /// Run the steps of these stages again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Tell of each step that is not in the cache what changed
    #[arg(long)]
    pub explain: bool,
    /// Go on from the container in which a command failed, with what is in it
    #[arg(long)]
    pub resume: bool,
    /// Run the commands again that are in the cache, and tell whether they make the same; 1 if one does not
    #[arg(long)]
    pub verify: bool,
    /// Ask registries for newer images to build on
    #[arg(long)]
    pub pull: bool,
    /// The network of RUN: default, pasta, host or none
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Add a line to /etc/hosts while RUN runs
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// Give a file or a variable to RUN --mount=type=secret, and to no image: id=NAME,src=FILE or id=NAME,env=VARIABLE
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Give an SSH agent to RUN --mount=type=ssh: default is that of SSH_AUTH_SOCK; or one with these private keys
    #[arg(long, value_name = "NAME[=SOCKET|KEY]")]
    pub ssh: Vec<String>,
    /// Add a label to the image
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Print nothing but the image's id
    #[arg(short, long)]
    pub quiet: bool,
    /// How to show what is done
    #[arg(long, value_enum, default_value_t)]
    pub progress: ProgressKind,
    /// What the image is for, such as linux/arm64 (default: this machine)
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Vec<String>,
    /// Build this many stages at once (default: as many as there are processors, two at least)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32))]
    pub jobs: Option<u32>,
    /// Remove the containers of the steps (default true)
    #[arg(long, hide = true, action = ArgAction::SetFalse)]
    pub rm: bool,
    /// Remove the container of a step that failed, too
    #[arg(long)]
    pub force_rm: bool,
    #[command(flatten)]
    pub call: CallFlags,
    #[command(flatten)]
    pub output: OutputFlags,
    #[command(flatten)]
    steps: steps::StepFlags,
    /// Seconds since 1970: the time that the image carries, and no file is later than
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: Option<i64>,
}

impl BuildArgs {
    /// The flags, parsed; `lookup` is the caller's environment. An error here is wrong usage.
    pub fn options(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Options> {
        let mut run = RunOptions {
            network: given("--network", self.network.as_ref(), network::parse_network)?.unwrap_or_default(),
            add_hosts: flags("--add-host", &self.add_host, network::parse_add_host)?,
            ..RunOptions::default()
        };
        self.steps.apply(&mut run)?;
        let arguments = self.arguments(lookup)?;
        let name = arguments.get(HOSTNAME).map(String::as_str).filter(|name| !name.is_empty()).unwrap_or(SANDBOX);
        run.hostname = Some(network::parse_hostname(name).context(|| format!("--build-arg {HOSTNAME}"))?);
        if let Network::Container(name) = &run.network {
            let text = format!("--network container:{name}: a step does not join another container's network");
            return Err(Error::new(ErrorKind::Unsupported, text).hint("--network is pasta, host or none"));
        }
        let clock = self.timestamp.map(|seconds| {
            let refused = |_| Error::new(ErrorKind::Invalid, format!("--timestamp {seconds}: out of range"));
            jiff::Timestamp::from_second(seconds).map_err(refused)
        });
        Ok(Options {
            target: self.target.clone().filter(|target| !target.is_empty()),
            arguments,
            no_cache: self.no_cache,
            explain: self.explain,
            resume: self.resume,
            verify: self.verify,
            no_cache_stages: self.no_cache_filter.clone(),
            labels: flags("--label", &self.label, env::parse_label)?.into_iter().collect(),
            names: flags("-t, --tag", &self.tag, Reference::parse)?,
            run,
            clock: clock.transpose()?,
            // 0 is no limit, as podman has it.
            jobs: self.jobs.map(|jobs| NonZeroUsize::new(jobs as usize).unwrap_or(NonZeroUsize::MAX)),
            ..Options::default()
        })
    }

    /// `--platform`: what the image is for; without it, what this machine is.
    pub fn target_platform(&self, machine: &Platform) -> Result<Platform> {
        let wanted = self.platform.iter().flat_map(|given| given.split(',')).filter(|wanted| !wanted.is_empty());
        let mut wanted: Vec<&str> = wanted.collect();
        wanted.dedup();
        let [wanted] = wanted[..] else {
            if wanted.is_empty() {
                return Ok(machine.clone());
            }
            let wanted = wanted.join(",");
            let text = format!("--platform {wanted}: this version of lrun builds for one platform at a time");
            return Err(Error::new(ErrorKind::Unsupported, text).hint("build once for each"));
        };
        if wanted == "local" {
            return Ok(machine.clone());
        }
        Platform::parse(wanted, machine).map_err(|error| error.context("--platform"))
    }

    /// `--build-context`: places by names; the last of a name counts.
    pub fn contexts(&self) -> Result<BTreeMap<String, String>> {
        let one = |given: &String| match given.split_once('=') {
            Some((name, place)) if !name.is_empty() && !place.is_empty() => Ok((name.to_owned(), place.to_owned())),
            _ => {
                let text =
                    format!("--build-context {}: invalid context value, expected key=value", without_users(given));
                Err(Error::new(ErrorKind::Invalid, text))
            }
        };
        self.build_context.iter().map(one).collect()
    }

    /// Adds secrets and agents; `lookup` is the caller's environment.
    pub fn add_given(&self, options: &mut Options, lookup: &Lookup<'_>) -> Result<()> {
        for text in &self.secret {
            options.secrets.extend(parse_secret(text, lookup).context(|| "--secret")?);
        }
        for text in &self.ssh {
            options.agents.extend([parse_agent(text, lookup)?]);
        }
        Ok(())
    }

    fn arguments(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, String>> {
        let mut arguments = BTreeMap::new();
        for given in &self.build_arg {
            let (name, value) = match given.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (given.as_str(), lookup(given)),
            };
            if name.is_empty() {
                return Err(Error::new(ErrorKind::Invalid, format!("invalid key-value pair {given:?}: empty key")));
            }
            arguments.extend(value.map(|value| (name.to_owned(), value)));
        }
        Ok(arguments)
    }
}

/// `lrun builder prune`.
#[derive(Clone, Debug, Args)]
pub struct BuilderPruneArgs {
    /// Forget all steps, not only those that no image has
    #[arg(short, long)]
    pub all: bool,
    /// Only what is so: type=regular (steps) or type=exec.cachemount (files of RUN --mount=type=cache), until=TIME
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    keep: KeepFlags,
}

/// How much of the cache is to stay: all of it is small beside the images.
#[derive(Clone, Debug, Args)]
struct KeepFlags {
    /// Bytes to keep; only 0 is served
    #[arg(long, hide = true, value_name = "BYTES")]
    keep_storage: Option<String>,
    /// Bytes to keep; only 0 is served
    #[arg(long, hide = true, value_name = "BYTES")]
    reserved_space: Option<String>,
    /// Bytes to keep at most; only 0 is served
    #[arg(long, hide = true, value_name = "BYTES")]
    max_used_space: Option<String>,
    /// Bytes to free up to; only 0 is served
    #[arg(long, hide = true, value_name = "BYTES")]
    min_free_space: Option<String>,
}

impl BuilderPruneArgs {
    /// Refuses limits on what is kept.
    pub fn check(&self) -> Result<()> {
        let keep = &self.keep;
        for (name, value) in [
            ("--keep-storage", &keep.keep_storage),
            ("--reserved-space", &keep.reserved_space),
            ("--max-used-space", &keep.max_used_space),
            ("--min-free-space", &keep.min_free_space),
        ] {
            if given(name, value.as_ref(), limits::parse_size)?.is_some_and(|bytes| bytes > 0) {
                let text = format!("{name}: this version of lrun does not choose by size what it forgets");
                return Err(Error::new(ErrorKind::Unsupported, text).hint("--filter until=TIME chooses by age"));
            }
        }
        Ok(())
    }
}

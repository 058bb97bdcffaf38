//! The process of a `Spec`, and its variant for `exec`: command, environment, user, capabilities, limits.

use std::collections::HashSet;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, User};

use super::config::{ContainerConfig, merge_env, split_env};
use super::{SpecContext, unbuilt};
use crate::container::options::limits::{UNLIMITED, resource_name};
use crate::container::options::mounts::clean_absolute;
use crate::container::options::{CapabilityChanges, EnvVar, ExecOptions, IdOrName, RunOptions, Ulimit, UserSpec};
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::{IdMap, Mode};
use crate::sandbox::caps;

/// `PATH` where the image has none; docker's.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// podman's default for open files and processes.
const DEFAULT_LIMIT: u64 = 1_048_576;

/// The container's first process.
pub(super) fn process(
    options: &RunOptions,
    config: &ContainerConfig,
    hostname: &str,
    ctx: &SpecContext<'_>,
) -> Result<Process> {
    let args: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    if args.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "no command specified")
            .hint(format!("the image names none, so add one after its name: {} sh", options.image)));
    }
    check_ids(config.user.as_ref(), &options.groups, ctx.idmap)?;
    let mut process = Process::default();
    process.set_terminal(Some(options.tty));
    process.set_user(user(config.user.as_ref(), &options.groups));
    process.set_args(Some(args));
    process.set_env(Some(environment(options, config, hostname)));
    process.set_cwd(PathBuf::from(working_dir(&config.working_dir)?));
    process.set_capabilities(Some(capability_sets(&options.capabilities)?));
    process.set_rlimits(Some(rlimits(options, ctx.limits)?));
    process.set_no_new_privileges(Some(options.security.no_new_privileges));
    process.set_oom_score_adj(oom_score_adj(options, ctx)?);
    Ok(process)
}

/// The process of an `exec`: the container's own with the options on top. Capabilities, limits and privileges are the
/// container's.
pub fn exec_process(container: &Process, options: &ExecOptions) -> Process {
    let mut process = container.clone();
    let mut vars = split_env(container.env().as_deref().unwrap_or_default());
    if options.tty && !vars.iter().any(|var| var.name == "TERM") {
        vars.push(EnvVar { name: "TERM".to_owned(), value: Some("xterm".to_owned()) });
    }
    process.set_env(Some(merge_env(vars, &options.env)));
    process.set_terminal(Some(options.tty));
    process.set_console_size(None);
    process.set_args(Some(options.argv.clone()));
    if let Some(workdir) = &options.workdir {
        process.set_cwd(PathBuf::from(workdir));
    }
    if let Some(spec) = &options.user {
        let groups = container.user().additional_gids().clone();
        let mut user = user(Some(spec), &[]);
        user.set_additional_gids(groups);
        process.set_user(user);
    }
    process
}

/// From empty: nothing of the caller's environment comes in. `HOME` is set by init from the container's `/etc/passwd`.
fn environment(options: &RunOptions, config: &ContainerConfig, hostname: &str) -> Vec<String> {
    let (path, hostname) = (DEFAULT_PATH.to_owned(), hostname.to_owned());
    let mut base = vec![("PATH", path), ("HOSTNAME", hostname), ("container", "lrun".to_owned())];
    if options.tty {
        base.push(("TERM", "xterm".to_owned()));
    }
    // A variable that the user takes away stays away, also if the engine would set it.
    let taken = |name: &str| options.env.iter().any(|var| var.name == name && var.value.is_none());
    let base = base
        .into_iter()
        .filter(|(name, _)| !taken(name))
        .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value) })
        .collect();
    merge_env(base, &split_env(&config.env))
}

/// Where the process starts; an image's relative directory is taken from `/`, as docker does.
fn working_dir(path: &str) -> Result<String> {
    clean_absolute(&format!("/{path}"))
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("the working directory '{path}' is invalid")))
}

/// Numbers go into the spec as they are; whatever has to be looked up inside (names, and the group of a user given
/// alone) stays in `username`.
fn user(spec: Option<&UserSpec>, groups: &[IdOrName]) -> User {
    let number = |id: &Option<IdOrName>| match id {
        Some(IdOrName::Id(id)) => *id,
        _ => 0,
    };
    let mut user = User::default();
    if let Some(spec) = spec {
        user.set_uid(number(&spec.user));
        user.set_gid(number(&spec.group));
    }
    // Nobody said: root, in all its groups.
    user.set_username(Some(spec.map_or_else(|| "0".to_owned(), UserSpec::to_string)));
    user.set_umask(Some(0o022));
    let extra: Vec<u32> = groups
        .iter()
        .filter_map(|group| match group {
            IdOrName::Id(id) => Some(*id),
            IdOrName::Name(_) => None,
        })
        .collect();
    user.set_additional_gids(Some(extra).filter(|extra| !extra.is_empty()));
    user
}

/// Ids must be mapped, except in `single` mode, where a nested namespace makes any user of the one that there is; more
/// groups cannot be made of it.
fn check_ids(user: Option<&UserSpec>, groups: &[IdOrName], idmap: &IdMap) -> Result<()> {
    if idmap.mode == Mode::Single {
        let Some(group) = groups.first() else { return Ok(()) };
        let message = format!("--group-add {group}: there is only one id, so a process has no more than its own group");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .hint("`lrun info` shows the id mapping; an administrator can add ids in /etc/subuid and /etc/subgid"));
    }
    let unmapped = |what: &str, id: u32| {
        Error::new(ErrorKind::Unsupported, format!("{what} {id} is not among the ids that the container has"))
            .hint("`lrun info` shows the id mapping; an administrator can add ids in /etc/subuid and /etc/subgid")
    };
    if let Some(UserSpec { user: Some(IdOrName::Id(uid)), .. }) = user
        && !idmap.has_uid(*uid)
    {
        return Err(unmapped("user", *uid));
    }
    for group in user.and_then(|user| user.group.as_ref()).into_iter().chain(groups) {
        if let IdOrName::Id(gid) = group
            && !idmap.has_gid(*gid)
        {
            return Err(unmapped("group", *gid));
        }
    }
    Ok(())
}

/// The sets of root. What another user than root keeps of them is decided where the user is known, by init.
fn capability_sets(changes: &CapabilityChanges) -> Result<LinuxCapabilities> {
    let granted = caps::with_changes(&changes.add, &changes.drop)?.to_oci();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(granted.clone()));
    sets.set_effective(Some(granted.clone()));
    sets.set_permitted(Some(granted));
    sets.set_inheritable(Some(HashSet::new()));
    sets.set_ambient(Some(HashSet::new()));
    Ok(sets)
}

/// A process may always become likelier to be killed, and never less likely than the caller.
fn oom_score_adj(options: &RunOptions, ctx: &SpecContext<'_>) -> Result<Option<i32>> {
    match options.oom_score_adj {
        Some(wanted) if wanted < ctx.oom_score_adj => Err(Error::new(
            ErrorKind::Permission,
            format!("--oom-score-adj {wanted} is below the {} of this session", ctx.oom_score_adj),
        )
        .hint(format!("give {} to 1000: only the kernel's own root can go below", ctx.oom_score_adj))),
        wanted => Ok(wanted),
    }
}

/// The user's limits, and podman's defaults as far as the caller's own allow.
pub fn rlimits(options: &RunOptions, most: &[Ulimit]) -> Result<Vec<PosixRlimit>> {
    let ceiling = |resource: PosixRlimitType| {
        let found = most.iter().find(|limit| limit.resource == resource);
        found.map_or(UNLIMITED, |limit| limit.hard)
    };
    let mut limits = Vec::new();
    for resource in [PosixRlimitType::RlimitNofile, PosixRlimitType::RlimitNproc] {
        if !options.ulimits.iter().any(|limit| limit.resource == resource) {
            let value = DEFAULT_LIMIT.min(ceiling(resource));
            limits.push(rlimit(resource, value, value)?);
        }
    }
    for limit in &options.ulimits {
        let most = ceiling(limit.resource);
        if limit.hard > most {
            let name = resource_name(limit.resource);
            let asked = if limit.hard == UNLIMITED { "unlimited".to_owned() } else { limit.hard.to_string() };
            return Err(Error::new(
                ErrorKind::Permission,
                format!("ulimit {name}: the hard limit ({asked}) is above the one of this session ({most})"),
            )
            .hint(format!("give at most {name}={most}; an administrator can raise it in /etc/security/limits.conf")));
        }
        limits.push(rlimit(limit.resource, limit.soft, limit.hard)?);
    }
    Ok(limits)
}

fn rlimit(resource: PosixRlimitType, soft: u64, hard: u64) -> Result<PosixRlimit> {
    PosixRlimitBuilder::default().typ(resource).soft(soft).hard(hard).build().map_err(unbuilt)
}

//! docker's commands and flags that this version does not serve: each is refused with the reason
//! and a way out, not as unknown. Values that mean what happens anyway are accepted.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use lrun_runtime::{Error, ErrorKind, Result};

/// One flag.
struct Unserved {
    /// Its long name.
    name: &'static str,
    /// Its short one.
    short: Option<char>,
    /// The values that are accepted; `None` for a flag without a value.
    accepted: Option<&'static [&'static str]>,
    /// Why it is refused.
    why: &'static str,
    /// What to do instead.
    hint: &'static str,
}

/// The flag with a value.
const fn value(
    name: &'static str,
    accepted: &'static [&'static str],
    (why, hint): (&'static str, &'static str),
) -> Unserved {
    Unserved { name, short: None, accepted: Some(accepted), why, hint }
}

/// The flag without one.
const fn switch(name: &'static str, (why, hint): (&'static str, &'static str)) -> Unserved {
    Unserved { name, short: None, accepted: None, why, hint }
}

impl Unserved {
    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }
}

type Reason = (&'static str, &'static str);

const PORTS: Reason = (
    "this version of lrun does not publish ports",
    "with --network host the command listens on the host's own addresses",
);
const RESTART: Reason =
    ("this version of lrun does not restart containers by itself", "`lrun restart NAME` starts one again");
const PRIVILEGED: Reason = (
    "a container never has the privileges of the host's root",
    "--cap-add ALL --security-opt seccomp=unconfined --security-opt systempaths=unconfined gives what there is to give, --device a device",
);
const USERNS: Reason = (
    "every container has a user namespace of its own",
    "-u \"$(id -u)\" gives the command your number; `lrun info` shows the id mapping, --idmap chooses it",
);
const PID: Reason = (
    "every container has processes of its own",
    "`lrun exec` runs a command beside those of a container, `lrun top` lists them",
);
const IPC: Reason =
    ("every container has shared memory of its own", "-v of a directory shares files; --shm-size sets its size");
const UTS: Reason = ("every container has a host name of its own", "--hostname \"$(hostname)\" gives it the host's");
const CGROUP: Reason = ("this version of lrun sets nothing on cgroups", "leave it out");
const HEALTH: Reason = ("this version of lrun does not run health checks", "run it by hand: `lrun exec NAME COMMAND`");
const NETWORK: Reason = (
    "this version of lrun has no networks of the user's",
    "--network is pasta, host or none; --add-host names an address",
);
const VOLUMES: Reason =
    ("this version of lrun has no volumes", "give a directory of the host: -v /absolute/path:/target");
const DEVICES: Reason = ("lrun does not look for devices", "give each by its path: --device /dev/NAME");
const STORAGE: Reason = ("lrun stores all layers alike", "leave it out");
const RUNTIME: Reason = ("lrun runs containers itself", "leave it out");

const WINDOWS: Reason = ("that is for Windows containers", "leave it out");
const API: Reason = ("lrun has no daemon and no socket of one", "leave it out");

const ATTESTATIONS: Reason =
    ("this version of lrun states nothing about images", "leave it out, or give --provenance=false --sbom=false");
const ANNOTATIONS: Reason =
    ("this version of lrun writes no annotations", "--label NAME=VALUE adds a label to the image");
const ENTITLEMENTS: Reason = ("a step never has the privileges of the host's root", "leave it out");
const BUILDERS: Reason = ("there is one builder, default", "leave it out");

const POLICIES: Reason = ("this version of lrun asks no policy about sources", "ADD --checksum fixes what is added");
/// What `--provenance` and `--sbom` say for none, in Go's words too.
const NO_ATTESTATION: [&str; 7] = ["false", "disabled=true", "0", "f", "F", "False", "FALSE"];

/// Of `build`, and of all commands about builders.
const BUILDER: Unserved = value("builder", &["default"], BUILDERS);

/// Those of `build`.
const OF_BUILD: &[Unserved] = &[
    value("memory-swap", &["0", "-1"], CGROUP),
    value("cgroup-parent", &[], CGROUP),
    value("cpu-shares", &["0"], CGROUP).short('c'),
    value("cpu-period", &["0"], CGROUP),
    value("cpu-quota", &["0", "-1"], CGROUP),
    value("cpuset-cpus", &[], CGROUP),
    value("cpuset-mems", &[], CGROUP),
    value("isolation", &["default", "oci", "rootless"], RUNTIME),
    value("attest", &["type=provenance,disabled=true", "type=sbom,disabled=true"], ATTESTATIONS),
    value("provenance", &NO_ATTESTATION, ATTESTATIONS),
    value("sbom", &NO_ATTESTATION, ATTESTATIONS),
    value("annotation", &[], ANNOTATIONS),
    value("allow", &["network.host"], ENTITLEMENTS),
    value("resource", &[], CGROUP),
    value("policy", &["disabled=true"], POLICIES),
    BUILDER,
];

const UNSERVED: &[Unserved] = &[
    value("publish", &[], PORTS).short('p'),
    switch("publish-all", PORTS).short('P'),
    value("restart", &["no"], RESTART),
    switch("privileged", PRIVILEGED),
    // docker's host is where its daemon's ids are, podman's without root the mapping that is the default: it is this one.
    value("userns", &["private", "host"], USERNS),
    value("pid", &["private"], PID),
    value("ipc", &["private"], IPC),
    value("uts", &["private"], UTS),
    value("cgroupns", &["private"], CGROUP),
    value("cgroup-parent", &[], CGROUP),
    value("memory-reservation", &["0"], CGROUP),
    value("memory-swap", &["0", "-1"], CGROUP),
    value("memory-swappiness", &["-1"], CGROUP),
    value("kernel-memory", &["0"], CGROUP),
    switch("oom-kill-disable", CGROUP),
    value("cpu-shares", &["0"], CGROUP).short('c'),
    value("cpu-period", &["0"], CGROUP),
    value("cpu-quota", &["0", "-1"], CGROUP),
    value("cpu-rt-period", &["0"], CGROUP),
    value("cpu-rt-runtime", &["0"], CGROUP),
    value("cpuset-cpus", &[], CGROUP),
    value("cpuset-mems", &[], CGROUP),
    value("blkio-weight", &["0"], CGROUP),
    value("blkio-weight-device", &[], CGROUP),
    value("device-read-bps", &[], CGROUP),
    value("device-read-iops", &[], CGROUP),
    value("device-write-bps", &[], CGROUP),
    value("device-write-iops", &[], CGROUP),
    value("device-cgroup-rule", &[], CGROUP),
    value("health-cmd", &[], HEALTH),
    value("health-interval", &["0", "0s"], HEALTH),
    value("health-retries", &["0"], HEALTH),
    value("health-timeout", &["0", "0s"], HEALTH),
    value("health-start-period", &["0", "0s"], HEALTH),
    value("health-start-interval", &["0", "0s"], HEALTH),
    value("link", &[], NETWORK),
    value("link-local-ip", &[], NETWORK),
    value("ip", &[], NETWORK),
    value("ip6", &[], NETWORK),
    value("mac-address", &[], NETWORK),
    value("network-alias", &[], NETWORK),
    value("net-alias", &[], NETWORK),
    value("volumes-from", &[], VOLUMES),
    value("volume-driver", &["local"], VOLUMES),
    value("gpus", &[], DEVICES),
    value("storage-opt", &[], STORAGE),
    value("cpu-count", &["0"], WINDOWS),
    value("cpu-percent", &["0"], WINDOWS),
    value("io-maxbandwidth", &["0"], WINDOWS),
    value("io-maxiops", &["0"], WINDOWS),
    switch("use-api-socket", API),
    value("isolation", &["default"], RUNTIME),
    value("runtime", &["lrun"], RUNTIME),
];

const BUILD: Reason =
    ("this version of lrun has one builder, without commands of its own", "`lrun build` is the way to it");
const SWARM: Reason = ("lrun runs containers on this machine alone", "`lrun run` starts one");
const CLIENT: Reason = ("lrun has no daemon that it would have to find", "--root chooses another store");

/// docker's flags before the command, which say where its daemon is.
const OF_ALL: [Unserved; 7] = [
    value("host", &["unix:///var/run/docker.sock", "unix:///run/docker.sock"], CLIENT).short('H'),
    value("context", &["default"], CLIENT).short('c'),
    switch("tls", CLIENT),
    switch("tlsverify", CLIENT),
    value("tlscacert", &[], CLIENT),
    value("tlscert", &[], CLIENT),
    value("tlskey", &[], CLIENT),
];

/// docker's commands that are not served, by their last word: `build` and `image build` are the same.
const COMMANDS: &[(&str, Reason)] = &[
    ("bake", BUILD),
    (
        "imagetools",
        (
            "this command of buildx is not served",
            "`lrun manifest inspect` shows a list, `lrun manifest create` makes one",
        ),
    ),
    ("compose", ("lrun has no compose files", "start each container with `lrun run`")),
    ("network", NETWORK),
    ("volume", VOLUMES),
    ("events", ("without a daemon nobody watches all containers", "`lrun wait NAME` waits for the end of one")),
    ("stats", ("this version of lrun does not measure containers", "`lrun top NAME -o pid,pcpu,rss,args` does")),
    ("update", ("what can be updated are limits and restarts, of which this version of lrun has none", "leave it out")),
    ("checkpoint", ("lrun does not write processes to disk", "`lrun commit` keeps a container's files")),
    ("context", CLIENT),
    ("dial-stdio", CLIENT),
    ("plugin", ("lrun has no plugins", "leave it out")),
    ("trust", ("lrun checks digests, not signatures", "name the image by its digest: NAME@sha256:…")),
    ("config", SWARM),
    ("node", SWARM),
    ("secret", SWARM),
    ("service", SWARM),
    ("stack", SWARM),
    ("swarm", SWARM),
];

/// Why a command of docker's is refused: `word` stands where a command should.
pub fn command(argv: &[OsString], word: &str) -> Option<Error> {
    let words = argv.iter().skip(1).filter_map(|word| word.to_str());
    let group = words
        .take_while(|other| *other != word)
        .last()
        .filter(|group| ["container", "image", "manifest", "system"].contains(group));
    let (why, hint) = COMMANDS.iter().find(|(name, _)| *name == word)?.1;
    let shown = group.map_or_else(|| word.to_owned(), |group| format!("{group} {word}"));
    Some(Error::new(ErrorKind::Unsupported, format!("{shown}: {why}")).hint(hint))
}

const LINKS: Reason = ("this version of lrun has no networks of the user's, so no links in them", "leave it out");
const CHECKPOINT: Reason = ("lrun does not write processes to disk", "`lrun commit` keeps a container's files");
const EXEC: Reason =
    ("a command has the container's privileges", "give the container what it needs with --cap-add at run");
const TREE: Reason = ("that is another command here", "`lrun image tree` shows which layers images share");

/// Flags of other commands.
const OTHERS: &[(&str, Unserved)] = &[
    ("rm", switch("link", LINKS).short('l')),
    ("start", value("checkpoint", &[], CHECKPOINT)),
    ("start", value("checkpoint-dir", &[], CHECKPOINT)),
    ("images", switch("tree", TREE)),
    ("exec", switch("privileged", EXEC)),
];

/// The short form of a command of a group, where commands of other groups have the same word.
fn short<'a>(group: &str, name: &'a str) -> &'a str {
    match (group, name) {
        ("image", "ls") => "images",
        ("image", "rm") => "rmi",
        _ => name,
    }
}

/// The flags of this command.
fn flags_of(command: &str) -> Vec<&'static Unserved> {
    let others = OTHERS.iter().filter(|(name, _)| *name == command).map(|(_, flag)| flag);
    let own = match command {
        "run" | "create" => UNSERVED,
        "build" => OF_BUILD,
        _ => &[],
    };
    own.iter().chain(others).collect()
}

/// As a switch it asks for what happens anyway. Switched off it asks for signatures.
const CONTENT_TRUST: &str = "disable-content-trust";
/// Switches that ask for what happens anyway: no health check is run, no signature asked for.
const HARMLESS: [(&str, Option<char>); 2] = [("no-healthcheck", None), (CONTENT_TRUST, None)];
/// The same of `pull` and `push`.
const HARMLESS_AT_REGISTRIES: [(&str, Option<char>); 1] = [(CONTENT_TRUST, None)];
/// The same of a build: its context is not sent anywhere.
const HARMLESS_IN_BUILDS: [(&str, Option<char>); 2] = [("compress", None), (CONTENT_TRUST, None)];

/// Adds the flags to their commands, not shown in the help.
pub fn add_to(command: Command) -> Command {
    add_below("", command.args(OF_ALL.iter().map(arg)))
}

fn add_below(group: &str, command: Command) -> Command {
    let name = command.get_name().to_owned();
    let flags = flags_of(short(group, &name)).into_iter().map(arg);
    let command = command.args(flags).mut_subcommands(|command| add_below(&name, command));
    match name.as_str() {
        "run" | "create" => command.args(HARMLESS.map(|(name, short)| hidden(name, short, ArgAction::SetTrue))),
        "pull" | "push" => {
            command.args(HARMLESS_AT_REGISTRIES.map(|(name, short)| hidden(name, short, ArgAction::SetTrue)))
        }
        "builder" => command.arg(arg(&BUILDER).global(true)),
        "build" => command.args(HARMLESS_IN_BUILDS.map(|(name, short)| hidden(name, short, ArgAction::SetTrue))),
        _ => command,
    }
}

fn arg(flag: &Unserved) -> Arg {
    hidden(flag.name, flag.short, if flag.accepted.is_some() { ArgAction::Append } else { ArgAction::SetTrue })
}

fn hidden(name: &'static str, short: Option<char>, action: ArgAction) -> Arg {
    let arg = Arg::new(name).long(name).action(action).hide(true);
    match short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

/// Refuses the first of them that was given with a value that would change something.
pub fn check(matches: &ArgMatches) -> Result<()> {
    OF_ALL.iter().try_for_each(|flag| check_flag(flag, matches))?;
    check_below("", matches)
}

fn check_below(group: &str, matches: &ArgMatches) -> Result<()> {
    match matches.subcommand() {
        Some((name, matches)) => {
            let about_builders = matches.try_contains_id(BUILDER.name).unwrap_or(false);
            let everywhere = about_builders.then_some(&BUILDER);
            flags_of(short(group, name))
                .into_iter()
                .chain(everywhere)
                .try_for_each(|flag| check_flag(flag, matches))?;
            check_trust(matches)?;
            check_below(name, matches)
        }
        None => Ok(()),
    }
}

fn check_trust(matches: &ArgMatches) -> Result<()> {
    let given = matches.try_contains_id(CONTENT_TRUST).unwrap_or(false)
        && matches.value_source(CONTENT_TRUST) == Some(ValueSource::CommandLine);
    if given && !matches.get_flag(CONTENT_TRUST) {
        let text = format!("--{CONTENT_TRUST}=false: lrun checks digests, and no signatures");
        return Err(Error::new(ErrorKind::Unsupported, text).hint("name the image by its digest: NAME@sha256:…"));
    }
    Ok(())
}

fn check_flag(flag: &Unserved, matches: &ArgMatches) -> Result<()> {
    let refused =
        |given: String| Err(Error::new(ErrorKind::Unsupported, format!("--{given}: {}", flag.why)).hint(flag.hint));
    match flag.accepted {
        None if matches.get_flag(flag.name) => refused(flag.name.to_owned()),
        None => Ok(()),
        Some(accepted) => {
            // docker takes an empty value as none.
            let changes = |value: &&String| !value.is_empty() && !accepted.contains(&value.as_str());
            let mut values = matches.get_many::<String>(flag.name).unwrap_or_default();
            values.find(changes).map_or(Ok(()), |value| refused(format!("{} {value}", flag.name)))
        }
    }
}

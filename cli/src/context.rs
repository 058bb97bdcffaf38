//! What the commands share: the environment, the id mapping, the opened store, the user's streams.
//!
//! The environment and the current directory are read here and nowhere else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::launch::Host;
use lrun_runtime::container::{lifecycle, probe, trash};
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::file;
use lrun_runtime::idmap::detect::{HostIds, decide};
use lrun_runtime::idmap::ranges::parse_passwd;
use lrun_runtime::idmap::{IdMap, Mode};
use lrun_runtime::image::store::Store;
use lrun_runtime::network;
use lrun_runtime::settings::Settings;

use crate::args::{self, Global, IdMapChoice};
use crate::ui::output;

const SETTINGS_MAX: usize = 1 << 20;

/// A variable of the environment, if it is set, not empty, and UTF-8.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable of the environment as `-e NAME` passes it on: set and empty is a value.
pub fn env_exact(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable of the environment as it is, to be passed on to a program.
pub fn env_os(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The version that this program tells of itself, by the name by which it was started.
pub fn version_told() -> &'static str {
    args::version_told(std::env::args_os().next().as_ref())
}

/// The user's home directory: what `HOME` says, else the user's entry in `/etc/passwd`.
pub fn home() -> Option<PathBuf> {
    env("HOME").map(PathBuf::from).or_else(|| {
        let entries = std::fs::read("/etc/passwd").ok()?;
        parse_passwd(&entries, rustix::process::getuid().as_raw())?.home
    })
}

/// The current directory.
pub fn cwd() -> Result<PathBuf> {
    std::env::current_dir().context(|| "find the current directory")
}

/// The current directory that relative names on the command line start from. One that was deleted is empty: nothing is
/// found in it, and what names nothing in it does not need it.
pub fn cwd_or_none() -> PathBuf {
    cwd().unwrap_or_default()
}

/// The time zone that the user reads and writes times in: `TZ`, else the machine's, else UTC.
pub fn zone() -> TimeZone {
    TimeZone::try_system().unwrap_or(TimeZone::UTC)
}

/// The host as a container's start needs it.
pub fn host() -> Host {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Host { hostname: name, pasta: network::available() }
}

/// How the caller wants ids to be mapped; `None`: as the machine allows.
pub fn wanted_mode(global: &Global) -> Result<Option<Mode>> {
    let choice = match (global.idmap, env("LRUN_IDMAP")) {
        (Some(choice), _) => choice,
        (None, Some(text)) => match text.to_lowercase().as_str() {
            "auto" => IdMapChoice::Auto,
            "subids" => IdMapChoice::Subids,
            "single" => IdMapChoice::Single,
            "root" => IdMapChoice::Root,
            _ => {
                let message = format!("LRUN_IDMAP is \"{text}\": use auto, subids, single or root");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        },
        (None, None) => IdMapChoice::Auto,
    };
    Ok(match choice {
        IdMapChoice::Auto => None,
        IdMapChoice::Subids => Some(Mode::Subids),
        IdMapChoice::Single => Some(Mode::Single),
        IdMapChoice::Root => Some(Mode::Root),
    })
}

/// The id mapping that the caller gets.
pub fn id_map(global: &Global) -> Result<IdMap> {
    let (map, notes) = decide(wanted_mode(global)?, &HostIds::read()?)?;
    for note in notes {
        tracing::debug!(what = note.what, why = note.why, "id mapping");
    }
    Ok(map)
}

/// The store's directory: where it was asked for, else below the user's data. A mapping that was forced has a store of
/// its own, since files written under another one would have other owners.
pub fn store_path(global: &Global, map: &IdMap) -> Result<PathBuf> {
    let given = global.root.clone().or_else(|| env("LRUN_ROOT").map(PathBuf::from));
    if let Some(path) = given {
        return Ok(followed(if path.is_absolute() { path } else { cwd()?.join(path) }));
    }
    let data = env("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| home().map(|home| home.join(".local/share"))).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "there is no home directory for the store: HOME is not set")
            .hint("set LRUN_ROOT to a directory")
    })?;
    let forced = match wanted_mode(global)? {
        Some(mode) => decide(None, &HostIds::read()?).is_ok_and(|(own, _)| own.mode != mode),
        None => false,
    };
    Ok(followed(data.join(match (forced, map.mode) {
        (false, _) => "lrun",
        (true, Mode::Subids) => "lrun-subids",
        (true, Mode::Single) => "lrun-single",
        (true, Mode::Root) => "lrun-root",
    })))
}

/// The directory itself, where its name is a link to it: below the store no link is followed.
fn followed(path: PathBuf) -> PathBuf {
    match path.is_symlink() {
        true => std::fs::canonicalize(&path).unwrap_or(path),
        false => path,
    }
}

/// Where a store goes when the file system of its usual place cannot hold one.
fn second_place() -> Result<PathBuf> {
    if let Some(scratch) = env("LRUN_SCRATCH") {
        return Ok(Path::new(&scratch).join("lrun"));
    }
    Ok(PathBuf::from(format!("/var/tmp/lrun-{}", rustix::process::geteuid().as_raw())))
}

/// Opens the store, making it where there is none. Leftovers of interrupted commands are removed on the way.
pub fn engine(global: &Global) -> Result<Engine> {
    engine_with(global, id_map(global)?)
}

/// As [`engine`], with what [`id_map`] found.
pub fn engine_with(global: &Global, map: IdMap) -> Result<Engine> {
    let path = store_path(global, &map)?;
    let explicit = global.root.is_some() || env("LRUN_ROOT").is_some();
    let opened = Store::open(&path, true, map.mode, &|path| probe::probe(&map, path));
    let store = match opened {
        // A store that is there is used or refused; only where none can be is another place taken.
        Err(error) if error.kind() == ErrorKind::Unsupported && !explicit && !path.join("format").exists() => {
            let second = second_place()?;
            let new = !second.join("format").exists();
            let store = Store::open(&second, true, map.mode, &|path| probe::probe(&map, path));
            let store = store.map_err(|_| Error::from_parts(error.to_parts()))?;
            if new {
                output::complain(&format!("lrun: {error}; images and containers are kept in {}", second.display()));
            }
            store
        }
        other => other?,
    };
    let engine = Engine { store, map };
    engine.sweep();
    trim_trash(&engine);
    Ok(engine)
}

/// Deletes what the trash has more of than `config.toml` allows. A file that cannot be read is told of by the commands that
/// need it.
pub fn trim_trash(engine: &Engine) {
    trash::trim(engine, || settings().unwrap_or_default().trash);
}

/// `config.toml`, where there is one.
pub fn settings() -> Result<Settings> {
    let Some(folder) = config_folder() else { return Ok(Settings::default()) };
    let path = folder.join("lrun/config.toml");
    let attempt = || path.display().to_string();
    let bytes = match file::read_small(&path, SETTINGS_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Settings::default()),
        // Many keep it elsewhere and link it here.
        Err(error) if error.errno() == Some(libc_eloop()) => std::fs::read(&path).context(attempt)?,
        other => other?,
    };
    let text = String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::Invalid, "not UTF-8").context(attempt()))?;
    Settings::parse(&text).context(attempt)
}

/// What opening a link says where links are not followed.
fn libc_eloop() -> i32 {
    rustix::io::Errno::LOOP.raw_os_error()
}

/// Where the user keeps settings.
pub fn config_folder() -> Option<PathBuf> {
    let given = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| home().map(|home| home.join(".config")))
}

/// As [`engine`], and settles containers whose monitor was killed. For commands that are not in a hurry.
pub fn settled_engine(global: &Global) -> Result<Engine> {
    let engine = engine(global)?;
    // A damaged record is reported by the commands that need it.
    let _ = lifecycle::list(&engine);
    Ok(engine)
}

/// Name of the variable, and of the argument of a build, that fixes the time of what is made.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The time that new images carry, where the environment fixes one for reproducible results.
pub fn source_date_epoch() -> Result<Option<jiff::Timestamp>> {
    env(SOURCE_DATE_EPOCH).map(|text| epoch(&text)).transpose()
}

/// The time that a value of [`SOURCE_DATE_EPOCH`] fixes.
pub fn epoch(text: &str) -> Result<jiff::Timestamp> {
    let time = text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let message = || format!("invalid SOURCE_DATE_EPOCH: {text}: seconds since 1970 are expected");
    time.ok_or_else(|| Error::new(ErrorKind::Invalid, message()))
}

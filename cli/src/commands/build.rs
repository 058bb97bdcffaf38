//! `build`: a Dockerfile becomes an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Read, StdinLock};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use lrun_runtime::build::context::{Context as Files, Patterns};
use lrun_runtime::build::dockerfile::{Dockerfile, SIZE_MAX, Source, Tree};
use lrun_runtime::build::keys;
use lrun_runtime::build::{Build, Built, Event, Options, Steps, Unpublished, global_arguments};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::lifecycle::{self, Removal};
use lrun_runtime::container::names::ContainerId;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::file::{self, Staging};
use lrun_runtime::reference::Reference;
use lrun_runtime::registry::platform::Platform;

mod bases;
mod caches;
mod called;
mod check;
mod contexts;
mod outputs;
mod progress;

use bases::Bases;
use caches::Caches;
use contexts::Way;
use outputs::Outgoing;

use super::access::{Registries, own_platform};
use super::logs;
use crate::args::{BuildArgs, Call, Global, Method, Outputs, ProgressKind, Pulling, When};
use crate::context;
use crate::ui::report::{Family, exit_code};
use crate::ui::{escape, output};

/// Names of the Dockerfile where none is given.
const NAMES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// As much of standard input as tells what it is.
const PEEK: u64 = 512;

/// Runs the command.
pub fn run(global: &Global, args: &BuildArgs) -> Result<u8> {
    let mut options = args.options(&context::env_exact)?;
    if options.clock.is_none() {
        let given = options.arguments.get(context::SOURCE_DATE_EPOCH).filter(|text| !text.is_empty());
        options.clock = given.map_or_else(context::source_date_epoch, |text| context::epoch(text).map(Some))?;
    }
    args.add_given(&mut options, &|name| context::env_os(name).map(OsStringExt::into_vec))?;
    options.relayed = progress::is_relayed(progress::kind(args));
    options.machine = own_platform()?;
    options.platform = args.target_platform(&options.machine)?;
    let outputs = args.output.parse(&options.names)?;
    outputs::check(&outputs)?;
    caches::check(&outputs.cache_to)?;
    let call = args.call.parse()?;
    options.squash = args.output.squash || !args.output.layers;
    options.no_cache |= !args.output.layers;
    // docker's old word for it.
    let inline = options.arguments.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1");
    options.inline_cache = inline || outputs.inline_cache();
    options.names = if outputs.stores() { outputs.names.clone() } else { Vec::new() };
    options.contexts = contexts::named(&args.contexts()?)?;
    if !args.rm {
        let text = "--rm=false: this version of lrun removes the containers of the steps that end well";
        return Err(Error::new(ErrorKind::Unsupported, text).hint("each step is an image: lrun images -a"));
    }
    let engine = context::settled_engine(global)?;
    let staging = Staging::new(engine.root())?;
    let unpublished = Unpublished::new(&engine, &staging);
    let keys = keys::serve(&mut options.agents, staging.path());
    let code = keys.and_then(|_serving| build(global, (&unpublished, &staging), (args, &outputs, call), &options));
    let _ = unpublished.remove();
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(&mut |path| engine.remove_tree(path));
    match code {
        Err(error) if progress::kind(args) == ProgressKind::Json => {
            progress::error(&error);
            Ok(exit_code(Family::Other, error.kind()))
        }
        code => code,
    }
}

fn build(
    global: &Global,
    (unpublished, staging): (&Unpublished<'_>, &Staging),
    (args, outputs, call): (&BuildArgs, &Outputs, Option<Call>),
    options: &Options,
) -> Result<u8> {
    let engine = unpublished.store();
    let kind = progress::kind(args);
    args.iidfile.as_deref().map_or(Ok(()), forget)?;
    let quiet = matches!(kind, ProgressKind::Quiet | ProgressKind::None);
    let remote = contexts::elsewhere(staging, &options.secrets)?;
    let mut shown = progress::of(kind)?;
    let mut differs = false;
    let mut tell = |event: Event<'_>| {
        differs |= matches!(event, Event::Verified { same: false, .. });
        shown.tell(event);
    };
    let (source, files) = open(args, staging, &mut Way { engine, remote: &remote, tell: &mut tell })?;
    if let Some(call) = call {
        let metadata = args.output.metadata_file.as_deref();
        return match call.method {
            Method::Check => check::run(engine, (&source, &files), options, (&call, metadata)),
            method => called::run(source, options, (method, call.json), metadata),
        };
    }
    let tree = Tree::parse(&source)?;
    let file = Dockerfile::new(source, tree)?;
    let clock = options.clock.map_or_else(|| dockerfiles_clock(&file, options), |clock| Ok(Some(clock)))?;
    let options = &Options { clock, ..options.clone() };
    let pulling = Pulling { when: if args.pull { When::Always } else { When::Missing }, platform: None, quiet };
    let mut bases = Bases { global, engine, machine: &options.machine, pulling: &pulling, known: BTreeMap::new() };
    let mut resolve = |name: &str, platform: &Platform| bases.find_once(name, platform);
    let out = if quiet { nothing()? } else { rustix::io::fcntl_dupfd_cloexec(std::io::stderr().as_fd(), 3)? };
    let host = context::host();
    let steps =
        Steps { engine: unpublished.engine(), host: &host, clock: options.clock, remote: &remote, output: out.as_fd() };
    // Until it has gone where it is to go, nothing of the image is collected.
    let _using = engine.store.lock_shared()?;
    // Most builds speak to none.
    let registries = outputs.use_caches().then(|| Registries::open(global)).transpose()?;
    let platform = &options.platform;
    let caches = registries.as_ref().map(|registries| Caches { registries, engine, platform, quiet });
    let mut build = Build::new(steps, (&file, &files, unpublished), options, &mut resolve, &mut tell);
    build.elsewhere = caches.map(|caches| caches.open(&outputs.cache_from)).unwrap_or_default();
    let built = build.run();
    shown.end(&built);
    match built? {
        Built::Image(finished) => {
            let id = finished.id.clone();
            let outgoing = Outgoing { global, engine, outputs, clock: options.clock, quiet };
            let (code, pushed) = outgoing.send(&id)?;
            if let Some(path) = &args.output.metadata_file {
                outgoing.describe(&id, pushed.as_ref(), path)?;
            }
            if let Some(caches) = caches {
                caches.send(&finished, &outputs.cache_to)?;
            }
            report(&id, options, args.iidfile.as_deref(), (kind, outputs.use_stdout()))?;
            Ok(if differs { code.max(1) } else { code })
        }
        Built::Failed { text, code, container, image } => {
            failed(engine, kind, (&text, code), &container)?;
            match args.force_rm {
                true => forced_away(engine, &container)?,
                false if kind == ProgressKind::Json => {}
                false => way_on(&container, &image),
            }
            Ok(code)
        }
        Built::Interrupted(signal) => Ok(u8::try_from(128 + signal).unwrap_or(255)),
    }
}

/// `--force-rm`: nothing is kept of a command that failed.
fn forced_away(engine: &Engine, container: &ContainerId) -> Result<()> {
    let record = lifecycle::find(engine, container.as_str())?;
    lifecycle::remove(engine, &record, Removal { force: true, trash: false, relaxed: false })
}

/// The time that the Dockerfile fixes itself, by a default of the argument before its first stage. Given as nothing, it
/// fixes none.
fn dockerfiles_clock(file: &Dockerfile, options: &Options) -> Result<Option<jiff::Timestamp>> {
    let given = global_arguments(file, options)?.remove(context::SOURCE_DATE_EPOCH);
    given.filter(|text| !text.is_empty()).map(|text| context::epoch(&text)).transpose()
}

/// A build that fails leaves no id, and not that of the one before either. What is no file stays what it is. That it cannot
/// be written is told before a long build, not after it.
fn forget(iidfile: &Path) -> Result<()> {
    let attempt = || format!("--iidfile: write {}", iidfile.display());
    let is_link = iidfile.symlink_metadata().is_ok_and(|found| found.is_symlink());
    match iidfile.metadata() {
        Ok(found) if found.is_dir() => Err(Error::from(rustix::io::Errno::ISDIR)).context(attempt),
        // Also what `/dev/stdout` leads to.
        Ok(found) if found.is_file() && is_link => {
            std::fs::OpenOptions::new().write(true).truncate(true).open(iidfile).map(drop).context(attempt)
        }
        Ok(found) if found.is_file() => std::fs::remove_file(iidfile).context(attempt),
        Ok(_) => Ok(()),
        Err(_) => {
            let folder = iidfile.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).context(attempt)
        }
    }
}

/// Tells of a command that failed. Who asked for the id alone gets none, and is to see what it wrote.
fn failed(engine: &Engine, kind: ProgressKind, (text, code): (&str, u8), container: &ContainerId) -> Result<()> {
    if kind == ProgressKind::Quiet {
        logs::complain(engine, container)?;
    }
    if kind != ProgressKind::Json {
        output::complain(&format!("lrun: {}: the command returned a non-zero code: {code}", escape::line(text)));
    }
    Ok(())
}

/// What can be done about a command that failed.
fn way_on(container: &ContainerId, image: &Digest) {
    output::complain(&format!(
        "  hint: `lrun logs {0}` is what it wrote, `lrun diff {0}` what it changed; `lrun run --rm -ti {1} sh` looks around before it; `lrun build --resume …` goes on in it; `lrun rm {0}`",
        container.short(),
        image.short(),
    ));
}

fn nothing() -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
}

fn report(id: &Digest, options: &Options, iidfile: Option<&Path>, (kind, piped): (ProgressKind, bool)) -> Result<()> {
    if let Some(path) = iidfile {
        std::fs::write(path, id.as_str()).context(|| format!("write {}", path.display()))?;
    }
    match kind {
        ProgressKind::Quiet if !piped => output::line(id.as_str()),
        ProgressKind::Quiet | ProgressKind::Json | ProgressKind::None => {}
        _ => say(id, &options.names),
    }
    Ok(())
}

fn say(id: &Digest, names: &[Reference]) {
    output::complain(&format!("Successfully built {}", id.short()));
    for name in names {
        output::complain(&format!("Successfully tagged {}", name.familiar_with_tag()));
    }
}

/// The Dockerfile's text, and the context without what is ignored.
fn open(args: &BuildArgs, staging: &Staging, way: &mut Way<'_>) -> Result<(Source, Files)> {
    if let Some(address) = contexts::address(&args.context)? {
        return way.context(&address, args);
    }
    if args.context == Path::new("-") {
        return piped(args, staging);
    }
    let files = Files::open(&args.context)?;
    let (name, bytes) = match &args.file {
        Some(path) if path == Path::new("-") => ("-".to_owned(), stdin()?),
        Some(path) if contexts::is_url(path) => way.dockerfile(path)?,
        Some(path) => (path.display().to_string(), read(path)?),
        None => found(&files, &args.context)?,
    };
    let source = Source::new(name.clone(), &bytes)?;
    let has_place = args.file.as_ref().is_none_or(|path| path != Path::new("-") && !contexts::is_url(path));
    let ignore = match if has_place { beside(&name)? } else { None } {
        // podman's name for it.
        None => match files.read(b".dockerignore", SIZE_MAX as u64)? {
            None => files.read(b".containerignore", SIZE_MAX as u64)?,
            found => found,
        },
        beside => beside,
    };
    Ok((source, files.ignoring(patterns(ignore)?)))
}

/// The patterns beside a Dockerfile of this name: a file of its directory, wherever links in that lead. Only where there are
/// none, those of the context count.
fn beside(dockerfile: &str) -> Result<Option<Vec<u8>>> {
    let path = PathBuf::from(format!("{dockerfile}.dockerignore"));
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let read = Files::open(folder).and_then(|folder| folder.read(name.as_encoded_bytes(), SIZE_MAX as u64));
    read.context(|| format!("read {}", path.display()))
}

/// Standard input is the Dockerfile, or the context as an archive.
fn piped(args: &BuildArgs, staging: &Staging) -> Result<(Source, Files)> {
    let path = staging.path().join("context");
    file::make_dir(&path)?;
    let directory = file::open_dir(&path)?;
    let mut input = stdin_lock()?;
    let mut begin = Vec::new();
    input.by_ref().take(PEEK).read_to_end(&mut begin).context(|| "read standard input")?;
    if !is_archive(&begin) {
        if let Some(file) = args.file.as_ref().filter(|file| *file != Path::new("-")) {
            let text = format!("-f {}: standard input is a Dockerfile itself, and no archive", file.display());
            return Err(Error::new(ErrorKind::Invalid, text).hint("leave out -f, or give a directory or an archive"));
        }
        let bytes = bounded(begin.chain(input)).context(|| "read the Dockerfile from standard input")?;
        return Ok((Source::new("-", &bytes)?, Files::at(directory)));
    }
    if args.file.as_deref() == Some(Path::new("-")) {
        let text = "standard input is the context: it cannot be the Dockerfile, too";
        return Err(Error::new(ErrorKind::Invalid, text).hint("-f NAME is a file in the archive"));
    }
    // Where it is read may be another thread.
    drop(input);
    let (files, warnings) = Files::unpack(begin.chain(std::io::stdin()), directory, &mut |_| {})?;
    for warning in warnings {
        output::complain(&format!("WARNING: {}", escape::line(&warning)));
    }
    of_files(args, files)
}

/// The Dockerfile that is in the context, and what it ignores.
fn of_files(args: &BuildArgs, files: Files) -> Result<(Source, Files)> {
    let (name, bytes) = match &args.file {
        Some(name) if name == Path::new("-") => ("-".to_owned(), stdin()?),
        Some(name) => {
            let bytes = files.read(name.as_os_str().as_bytes(), SIZE_MAX as u64)?;
            (name.display().to_string(), bytes.ok_or_else(|| no_dockerfile(name))?)
        }
        None => found(&files, Path::new(""))?,
    };
    let ignore = match files.read(format!("{name}.dockerignore").as_bytes(), SIZE_MAX as u64)? {
        None => files.read(b".dockerignore", SIZE_MAX as u64)?,
        beside => beside,
    };
    Ok((Source::new(name, &bytes)?, files.ignoring(patterns(ignore)?)))
}

/// Whether this is how an archive begins, compressed or not. A tar has NUL bytes in its first header, which a Dockerfile
/// never has.
fn is_archive(begin: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    MAGIC.iter().any(|magic| begin.starts_with(magic)) || begin.contains(&0)
}

fn patterns(ignore: Option<Vec<u8>>) -> Result<Patterns> {
    let ignore = ignore.map(|bytes| Patterns::parse(&bytes)).transpose().context(|| "read .dockerignore")?;
    Ok(ignore.unwrap_or_default())
}

fn found(files: &Files, context: &Path) -> Result<(String, Vec<u8>)> {
    for name in NAMES {
        if let Some(bytes) = files.read(name.as_bytes(), SIZE_MAX as u64)? {
            return Ok((context.join(name).display().to_string(), bytes));
        }
    }
    Err(no_dockerfile(&context.join(NAMES[0])))
}

fn no_dockerfile(path: &Path) -> Error {
    let text = format!("failed to read dockerfile: {}: no such file or directory", path.display());
    Error::new(ErrorKind::NotFound, text).hint("-f FILE names another")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).context(|| format!("failed to read dockerfile: {}", path.display()))?;
    bounded(file).context(|| format!("failed to read dockerfile: {}", path.display()))
}

fn stdin() -> Result<Vec<u8>> {
    bounded(stdin_lock()?).context(|| "read the Dockerfile from standard input")
}

fn stdin_lock() -> Result<StdinLock<'static>> {
    let stdin = std::io::stdin();
    match stdin.is_terminal() {
        true => Err(Error::new(ErrorKind::Invalid, "standard input is a terminal: a Dockerfile is expected")),
        false => Ok(stdin.lock()),
    }
}

/// One byte more than is allowed, so that the parser says it.
fn bounded(from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! `cp`: files out of a container and into it, whether it runs or not.
//!
//! Runs in the CLI. The container's side is a helper that sees nothing but the container's files
//! ([`crate::sandbox::view`]), the host's side is the CLI itself, and a tar in a pipe between them: no process has both in
//! view, so that no link in a container, however it is swapped, leads to the host. What comes out of a container is
//! taken as an archive by a stranger.

mod access;
mod make;
mod path;
mod place;

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};

pub use make::{Answer, New, Owner, Question, ask, look, make_directory, put, put_from, take_from};
pub use path::Typed;

use super::engine::Engine;
use super::launch::Seen;
use super::owners::Recorded;
use super::record::Record;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::idmap::helper::Work;
use crate::image::files::{Ownership, Received, Receiver, Root, SendRules, Sent, Target, send};
use access::{Access, despite_its_end};
use path::{Goes, There, decide};
use place::{Found, Place, path_of};

/// Bytes of the pipe between the two sides.
const PIPE: usize = 1 << 20;

/// What `cp` was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Copy what a link leads to, not the link (`-L`).
    pub follow: bool,
    /// Keep owners (`-a`).
    pub archive: bool,
}

/// A path of a container, and the name that the user gave it.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'a> {
    /// The container, as typed.
    pub name: &'a str,
    /// The path.
    pub path: &'a Typed,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the files.
    pub content: u64,
    /// Bytes that went from one side to the other.
    pub transferred: u64,
    /// What the user should know, one line each.
    pub warnings: Vec<String>,
}

/// How an archive is extracted into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extraction {
    /// How the directory and those above it are made where they are missing; `None`: it must be there.
    pub make: Option<New>,
    /// Whose all of it becomes; `None`: as the archive says.
    pub owner: Option<Owner>,
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    // A smaller one is slower, no more.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE);
    Ok((read, write))
}

fn is_broken_pipe(error: &Error) -> bool {
    error.errno() == Some(libc::EPIPE)
}

/// docker's words for a path that a container does not have.
fn not_found(error: Error, path: &str, name: &str) -> Error {
    match error.errno() {
        Some(libc::ENOENT | libc::ENOTDIR) => {
            Error::new(ErrorKind::NotFound, format!("Could not find the file {path} in container {name}"))
        }
        Some(_) => error.context(format!("open {name}:{path}")),
        None => error,
    }
}

/// A failure of `lstat` as docker words it.
fn lstat(error: Error, path: &str) -> Error {
    match error.errno() {
        Some(errno) => {
            let own = Error::from(std::io::Error::from_raw_os_error(errno));
            own.with_kind(error.kind()).context(format!("lstat {path}"))
        }
        None => error,
    }
}

/// Copies out of a container to a path of the host.
pub fn copy_out(
    engine: &Engine,
    record: &Record,
    from: Inside<'_>,
    to: &Typed,
    options: CopyOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied> {
    let found = host_destination(to)?;
    despite_its_end(engine, record, |access, _| {
        bring_out(engine, access, from, (to, found.try_clone()?), options, progress)
    })
}

/// One attempt to copy out of a container to what was found on the host.
fn bring_out(
    engine: &Engine,
    access: Access,
    from: Inside<'_>,
    (to, found): (&Typed, Found),
    options: CopyOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied> {
    let (read, write) = pipe()?;
    let helper = access.start(engine, Seen::Reading, &[write.as_fd()], |_| {
        let root = inside_source(from, options)?;
        let none = |_: &[u8]| None;
        send(&root, &SendRules { base: b"", sparse: true, recorded: &none }, &mut File::from(write.try_clone()?))
    })?;
    drop(write);
    let received = receive_out(read, from, (to, found), options, progress);
    let sent = helper.finish(&mut |_| {}).map_err(|error| access.explain(error));
    let ended = access.finish(engine);
    match (received, sent) {
        // The other side's failure is the consequence.
        (Err(error), Err(consequence)) if is_broken_pipe(&consequence) => Err(error),
        (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Ok(received), Ok(sent)) => {
            ended?;
            let warnings = [sent_warnings(&sent), received_warnings(&received, true)].concat();
            Ok(Copied { content: sent.content, transferred: received.bytes, warnings })
        }
    }
}

/// Finds a destination on the host.
fn host_destination(to: &Typed) -> Result<Found> {
    match Place::host()?.destination(to) {
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            let parent = String::from_utf8_lossy(to.parent()).into_owned();
            Err(Error::new(ErrorKind::NotFound, format!("invalid output path: directory {parent:?} does not exist")))
        }
        Err(error) if error.errno().is_none() => {
            Err(Error::new(error.kind(), format!("invalid output path: {:?} {error}", to.shown())))
        }
        Err(error) => Err(error.context(format!("open {}", to.shown()))),
        Ok(found) => Ok(found),
    }
}

/// The host's side of a copy out.
fn receive_out(
    pipe: OwnedFd,
    from: Inside<'_>,
    (to, found): (&Typed, Found),
    options: CopyOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Received> {
    let mut pipe = File::from(pipe);
    let mut receiver = Receiver::new(&mut pipe, progress);
    // Nothing comes where the other side failed, and that says why.
    let Some(directory) = receiver.begins_with_directory()? else { return Ok(Received::default()) };
    let shown = to.shown();
    let refused = |why| Error::new(ErrorKind::Conflict, why).context(format!("copy to {shown}"));
    let name = match decide(from.path, directory, to, found.there).map_err(refused)? {
        Goes::Into(name) => name,
        Goes::There => Some(found.name),
    };
    let ownership = if options.archive { Ownership::Try } else { Ownership::Own };
    let target = Target { directory: found.directory, name, shown: to.path(), ownership, follow: false };
    // A FIFO has the mode that it is made with.
    let before = rustix::process::umask(Mode::empty());
    let received = receiver.run(target);
    rustix::process::umask(before);
    let received = received.context(|| format!("copy to {shown}"))?;
    match received.endless {
        true => Err(Error::new(ErrorKind::Io, "the copy was cut off")),
        false => Ok(received),
    }
}

/// In the helper: opens what is to be copied out of the container.
fn inside_source(from: Inside<'_>, options: CopyOptions) -> Result<Root> {
    let found = Place::inside()?.source(from.path, options.follow);
    found.map_err(|error| not_found(error, &from.path.shown(), from.name))
}

/// Copies out of a container as a tar.
pub fn stream_out(
    engine: &Engine,
    record: &Record,
    from: Inside<'_>,
    out: OwnedFd,
    options: CopyOptions,
) -> Result<Copied> {
    despite_its_end(engine, record, |access, begun| send_out(engine, record, access, from, (&out, begun), options))
}

/// One attempt to copy out of a container as a tar. `begun`: bytes of it are out.
fn send_out(
    engine: &Engine,
    record: &Record,
    access: Access,
    from: Inside<'_>,
    (out, begun): (&OwnedFd, &Cell<bool>),
    options: CopyOptions,
) -> Result<Copied> {
    let recorded = Recorded::open(engine, &record.layers)?;
    let kept: Vec<BorrowedFd<'_>> = recorded.descriptors().chain([out.as_fd()]).collect();
    let helper = access.start(engine, Seen::Reading, &kept, |at| {
        let root = inside_source(from, options)?;
        // Where it is, links followed: so the layers' records name it.
        let whole = match &root {
            Root::Directory(fd) => path_of(fd.as_fd())?,
            _ => Place::inside()?.destination(from.path).ok().map_or(Ok(Vec::new()), |found| {
                path_of(found.directory.as_fd()).map(|parent| crate::image::tar::join(&parent, &found.name))
            })?,
        };
        let find = |path: &[u8]| match path {
            b"" => recorded.find(&whole),
            path => recorded.find(&crate::image::tar::join(&whole, path)),
        };
        let base = from.path.name().unwrap_or_default();
        let mut out = Telling { file: File::from(out.try_clone()?), first: Some(at) };
        send(&root, &SendRules { base, sparse: false, recorded: &find }, &mut out)
    })?;
    let sent = helper.finish(&mut |_| begun.set(true)).map_err(|error| access.explain(error));
    let ended = access.finish(engine);
    let sent = sent?;
    ended?;
    Ok(Copied { content: sent.content, transferred: sent.bytes, warnings: sent_warnings(&sent) })
}

/// Copies from a path of the host into a container.
pub fn copy_in(
    engine: &Engine,
    record: &Record,
    from: &Typed,
    to: Inside<'_>,
    options: CopyOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied> {
    let mut made = false;
    despite_its_end(engine, record, |access, _| bring_in(engine, access, from, (to, &mut made), options, progress))
        .map_err(|error| error.context(format!("copy to {}:{}", to.name, to.path.shown())))
}

/// One attempt to copy from a path of the host into a container. `made`: an attempt before this found nothing there, so
/// that a directory is this copy's own.
fn bring_in(
    engine: &Engine,
    access: Access,
    from: &Typed,
    (to, made): (Inside<'_>, &mut bool),
    options: CopyOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied> {
    let root = Place::host()?.source(from, options.follow).map_err(|error| lstat(error, &from.shown()))?;
    let directory = matches!(root, Root::Directory(_));
    let (read, write) = pipe()?;
    let again = *made;
    let helper = access.start(engine, Seen::Writing, &[read.as_fd()], |at| {
        let place = Place::inside()?;
        let mut found = inside_destination(&place, to)?;
        if again {
            found = place.as_missing(found)?;
        }
        let refused = |why| Error::new(ErrorKind::Conflict, why);
        let name = match decide(from, directory, to.path, found.there).map_err(refused)? {
            Goes::Into(name) => name,
            Goes::There => Some(found.name.clone()),
        };
        place.check_writable(&found)?;
        at.report(u64::from(found.there == There::Nothing));
        let ownership = if options.archive { Ownership::Keep(&engine.map) } else { Ownership::Root };
        let target = Target { directory: found.directory, name, shown: to.path.path(), ownership, follow: false };
        let received = Receiver::new(&mut File::from(read.try_clone()?), &mut |_| {}).run(target)?;
        match received.endless {
            true => Err(Error::new(ErrorKind::Io, "the copy was cut off")),
            false => Ok(received),
        }
    })?;
    drop(read);
    let mut out = Counting { file: File::from(write), total: 0, progress };
    let none = |_: &[u8]| None;
    let sent = send(&root, &SendRules { base: b"", sparse: true, recorded: &none }, &mut out);
    let sent = sent.context(|| format!("copy {}", from.shown()));
    drop(out);
    let received = helper.finish(&mut |missing| *made = missing == 1).map_err(|error| access.explain(error));
    let ended = access.finish(engine);
    match (sent, received) {
        // This side's failure is the consequence.
        (Err(consequence), Err(error)) if is_broken_pipe(&consequence) => Err(error),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(sent), Ok(received)) => {
            ended?;
            let warnings = [sent_warnings(&sent), received_warnings(&received, false)].concat();
            Ok(Copied { content: sent.content, transferred: sent.bytes, warnings })
        }
    }
}

/// In the helper: finds a destination in the container.
fn inside_destination(place: &Place, to: Inside<'_>) -> Result<Found> {
    place.destination(to.path).map_err(|error| match error.errno() {
        None => Error::new(error.kind(), format!("destination \"{}:{}\" {error}", to.name, to.path.shown())),
        Some(_) => not_found(error, &String::from_utf8_lossy(to.path.parent()), to.name),
    })
}

/// Extracts a tar, compressed or not, into a directory of a container.
pub fn stream_in(
    engine: &Engine,
    record: &Record,
    archive: OwnedFd,
    (to, how): (Inside<'_>, Extraction),
    progress: &mut dyn FnMut(u64),
) -> Result<Copied> {
    let received = despite_its_end(engine, record, |access, begun| {
        let helper = access.extract(engine, &archive, (to, how))?;
        let mut tell = |bytes| {
            begun.set(true);
            progress(bytes);
        };
        let received = helper.finish(&mut tell).map_err(|error| access.explain(error));
        let ended = access.finish(engine);
        received.and_then(|received| ended.map(|()| received))
    });
    let received = received.map_err(|error| error.context(format!("copy to {}:{}", to.name, to.path.shown())))?;
    let mut warnings = received_warnings(&received, false);
    if received.endless {
        warnings.push("the archive has no end marker: it may be cut off".to_owned());
    }
    Ok(Copied { content: received.content, transferred: received.bytes, warnings })
}

/// Tells before the first byte is written.
struct Telling<'a> {
    file: File,
    first: Option<&'a Work>,
}

impl std::io::Write for Telling<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(work) = self.first.take() {
            work.report(0);
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes to a pipe and tells how much.
struct Counting<'a> {
    file: File,
    total: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl std::io::Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.total += count as u64;
        (self.progress)(self.total);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn sent_warnings(sent: &Sent) -> Vec<String> {
    let mut warnings = Vec::new();
    if sent.torn > 0 {
        let text = "files became shorter while they were read; zeros stand for what was lost";
        warnings.push(format!("{} {text}", sent.torn));
    }
    if sent.kernels > 0 {
        warnings.push(format!("{} directories of the kernel's file systems were copied empty", sent.kernels));
    }
    warnings
}

pub(super) fn received_warnings(received: &Received, on_host: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let why = if on_host { "only root can give files away" } else { "the id mapping lacks them" };
    for (count, text) in [
        (received.squashed, format!("owners were not kept: {why}")),
        (received.devices, "device nodes were not made".to_owned()),
        (received.refused, "extended attributes were not kept".to_owned()),
    ] {
        if count > 0 {
            warnings.push(format!("{count} {text}"));
        }
    }
    warnings
}

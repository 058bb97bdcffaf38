//! The layers of a pull: fetched, verified, decompressed and unpacked side by side, each streamed once.
//!
//! Runs in the CLI. First the helpers are started, each in a directory of its own; then a thread for each feeds it. A
//! layer is in the store when its compressed bytes had the manifest's digest and size and its tar had the config's diff
//! ID; anything else stays in `staging/` and is deleted. Where the bytes were not the manifest's, what was made of them is
//! thrown away, and when all threads are done the next round asks the next source, from the first byte.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::crew::{given_up, side_by_side};
use super::feed::{Feeder, unpack_all};
use super::{Event, Events, Layer};
use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file::{self, RemoveTree, Staging};
use crate::idmap::IdMap;
use crate::idmap::helper::{self, Helper};
use crate::image::archive::documents::Kind;
use crate::image::compress::Compression;
use crate::image::import::meta_of;
use crate::image::store::Store;
use crate::image::unpack::Unpacked;
use crate::registry::client::Client;
use crate::registry::http::{is_temporary, read_error};
use crate::registry::manifest::Descriptor;
use crate::registry::retry::{ATTEMPTS, delay};

/// Layers that are fetched at once; more would only take each other's share of the line.
const MOST: usize = 4;
const BUFFER: usize = 128 << 10;
const PIPE: usize = 1 << 20;

/// A layer that the store lacks.
pub(super) struct Job {
    /// Its compressed form.
    pub(super) descriptor: Descriptor,
    /// What its tar must be.
    pub(super) diff_id: Digest,
    /// Those before it sent other bytes, or less.
    pub(super) source: usize,
}

/// What the threads share.
struct Fetch<'a> {
    store: &'a Store,
    /// Those that may have the layers, in their order.
    clients: &'a [Client<'a>],
    events: &'a Events<'a>,
    warnings: Mutex<Vec<String>>,
    /// For the next round.
    again: Mutex<Vec<Job>>,
    stop: AtomicBool,
}

/// A helper and its directory; no helper where it was given up with what it had been sent.
struct Worker {
    line: Option<Line>,
    directory: PathBuf,
}

/// A helper and the way to it.
struct Line {
    helper: Helper<()>,
    feeder: Feeder,
}

impl Line {
    fn end(self) -> Result<()> {
        drop(self.feeder);
        self.helper.finish(&mut |_| {})
    }
}

/// Brings layers into the store. The caller has one thread, and holds [`Store::lock_shared`]. Returns what the user
/// should know.
pub(super) fn fetch(
    (store, map): (&Store, &IdMap),
    clients: &[Client<'_>],
    jobs: Vec<Job>,
    events: &Events<'_>,
    remove: &mut RemoveTree<'_>,
) -> Result<Vec<String>> {
    let (mut jobs, mut warnings) = (jobs, Vec::new());
    while !jobs.is_empty() {
        let staging = Staging::new(store.root())?;
        let count = jobs.len().min(MOST);
        let (known, again) = (Mutex::default(), Mutex::default());
        let fetch = Fetch { store, clients, events, warnings: known, again, stop: AtomicBool::new(false) };
        let numbered = (0..).zip(jobs).collect();
        let outcome = start(map, staging.path(), count).and_then(|workers| fetch.run(workers, numbered));
        // What cannot be deleted now is swept later; it must not hide the outcome.
        let _ = staging.remove(remove);
        outcome.map_err(file::with_way_out)?;
        warnings.extend(fetch.warnings.into_inner().unwrap_or_else(PoisonError::into_inner));
        jobs = fetch.again.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
    Ok(warnings)
}

fn start(map: &IdMap, staging: &Path, count: usize) -> Result<Vec<Worker>> {
    let mut workers = Vec::with_capacity(count);
    for number in 0..count {
        let directory = staging.join(format!("helper-{number}"));
        file::make_dir(&directory)?;
        let (out, into) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        // A user with many pipes gets smaller ones.
        let _ = fcntl_setpipe_size(&into, PIPE);
        let opened = file::open_dir(&directory)?;
        let helper = helper::start_in(map, opened.as_fd(), &[out.as_fd()], |work| {
            unpack_all(work, File::from(out.try_clone()?), map)
        })?;
        workers.push(Worker { line: Some(Line { helper, feeder: Feeder(File::from(into)) }), directory });
    }
    Ok(workers)
}

impl Fetch<'_> {
    fn run(&self, workers: Vec<Worker>, jobs: Vec<(u32, Job)>) -> Result<()> {
        let serve = |worker: &mut Worker, (number, job): (u32, Job)| {
            let digest = job.descriptor.digest.clone();
            self.one(worker, number, job).map_err(|error| error.context(format!("layer {digest}")))
        };
        side_by_side(workers, jobs, &self.stop, serve, |worker, outcome| {
            let ended = worker.line.map_or(Ok(()), Line::end);
            // One that was given up ends with an error, which is not the cause.
            outcome.and(ended)
        })
    }

    fn one(&self, worker: &mut Worker, number: u32, job: Job) -> Result<()> {
        let Worker { line, directory } = worker;
        let Some(open) = line else {
            self.later(job);
            return Ok(());
        };
        let short = job.descriptor.digest.short();
        let tell = |what| (self.events)(Event::Layer(short, what));
        tell(Layer::Waiting);
        let turn = Staging::named(self.store.root(), &format!("fetch-{}", job.diff_id.hex()))?;
        let fetched = match self.store.has_sound_layer(&job.diff_id)? {
            // Another process had it, too.
            true => Ok(Fetched::There(Layer::Here)),
            false => self.fetch(open, directory, number, &job),
        };
        let _ = turn.remove(&mut |path| file::remove_tree(path));
        match fetched? {
            Fetched::There(how) => tell(how),
            Fetched::From(source) => {
                // It ends with an error: what it was sent is not whole, and never will be.
                let _ = line.take().map(Line::end);
                self.later(Job { source, ..job });
            }
        }
        Ok(())
    }

    fn later(&self, job: Job) {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).push(job);
    }

    fn fetch(&self, line: &mut Line, directory: &Path, number: u32, job: &Job) -> Result<Fetched> {
        let wrapper = directory.join(number.to_string());
        file::make_dir(&wrapper)?;
        let mut download = Download::new(job.source);
        let fed = line.feeder.begin(number).map_err(Stopped::writing);
        match fed.and_then(|()| self.download(Some(&mut line.feeder), job, &mut download)) {
            Ok(()) => {}
            Err(Stopped::Download(error)) => return Err(error),
            Err(Stopped::Wrong(error)) => return self.elsewhere(job, &download, error),
            Err(Stopped::Helper) => {
                // It says why in its answer. The image's fault, or the source's? The rest of the bytes tell.
                let Err(error) = line.helper.answer::<(Compression, Unpacked)>() else { return Err(given_up()) };
                let of_the_bytes = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt);
                if of_the_bytes
                    && download.next() < self.clients.len()
                    && let Err(Stopped::Wrong(wrong)) = self.download(None, job, &mut download)
                {
                    return self.elsewhere(job, &download, wrong);
                }
                return Err(error);
            }
        }
        // A helper that is gone says why in its answer; one that waits for the end gives none.
        if let Err(Stopped::Download(error)) = line.feeder.end().map_err(Stopped::writing) {
            return Err(error);
        }
        let (compression, unpacked): (Compression, Unpacked) = line.helper.answer()?;
        let media_type = &job.descriptor.media_type;
        if Kind::of(media_type) != Kind::Layer(compression) {
            let message = format!("it is listed as {media_type:?}, and is {}", compression.name());
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if unpacked.diff_id != job.diff_id {
            let message = format!("its content is {}, and not {} as the image says", unpacked.diff_id, job.diff_id);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut meta = meta_of(&unpacked, "pull");
        if job.descriptor.digest != job.diff_id {
            meta.compressed.push(job.descriptor.digest.clone());
        }
        self.store.publish_layer(&wrapper, &meta)?;
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).extend(unpacked.warnings);
        Ok(Fetched::There(Layer::Pulled))
    }

    /// Where a layer comes from next whose bytes were wrong.
    fn elsewhere(&self, job: &Job, download: &Download, error: Error) -> Result<Fetched> {
        if download.next() == self.clients.len() {
            return Err(error);
        }
        let warning = format!("{}: layer {}: {error}", self.clients[download.first].registry(), job.descriptor.digest);
        (self.events)(Event::Warning(&warning));
        Ok(Fetched::From(download.next()))
    }

    /// Feeds a layer's bytes to the helper, until they are whole and what the manifest says; without a helper it is only
    /// found out whether they are. A connection that breaks is made anew, from where it broke; what one registry does not
    /// have, or not to the end, comes from the next.
    fn download(
        &self,
        mut feeder: Option<&mut Feeder>,
        job: &Job,
        state: &mut Download,
    ) -> std::result::Result<(), Stopped> {
        let mut attempt = 0;
        while let Some(client) = self.clients.get(state.at) {
            let before = state.done;
            let error = match self.stream(client, feeder.as_deref_mut(), job, state) {
                Ok(()) => break,
                Err(Broken::Line(error)) => {
                    attempt = if state.done > before { 1 } else { attempt + 1 };
                    if attempt < ATTEMPTS {
                        tracing::debug!(layer = %job.descriptor.digest, at = state.done, %error, "going on");
                        std::thread::sleep(delay(attempt, None));
                        continue;
                    }
                    error
                }
                Err(Broken::Refused(error)) => error,
                Err(Broken::Stopped(stopped)) => return Err(stopped),
            };
            attempt = 0;
            state.at += 1;
            if state.at == self.clients.len() {
                return Err(Stopped::Download(error));
            }
            if state.done == 0 {
                state.first = state.at;
            }
            (self.events)(Event::Warning(&format!("{}: {error}", client.registry())));
        }
        let digest = std::mem::take(&mut state.hasher).finish();
        if digest != job.descriptor.digest {
            let message = format!("what came is {digest}: the download is damaged, or was exchanged");
            return Err(Stopped::Wrong(Error::new(ErrorKind::Corrupt, message)));
        }
        Ok(())
    }

    fn stream(
        &self,
        client: &Client<'_>,
        mut feeder: Option<&mut Feeder>,
        job: &Job,
        state: &mut Download,
    ) -> std::result::Result<(), Broken> {
        let size = job.descriptor.size;
        if state.done == size {
            return Ok(());
        }
        let stream = client.blob(&job.descriptor.digest, state.done).map_err(Broken::Refused)?;
        let mut skip = state.done.saturating_sub(stream.from);
        let mut reader = stream.reader;
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Broken::Stopped(Stopped::Download(given_up())));
            }
            let got = match reader.read(&mut buffer) {
                Ok(got) => got,
                Err(error) if is_temporary(&error) => return Err(Broken::Line(read_error(error))),
                Err(error) => return Err(Broken::Refused(read_error(error))),
            };
            if got == 0 && state.done < size {
                return Err(Broken::Line(Error::new(ErrorKind::Io, "the connection ended before the layer did")));
            }
            if got == 0 {
                return Ok(());
            }
            // What was used already comes again from a server that knows no ranges.
            let known = skip.min(got as u64) as usize;
            skip -= known as u64;
            let bytes = &buffer[known..got];
            if state.done + bytes.len() as u64 > size {
                let message = format!("it is larger than the {size} bytes that the manifest says");
                return Err(Broken::Stopped(Stopped::Wrong(Error::new(ErrorKind::Corrupt, message))));
            }
            if !bytes.is_empty() {
                state.hasher.update(bytes);
                state.done += bytes.len() as u64;
                if let Some(feeder) = feeder.as_deref_mut() {
                    feeder.data(bytes).map_err(|error| Broken::Stopped(Stopped::writing(error)))?;
                }
                (self.events)(Event::Layer(job.descriptor.digest.short(), Layer::Downloading(state.done, size)));
            }
        }
    }
}

/// What became of a layer.
enum Fetched {
    /// It is in the store.
    There(Layer<'static>),
    /// It is to be asked for anew, from this source on.
    From(usize),
}

/// How far a layer is.
struct Download {
    hasher: Hasher,
    done: u64,
    /// The source of the first byte.
    first: usize,
    /// The source of those that come.
    at: usize,
}

impl Download {
    fn new(source: usize) -> Self {
        Self { hasher: Hasher::new(), done: 0, first: source, at: source }
    }

    /// Who is asked for all of it when it turns out wrong: this source if others sent a part, else the next.
    fn next(&self) -> usize {
        if self.first < self.at { self.at } else { self.at + 1 }
    }
}

/// Why a layer is not whole.
enum Stopped {
    /// Because of the download.
    Download(Error),
    /// The bytes are not the manifest's.
    Wrong(Error),
    /// The helper ended.
    Helper,
}

impl Stopped {
    /// What an error of the helper's pipe means: one that is still there is not waited for.
    fn writing(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Helper,
            _ => Self::Download(Error::from(error).context("feed the storage helper")),
        }
    }
}

/// Why a stream ended.
enum Broken {
    /// The line broke: worth another try.
    Line(Error),
    /// This registry has it not, or gives it not.
    Refused(Error),
    /// For good.
    Stopped(Stopped),
}

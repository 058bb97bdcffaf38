//! Several layers become one: for `--squash`, and for a container that was committed many times.
//!
//! One forked process packs what the layers give together, in a storage helper; the CLI unpacks that stream in another.
//! Nothing is mounted, and nothing of it is kept but the new layer.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

use super::Stack;
use crate::container::engine::Engine;
use crate::container::owners::Recorded;
use crate::container::stack::{borrowed, open_layers};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, ErrorParts, Result};
use crate::file::{self, Staging};
use crate::idmap::helper;
use crate::image::check::verify_layers;
use crate::image::import::{meta_of, unpack_into};
use crate::image::pack::{Clock, Marks, pack_merged};
use crate::image::store::LayerMeta;
use crate::sys::process::{Fork, exit_now, fork_into};

/// Merges the layers of a stack above its lowest `depth` into one, with the history of them all. With a depth of 0 the new
/// layer needs none below it and has no whiteouts.
pub(super) fn merge(engine: &Engine, stack: &Stack, depth: usize, clock: Option<Timestamp>) -> Result<Stack> {
    let (below, merged) = stack.layers.split_at(depth.min(stack.layers.len()));
    let digest = merge_layers(engine, &stack.layers, below.len(), clock)
        .context(|| format!("merge {} layers into one", merged.len()))?;
    let mut history = stack.history.clone();
    let last = history.iter().rposition(|entry| !entry.empty_layer).or(history.len().checked_sub(1));
    for (n, entry) in history.iter_mut().enumerate() {
        entry.empty_layer = Some(n) != last;
    }
    Ok(Stack { layers: [below, &[digest]].concat(), history })
}

/// Merges the layers of a stack, bottom first, above its lowest `depth` into one: its digest. The caller has one thread, and
/// holds [`crate::image::store::Store::lock_shared`].
pub fn merge_layers(engine: &Engine, stack: &[Digest], depth: usize, clock: Option<Timestamp>) -> Result<Digest> {
    let staging = Staging::new(engine.root())?;
    let wrapper = staging.path().join("layer");
    let outcome = file::make_dir(&wrapper).and_then(|()| {
        let (packer, archive) = Packer::start(|out| pack(engine, stack, depth, clock, out))?;
        let unpacked = unpack_into(&engine.map, &wrapper, archive, &mut |_| {});
        let unpacked = match (packer.end(), unpacked) {
            // The one that failed first made the other fail.
            (Err(error), Err(unpacking)) if error.errno() == Some(libc::EPIPE) => return Err(unpacking),
            (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
            (Ok(()), Ok(unpacked)) => unpacked,
        };
        let meta = LayerMeta { squashed: true, ..meta_of(&unpacked, "commit") };
        engine.store.publish_layer(&wrapper, &meta)?;
        Ok(unpacked.diff_id)
    });
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(&mut |path| engine.remove_tree(path));
    outcome
}

/// In the packing process: writes what the layers above the lowest `depth` give together.
fn pack(engine: &Engine, stack: &[Digest], depth: usize, clock: Option<Timestamp>, out: OwnedFd) -> Result<()> {
    let layers = file::open_dir(&engine.root().layers())?;
    let recorded = Recorded::open(engine, stack)?;
    let clock = clock.map(Timestamp::as_second).map(Clock::Latest);
    let marks = if depth == 0 { Marks::None } else { Marks::Whiteouts };
    let facts = engine.store.layer_facts(stack.get(depth..).unwrap_or_default());
    let folders = engine.folders(stack.get(depth..).unwrap_or_default())?;
    helper::run(&engine.map, layers.as_fd(), &mut |_| {}, |work| {
        // Nothing new is made of what is not as it was.
        verify_layers(work.root.as_fd(), &facts, &engine.map)?;
        let own = open_layers(work, &folders)?;
        pack_merged(&borrowed(&own), marks, &|path| recorded.find(path), clock, &mut File::from(out))
    })
    .map(drop)
}

/// The process that packs.
struct Packer {
    pid: Pid,
    answer: OwnedFd,
}

impl Packer {
    /// Runs `pack` in a forked process; gives the end at which its stream comes out. The caller has one thread.
    fn start(pack: impl FnOnce(OwnedFd) -> Result<()>) -> Result<(Self, OwnedFd)> {
        let (archive, out) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        let (answer, report) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        match fork_into(0).context(|| "fork")? {
            Fork::Child => {
                drop((archive, answer));
                let outcome = pack(out).map_err(|error| error.to_parts()).err();
                let told = serde_json::to_vec(&outcome).is_ok_and(|text| File::from(report).write_all(&text).is_ok());
                exit_now(i32::from(!told))
            }
            Fork::Parent { pid, .. } => Ok((Self { pid, answer }, archive)),
        }
    }

    fn end(self) -> Result<()> {
        let mut text = Vec::new();
        let read = File::from(self.answer).read_to_end(&mut text);
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        read.context(|| "wait for the layers to be packed")?;
        match serde_json::from_slice::<Option<ErrorParts>>(&text) {
            Ok(None) => Ok(()),
            Ok(Some(parts)) => Err(Error::from_parts(parts)),
            Err(_) => Err(Error::new(ErrorKind::Io, "the process that packs the layers died")),
        }
    }
}

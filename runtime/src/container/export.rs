//! `export`: the whole root file system of a container as a tar; and that of an image, as a tar or as files.
//!
//! Runs in the CLI; the files are read in the storage helper, from the layers themselves: nothing is mounted, so a running
//! container may go on. lrun's own layers are no part of it, and neither is what is mounted in the container. Beside the
//! packing a second helper reads the layers against their indexes: what is not as it was makes the export fail.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};

use super::cp::received_warnings;
use super::engine::Engine;
use super::names::ContainerId;
use super::owners::Recorded;
use super::stack::{Stack, borrowed, open_layers};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file;
use crate::idmap::helper::{self, Helper};
use crate::image::check::verify_layers;
use crate::image::files::{Ownership, Received, Receiver, Target};
use crate::image::pack::{Clock, Marks, Merged, pack_merged};
use crate::image::store::Image;

/// Writes the root file system of this container to `out`.
pub fn export(engine: &Engine, id: &ContainerId, out: OwnedFd) -> Result<Merged> {
    let stack = Stack::open(engine, id)?;
    let packed = pack(engine, &stack, out).context(|| format!("export container {}", id.short()));
    stack.made(engine, packed)
}

fn pack(engine: &Engine, stack: &Stack, out: OwnedFd) -> Result<Merged> {
    let layers = file::open_dir(&engine.root().layers())?;
    let recorded = Recorded::open(engine, &stack.record.layers)?;
    let verifying = verify(engine, layers.as_fd(), &stack.record.layers)?;
    let packed = helper::run(&engine.map, layers.as_fd(), &mut |_| {}, |work| {
        let mut all = stack.own(work)?;
        all.extend(stack.image(work)?);
        // Before its first start the read-write layer has nothing, and no attributes for the root.
        if !stack.record.has_layer() && all.len() > 1 {
            all.remove(0);
        }
        pack_merged(&borrowed(&all), Marks::None, &|path| recorded.find(path), None, &mut File::from(out))
    });
    verified(packed, verifying)
}

/// What was packed counts if the layers were what they are to be.
fn verified<T>(packed: Result<T>, verifying: Helper<()>) -> Result<T> {
    match packed {
        Ok(packed) => verifying.finish(&mut |_| {}).map(|()| packed),
        Err(error) => {
            verifying.give_up();
            Err(error)
        }
    }
}

/// Starts to compare these layers with what they were.
fn verify(engine: &Engine, folder: BorrowedFd<'_>, layers: &[Digest]) -> Result<Helper<()>> {
    let facts = engine.store.layer_facts(layers);
    helper::start_in(&engine.map, folder, &[], |work| verify_layers(work.root.as_fd(), &facts, &engine.map))
}

/// Writes an image's files to `out`, as [`export`] does; every one has the time `clock`, if that is given. The caller holds
/// [`crate::image::store::Store::lock_shared`].
pub fn export_image(engine: &Engine, image: &Image, clock: Option<Timestamp>, out: OwnedFd) -> Result<Merged> {
    with_packer(engine, image, clock, out, |packer| packer.finish(&mut |_| {}))
        .context(|| format!("export image {}", image.id.short()))
}

/// Puts an image's files into a directory of the host, which is open for reading; `shown` is its path. They become the
/// caller's, without setuid and setgid bits, and nothing is written outside, whatever links are there: what has a name that is
/// taken is replaced, a directory is kept. `clock`: as for [`export_image`]. What the user should know. The caller holds
/// [`crate::image::store::Store::lock_shared`].
pub fn extract_image(
    engine: &Engine,
    image: &Image,
    clock: Option<Timestamp>,
    (directory, shown): (OwnedFd, &[u8]),
) -> Result<Vec<String>> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    with_packer(engine, image, clock, write, |packer| {
        let received = receive(read, directory, shown);
        let packed = packer.finish(&mut |_| {});
        match (received, packed) {
            // The other side's failure is the consequence.
            (Err(error), Err(consequence)) if consequence.errno() == Some(libc::EPIPE) => Err(error),
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(received), Ok(_)) if received.endless => Err(Error::new(ErrorKind::Io, "the copy was cut off")),
            (Ok(received), Ok(_)) => Ok(received_warnings(&received, true)),
        }
    })
    .context(|| format!("write the files of image {} to {}", image.id.short(), String::from_utf8_lossy(shown)))
}

fn receive(pipe: OwnedFd, directory: OwnedFd, shown: &[u8]) -> Result<Received> {
    let target = Target { directory, name: None, shown, ownership: Ownership::Own, follow: false };
    // A FIFO has the mode that it is made with.
    let before = rustix::process::umask(Mode::empty());
    let received = Receiver::new(&mut File::from(pipe), &mut |_| {}).run(target);
    rustix::process::umask(before);
    received
}

/// Starts a helper that packs the image's files into `out`, and does `work` meanwhile.
fn with_packer<T>(
    engine: &Engine,
    image: &Image,
    clock: Option<Timestamp>,
    out: OwnedFd,
    work: impl FnOnce(Helper<Merged>) -> Result<T>,
) -> Result<T> {
    let stack = &image.config.rootfs.diff_ids;
    let layers = file::open_dir(&engine.root().layers())?;
    let recorded = Recorded::open(engine, stack)?;
    let folders = engine.folders(stack)?;
    let verifying = verify(engine, layers.as_fd(), stack)?;
    let kept: Vec<BorrowedFd<'_>> = recorded.descriptors().chain([out.as_fd()]).collect();
    let clock = clock.map(Timestamp::as_second).map(Clock::Every);
    let packer = helper::start_in(&engine.map, layers.as_fd(), &kept, |at| {
        let all = open_layers(at, &folders)?;
        let mut out = File::from(out.try_clone()?);
        pack_merged(&borrowed(&all), Marks::None, &|path| recorded.find(path), clock, &mut out)
    });
    drop(out);
    verified(packer.and_then(work), verifying)
}

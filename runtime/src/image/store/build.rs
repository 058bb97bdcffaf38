//! What a build has made becomes the store's: in one flush, and in an order in which no crash leaves an image without its
//! layers.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{fsync, syncfs};

use super::Store;
use crate::digest::Digest;
use crate::error::{Context as _, Result};
use crate::file;
use crate::idmap::{IdMap, helper};
use crate::image::unpack::flush;
use crate::paths::Root;

/// Bytes that wait to be written on the whole machine, up to which flushing the file system is cheaper than flushing each
/// file: it waits for other programs' data, too.
const LITTLE: u64 = 16 << 20;
/// Files and directories of a layer besides its tree.
const BESIDES: u64 = 5;

/// What a build has made.
struct Made {
    /// The folder of its layers.
    folder: PathBuf,
    layers: Vec<Digest>,
    blobs: Vec<PathBuf>,
    images: Vec<Digest>,
}

impl Made {
    fn find(build: &Root) -> Result<Option<Self>> {
        let (Some(folder), Some(blobs), Some(images)) =
            (build.build_layers(), build.build_blobs(), build.build_images())
        else {
            return Ok(None);
        };
        if !file::exists(&images)? {
            return Ok(None);
        }
        let folder = build.layers().join(folder);
        let layers: Vec<Digest> =
            file::list_dir(&folder)?.iter().filter_map(|name| Digest::from_hex(name).ok()).collect();
        let ids = file::list_dir(&images)?;
        let images: Vec<Digest> =
            ids.iter().filter_map(|name| Digest::from_hex(name.strip_suffix(".json")?).ok()).collect();
        let blobs = file::list_dir(&blobs)?.iter().map(|name| blobs.join(name)).collect();
        // Layers alone are there where the images are the store's, whose layer was damaged.
        Ok((!images.is_empty() || !layers.is_empty()).then_some(Self { folder, layers, blobs, images }))
    }
}

impl Store {
    /// Publishes everything that a build has made, whose view of this store `build` is: its layers, and the images that
    /// consist of them. All of it is on disk when this returns. What the store has already stays as it is.
    ///
    /// The caller holds [`Store::lock_shared`], and starts no step meanwhile.
    pub fn adopt(&self, build: &Self, map: &IdMap) -> Result<()> {
        let Some(made) = Made::find(&build.root)? else { return Ok(()) };
        self.flush(build, &made, map).context(|| "write the build's layers to disk")?;
        for layer in &made.layers {
            self.move_layer(&made.folder.join(layer.hex()), layer)?;
        }
        file::fsync_dir(&self.root.layers())?;
        for blob in &made.blobs {
            let name = blob.file_name().map(Path::new).unwrap_or(Path::new(""));
            rustix::fs::rename(blob, self.root.blobs().join(name)).context(|| "publish an image's config")?;
        }
        file::fsync_dir(&self.root.blobs())?;
        let _refs_lock = self.lock_refs()?;
        for id in made.images.iter().filter(|id| self.is_gone(id)) {
            rustix::fs::rename(build.root.image(id), self.root.image(id)).context(|| format!("publish image {id}"))?;
        }
        file::fsync_dir(&self.root.images())
    }

    fn flush(&self, build: &Self, made: &Made, map: &IdMap) -> Result<()> {
        let files = made.layers.iter().map(|layer| build.layer_meta(layer).map_or(0, |meta| meta.entries) + BESIDES);
        let entries = files.sum();
        if waiting().is_some_and(|bytes| bytes <= LITTLE) {
            return Ok(syncfs(file::open_dir(self.root.path())?)?);
        }
        let folder = file::open_dir(&made.folder)?;
        helper::run(map, folder.as_fd(), &mut |_| {}, |work| flush(work.root.as_fd(), entries))?;
        for path in made.blobs.iter().cloned().chain(made.images.iter().map(|id| build.root.image(id))) {
            fsync(std::fs::File::open(&path)?).context(|| format!("flush {}", path.display()))?;
        }
        Ok(())
    }
}

/// Bytes that wait to be written on the whole machine; proc_meminfo(5).
fn waiting() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((value("Dirty:")? + value("Writeback:")?) << 10)
}

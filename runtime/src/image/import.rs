//! `import`: a root file system's archive becomes an image of one layer.
//!
//! Runs in the CLI; the archive is read in the storage helper, which is given nothing but its descriptor and the
//! directory that the layer is made in.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;

use super::compress::{Growth, Windows, decompress_within};
use super::config::apply_changes;
use super::config::{History, ImageConfig, RootFs, RunConfig};
use super::store::{LayerMeta, Published, Store};
use super::unpack::{Flusher, Limits, Unpacked, unpack};
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, RemoveTree, Staging};
use crate::idmap::{IdMap, helper};
use crate::reference::Reference;

/// What the new image gets beside its layer.
#[derive(Debug, Default)]
pub struct ImportOptions {
    /// Dockerfile instructions that are applied to its config.
    pub changes: Vec<String>,
    /// Comment of its history entry.
    pub message: String,
    /// Its name.
    pub reference: Option<Reference>,
    /// The architecture that its files are made for, and the variant; `None`: this machine's.
    pub made_for: Option<(String, String)>,
    /// The time that it carries; `None`: now.
    pub clock: Option<Timestamp>,
}

/// A new image.
#[derive(Debug)]
pub struct Imported {
    /// Its id.
    pub id: Digest,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Imports the archive behind `archive`, compressed or not. `progress` gets the bytes of it that have been read.
///
/// The image is on disk when this returns. After an error nothing of it is left.
pub fn import(
    store: &Store,
    map: &IdMap,
    archive: OwnedFd,
    options: &ImportOptions,
    progress: &mut dyn FnMut(u64),
    remove: &mut RemoveTree<'_>,
) -> Result<Imported> {
    let mut run = RunConfig::default();
    apply_changes(&mut run, &options.changes)?;
    let _using = store.lock_shared()?;
    let staging = Staging::new(store.root())?;
    let wrapper = staging.path().join("layer");
    let outcome = file::make_dir(&wrapper)
        .and_then(|()| unpack_into(map, &wrapper, archive, progress))
        .and_then(|unpacked| {
            let meta = meta_of(&unpacked, "import");
            let published = store.publish_layer(&wrapper, &meta)?;
            tracing::debug!(?published, diff_id = %unpacked.diff_id, "layer");
            if published == Published::Existing {
                remove(&wrapper)?;
            }
            Ok(unpacked)
        })
        .and_then(|unpacked| {
            let config = config_of(&unpacked, run, options)?;
            let id = store.publish_image(&config, None, options.reference.as_slice())?;
            Ok(Imported { id, warnings: unpacked.warnings })
        });
    // What cannot be deleted now is swept later; it must not hide the outcome.
    let _ = staging.remove(remove);
    outcome.map_err(file::with_way_out)
}

/// Unpacks an archive, compressed or not, into the new directory `wrapper`, and flushes it; in a storage helper.
pub(crate) fn unpack_into(
    map: &IdMap,
    wrapper: &std::path::Path,
    archive: OwnedFd,
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked> {
    let directory = file::open_dir(wrapper)?;
    helper::run(map, directory.as_fd(), progress, |work| {
        let growth = Growth::default();
        let source = growth.source(File::from(archive.try_clone()?));
        let (mut tar, compression) = decompress_within(Box::new(source), Windows::IMPORT, &growth)?;
        tracing::debug!(compression = compression.name(), "archive");
        let mut told = 0;
        let mut flusher = Flusher::new(work.root.as_fd())?;
        let mut report = |passed| {
            flusher.passed(passed);
            let now = growth.read();
            if now - told >= 1 << 20 {
                told = now;
                work.report(now);
            }
        };
        let unpacked = unpack(&mut tar, work.root.as_fd(), map, &Limits::default(), &mut report)?;
        // What follows the archive in a compressed file is checked, too.
        let mut rest = [0u8; 4096];
        while tar.read(&mut rest)? > 0 {}
        flusher.finish(unpacked.entries).context(|| "write the layer to disk")?;
        Ok(unpacked)
    })
}

/// The record of a layer that was unpacked.
pub(crate) fn meta_of(unpacked: &Unpacked, source: &str) -> LayerMeta {
    LayerMeta {
        diff_id: unpacked.diff_id.clone(),
        size: unpacked.size,
        content: unpacked.content,
        entries: unpacked.entries,
        created: Timestamp::now(),
        source: source.to_owned(),
        compressed: Vec::new(),
        squashed: false,
        implicit: unpacked.implicit > 0,
        implicit_root: !unpacked.root_entry,
        opaque_root: unpacked.opaque_root,
        extra: Default::default(),
    }
}

fn config_of(unpacked: &Unpacked, run: RunConfig, options: &ImportOptions) -> Result<Vec<u8>> {
    let now = options.clock.unwrap_or_else(Timestamp::now).to_string();
    let entry = History { created: Some(now.clone()), comment: options.message.clone(), ..History::default() };
    let (architecture, variant) = match &options.made_for {
        Some(made_for) => made_for.clone(),
        None => (architecture()?.to_owned(), String::new()),
    };
    let config = ImageConfig {
        architecture,
        variant,
        os: "linux".to_owned(),
        created: Some(now),
        config: run,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![unpacked.diff_id.clone()], ..RootFs::default() },
        history: vec![entry],
        ..ImageConfig::default()
    };
    config.to_bytes()
}

/// This machine's architecture in Go's words, as image configs have it.
pub fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        "riscv64" => Ok("riscv64"),
        other => Err(Error::new(ErrorKind::Unsupported, format!("unknown architecture {other}"))),
    }
}

//! Which folders of `layers/` give a stack of layers its files.
//!
//! A layer with only `tmp/x` says nothing of `tmp`, but unpacked it has such a directory, which would hide the mode,
//! owner and attributes that a lower layer gives it. Where they differ, a folder with nothing but such directories is put
//! on top of those layers. It is made once for each such stack, found by its chain id, and part of no layer.
//!
//! Layers below one with an opaque root are left out: overlayfs cannot hide a whole layer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use super::attributes::RootAttrs;
use super::config::chain_ids;
use super::index::Entries;
use super::merged::{Found, Merged};
use super::store::{LayerMeta, Store};
use super::tar::{Kind, split};
use super::unpack::flush;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, RemoveTree, Staging};
use crate::idmap::helper::Work;
use crate::idmap::{IdMap, helper};
use crate::paths::Root;

/// Directories without an entry of their own that lie on a directory of a lower layer.
const MOST: usize = 500_000;

/// The folders of a stack in `layers/`, topmost first; `stack` has the bottom first. Makes what is missing.
pub fn folders(store: &Store, map: &IdMap, stack: &[Digest], remove: &mut RemoveTree<'_>) -> Result<Vec<String>> {
    let names = |layers: &[Digest]| layers.iter().rev().map(|layer| layer.hex().to_owned()).collect::<Vec<_>>();
    if stack.len() < 2 {
        return Ok(names(stack));
    }
    let facts: Vec<Option<LayerMeta>> = stack.iter().map(|layer| store.layer_meta(layer).ok()).collect();
    let is = |fact: fn(&LayerMeta) -> bool| move |meta: &Option<LayerMeta>| meta.as_ref().is_some_and(fact);
    let bottom = facts.iter().rposition(is(|meta| meta.opaque_root)).unwrap_or(0);
    let without = facts.iter().rposition(is(|meta| meta.implicit || meta.implicit_root));
    let Some(top) = without.filter(|top| *top > bottom) else {
        return Ok(names(stack.get(bottom..).unwrap_or_default()));
    };
    // What is above has an entry for each of its directories.
    let (below, above) = stack.split_at(top + 1);
    let without = |(digest, meta): (&Digest, &Option<LayerMeta>)| Without {
        digest: digest.clone(),
        directories: is(|meta| meta.implicit)(meta),
        root: is(|meta| meta.implicit_root)(meta),
    };
    let layers: Vec<Without> = below.iter().zip(&facts).skip(bottom).map(without).rev().collect();
    let mut folders = names(above);
    folders.extend(completion(store, map, below, &layers, remove)?);
    folders.extend(names(below.get(bottom..).unwrap_or_default()));
    Ok(folders)
}

/// A layer, and what of it has no entry of its own.
struct Without {
    digest: Digest,
    directories: bool,
    root: bool,
}

/// The folder that completes a stack; `None` if it needs none.
fn completion(
    store: &Store,
    map: &IdMap,
    stack: &[Digest],
    layers: &[Without],
    remove: &mut RemoveTree<'_>,
) -> Result<Option<String>> {
    let chain = chain_ids(stack).pop().unwrap_or_else(|| Digest::of(b""));
    let name = Root::completion(&chain);
    let path = store.root().layers().join(&name);
    if !file::exists(&path)? {
        let staging = Staging::new(store.root())?;
        let made = make_in(store, map, layers, &staging).and_then(|made| {
            match rustix::fs::rename(&made, &path) {
                // Another process was first.
                Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => file::fsync_dir(&store.root().layers()),
                Err(errno) => Err(Error::from(errno).context(format!("complete the layers of {chain}"))),
            }
        });
        // What cannot be deleted now is swept later.
        let _ = staging.remove(remove);
        made?;
    }
    Ok(file::exists(&path.join("diff"))?.then_some(name))
}

fn make_in(store: &Store, map: &IdMap, layers: &[Without], staging: &Staging) -> Result<PathBuf> {
    let path = staging.path().join("stack");
    file::make_dir(&path)?;
    let place = path.strip_prefix(store.root().path()).unwrap_or(&path);
    let root = file::open_dir(store.root().path())?;
    helper::run(map, root.as_fd(), &mut |_| {}, |work| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = openat(&work.root, place, flags, Mode::empty())?;
        make(work, layers, place.as_fd())
    })
    .context(|| "complete the stack of layers")?;
    Ok(path)
}

/// In the storage helper, pivoted into the store: makes `diff/` in `place`, if it is needed. The topmost layer is first.
fn make(work: &Work, layers: &[Without], place: BorrowedFd<'_>) -> Result<()> {
    let open = |path: String, flags: OFlags| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
        openat(&work.root, &path, flags, Mode::empty()).context(|| format!("open {path}"))
    };
    let roots = layers.iter().map(|layer| open(format!("layers/{}/diff", layer.digest.hex()), OFlags::DIRECTORY));
    let roots = roots.collect::<Result<Vec<OwnedFd>>>()?;
    let mut implicit: HashMap<Vec<u8>, HashSet<usize>> = HashMap::new();
    for (number, Without { digest, directories, root }) in layers.iter().enumerate() {
        if *directories {
            let index = File::from(open(format!("layers/{}/index", digest.hex()), OFlags::empty())?);
            let lower = roots.get(number + 1..).unwrap_or_default();
            for path in implicit_directories(index, lower).context(|| format!("layer {digest}"))? {
                implicit.entry(path).or_default().insert(number);
            }
        }
        if *root {
            implicit.entry(Vec::new()).or_default().insert(number);
        }
    }
    complete(&roots, &implicit, place)
}

/// The directories of a layer that have no entry of their own, and lie on one of a lower layer.
fn implicit_directories(index: File, lower: &[OwnedFd]) -> Result<HashSet<Vec<u8>>> {
    let mut found = HashSet::new();
    for entry in Entries::new(index)? {
        let entry = entry?;
        match entry.implicit {
            true if lower.iter().any(|root| has_directory(root, &entry.head.path)) => {
                found.insert(entry.head.path);
            }
            // It came after what is in it.
            false if entry.head.kind == Kind::Directory => {
                found.remove(&entry.head.path);
            }
            _ => {}
        }
        if found.len() > MOST {
            let text = format!("more than {MOST} directories without an entry of their own, the limit");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    Ok(found)
}

fn has_directory(root: &OwnedFd, path: &[u8]) -> bool {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(root, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve).is_ok()
}

/// Makes the directories of a stack whose attributes are not those of the topmost layer that has them.
fn complete(roots: &[OwnedFd], implicit: &HashMap<Vec<u8>, HashSet<usize>>, place: BorrowedFd<'_>) -> Result<()> {
    let roots: Vec<BorrowedFd<'_>> = roots.iter().map(AsFd::as_fd).collect();
    let mut needed: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, without) in implicit {
        let Some(merged) = descend(&roots, path)? else { continue };
        let Some(top) = merged.top() else { continue };
        let own = RootAttrs::read(top)?;
        if meant(&merged, without)?.is_some_and(|meant| RootAttrs { mtime: own.mtime, ..meant } != own) {
            let mut path = path.as_slice();
            while needed.insert(path.to_vec()) {
                path = split(path).map(|(parent, _)| parent).unwrap_or_default();
            }
        }
    }
    if needed.is_empty() {
        return Ok(());
    }
    mkdirat(place, "diff", Mode::from_raw_mode(0o755))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let diff = openat(place, "diff", flags, Mode::empty())?;
    for path in needed.iter().filter(|path| !path.is_empty()) {
        mkdirat(&diff, path.as_slice(), Mode::from_raw_mode(0o755))?;
    }
    let nowhere = HashSet::new();
    // What is in a directory comes first: making it changes the directory's time.
    for path in needed.iter().rev() {
        let Some(merged) = descend(&roots, path)? else { continue };
        let below = if path.is_empty() { b"." } else { path.as_slice() };
        let directory = openat(&diff, below, flags, Mode::empty())?;
        if let Some(attributes) = meant(&merged, implicit.get(path).unwrap_or(&nowhere))? {
            attributes.apply(directory.as_fd())?;
        }
    }
    flush(place, needed.len() as u64)
}

/// The attributes that a directory is meant to have: those of the topmost layer with an entry for it.
fn meant(merged: &Merged, without: &HashSet<usize>) -> Result<Option<RootAttrs>> {
    let said = merged.parts().find(|(number, _)| !without.contains(number)).map(|(_, directory)| directory);
    said.or(merged.top()).map(RootAttrs::read).transpose()
}

/// A directory of the stack; `None` where it has none at this path.
fn descend(roots: &[BorrowedFd<'_>], path: &[u8]) -> Result<Option<Merged>> {
    let mut here = Merged::new(roots)?;
    for component in path.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        let name = CString::new(component).map_err(|_| Error::new(ErrorKind::Corrupt, "a name with a NUL byte"))?;
        match here.find(&name)? {
            Found::Directory(inner) => here = inner,
            _ => return Ok(None),
        }
    }
    Ok(Some(here))
}

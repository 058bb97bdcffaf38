//! Which folders of `layers/` give a stack of layers its files.
//!
//! A layer with only `tmp/x` says nothing of `tmp`, but unpacked it has such a directory, which would hide the mode,
//! owner and attributes that a lower layer gives it. Where they differ, a folder with nothing but such directories is put
//! on top of those layers. It is made once for each such stack, found by its chain id, and part of no layer.
//!
//! Layers below one with an opaque root are left out: overlayfs cannot hide a whole layer. A layer that is in the stack twice
//! counts where it is topmost: what it has there, names, deletions and opaque directories, hides the same below.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use super::attributes::RootAttrs;
use super::config::chain_ids;
use super::index::implicit_directories;
use super::merged::{Found, Merged};
use super::store::{LayerMeta, Store};
use super::tar::{shown, split};
use super::tree::{Step, Walk};
use super::unpack::flush;
use crate::digest::Digest;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::file::{self, RemoveTree, Staging};
use crate::idmap::helper::Work;
use crate::idmap::{IdMap, helper};
use crate::paths::Root;

/// The folders of a stack in `layers/`, topmost first, each once; `stack` has the bottom first. Makes what is missing.
pub fn folders(store: &Store, map: &IdMap, stack: &[Digest], remove: &mut RemoveTree<'_>) -> Result<Vec<String>> {
    let mut folders = all_folders(store, map, stack, remove)?;
    let mut known = HashSet::new();
    folders.retain(|folder| known.insert(folder.clone()));
    Ok(folders)
}

fn all_folders(store: &Store, map: &IdMap, stack: &[Digest], remove: &mut RemoveTree<'_>) -> Result<Vec<String>> {
    let folder = |layer: &Digest| store.root().layer_folder(layer);
    let names = |layers: &[Digest]| layers.iter().rev().map(folder).collect::<Vec<_>>();
    let Plan { bottom, completed } = plan(store, stack);
    let Some((below, layers)) = completed else {
        return Ok(names(stack.get(bottom..).unwrap_or_default()));
    };
    // What is above has an entry for each of its directories.
    let above = stack.get(below.len()..).unwrap_or_default();
    let mut folders = names(above);
    folders.extend(completion(store, map, below, &layers, remove)?);
    folders.extend(names(below.get(bottom..).unwrap_or_default()));
    Ok(folders)
}

/// Which layers of a stack count, and which of them have to be completed.
struct Plan<'a> {
    /// The lowest that counts.
    bottom: usize,
    /// The layers up to the topmost that lacks something, bottom first; and what each of them lacks, topmost first.
    completed: Option<(&'a [Digest], Vec<Without>)>,
}

fn plan<'a>(store: &Store, stack: &'a [Digest]) -> Plan<'a> {
    if stack.len() < 2 {
        return Plan { bottom: 0, completed: None };
    }
    let facts: Vec<Option<LayerMeta>> = stack.iter().map(|layer| store.layer_meta(layer).ok()).collect();
    let is = |fact: fn(&LayerMeta) -> bool| move |meta: &Option<LayerMeta>| meta.as_ref().is_some_and(fact);
    let bottom = facts.iter().rposition(is(|meta| meta.opaque_root)).unwrap_or(0);
    let without = facts.iter().rposition(is(|meta| meta.implicit || meta.implicit_root));
    let Some((below, _)) = without.filter(|top| *top > bottom).and_then(|top| stack.split_at_checked(top + 1)) else {
        return Plan { bottom, completed: None };
    };
    let without = |(digest, meta): (&Digest, &Option<LayerMeta>)| Without {
        folder: store.root().layer_folder(digest),
        directories: is(|meta| meta.implicit)(meta),
        root: is(|meta| meta.implicit_root)(meta),
    };
    let layers: Vec<Without> = below.iter().zip(&facts).skip(bottom).map(without).rev().collect();
    Plan { bottom, completed: Some((below, layers)) }
}

/// What is wrong in the folder that completes this stack, if it is there; with `repair` a new one takes its place.
pub fn check(
    store: &Store,
    map: &IdMap,
    stack: &[Digest],
    repair: bool,
    remove: &mut RemoveTree<'_>,
) -> Result<Vec<String>> {
    let Some(chain) = chain_ids(stack).pop() else { return Ok(Vec::new()) };
    let path = store.root().layers().join(Root::completion(&chain));
    if !file::exists(&path)? {
        return Ok(Vec::new());
    }
    let staging = Staging::new(store.root())?;
    let faults = match plan(store, stack).completed {
        Some((below, layers)) if below.len() == stack.len() => make_in(store, map, &layers, &staging),
        // It needs none.
        _ => file::make_dir(&staging.path().join("stack")).map(|()| staging.path().join("stack")),
    }
    .and_then(|made| {
        let faults = differences(map, &made, &path)?;
        if repair && !faults.is_empty() {
            rustix::fs::renameat_with(CWD, &made, CWD, &path, RenameFlags::EXCHANGE)?;
            file::fsync_dir(&store.root().layers())?;
        }
        Ok(faults)
    });
    // What cannot be deleted now is swept later.
    let _ = staging.remove(remove);
    faults
}

/// How the second of two folders differs from the first, one line for each path.
fn differences(map: &IdMap, made: &Path, there: &Path) -> Result<Vec<String>> {
    let read = |folder: &Path| -> Result<BTreeMap<Vec<u8>, Option<RootAttrs>>> {
        let directory = file::open_dir(folder)?;
        helper::run(map, directory.as_fd(), &mut |_| {}, |work| attributes(work.root.as_fd())).map(BTreeMap::from_iter)
    };
    let (made, there) = (read(made)?, read(there)?);
    let paths: BTreeSet<&Vec<u8>> = made.keys().chain(there.keys()).collect();
    let line = |path: &Vec<u8>| {
        let what = match (made.get(path), there.get(path)) {
            (Some(made), Some(there)) if made == there => return None,
            (Some(_), Some(_)) => "was changed",
            (Some(_), None) => "is missing",
            (None, _) => "does not belong there",
        };
        Some(format!("{}: {what}", shown(path)))
    };
    Ok(paths.into_iter().filter_map(line).collect())
}

/// The attributes of all directories below a folder; `None` for what is no directory.
fn attributes(folder: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Option<RootAttrs>)>> {
    let mut found = Vec::new();
    let mut walk = Walk::new(folder)?;
    while let Some(step) = walk.next()? {
        match step {
            // The folder itself is a wrapper.
            Step::Enter { path: b"", .. } | Step::Leave { .. } => {}
            Step::Enter { directory, path, .. } => found.push((path.to_vec(), Some(RootAttrs::read(directory)?))),
            Step::Item { path, .. } => found.push((path.to_vec(), None)),
        }
    }
    Ok(found)
}

/// A layer, and what of it has no entry of its own.
struct Without {
    /// Its path in `layers/`.
    folder: String,
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
    let roots = layers.iter().map(|layer| open(format!("layers/{}/diff", layer.folder), OFlags::DIRECTORY));
    let roots = roots.collect::<Result<Vec<OwnedFd>>>()?;
    let mut implicit: HashMap<Vec<u8>, HashSet<usize>> = HashMap::new();
    for (number, Without { folder, directories, root }) in layers.iter().enumerate() {
        if *directories {
            let index = File::from(open(format!("layers/{folder}/index"), OFlags::empty())?);
            let lower = roots.get(number + 1..).unwrap_or_default();
            let counts = |path: &[u8]| lower.iter().any(|root| has_directory(root, path));
            for path in implicit_directories(index, counts).context(|| format!("layer {folder}"))? {
                implicit.entry(path).or_default().insert(number);
            }
        }
        if *root {
            implicit.entry(Vec::new()).or_default().insert(number);
        }
    }
    complete(&roots, &implicit, place)
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

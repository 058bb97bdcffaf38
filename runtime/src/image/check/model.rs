//! What a layer's tree must be, by its index: the entries of the archive are gone through as [`crate::image::unpack`]
//! did, in memory.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::idmap::IdMap;
use crate::image::index::{ContentDigest, Entries, Entry};
use crate::image::tar::{Head, Kind, OPAQUE, Segment, Time, WHITEOUT, join, shown, split};

const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const IMPLICIT_MODE: u32 = 0o755;
const SET_ID: u32 = 0o6000;
/// As in unpacking.
const MAX_LINKS: usize = 40;

/// What something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Directory { opaque: bool },
    File { size: u64, digest: Option<ContentDigest>, segments: Option<Vec<Segment>> },
    Symlink(Vec<u8>),
    Fifo,
    Whiteout,
}

/// One thing of the tree; hard links are several paths to one.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) what: What,
    /// As in the archive.
    pub(super) mode: u32,
    /// On disk.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What the id mapping lacks: the true owner. Then set-id bits are not on disk.
    pub(super) true_uid: Option<u32>,
    pub(super) true_gid: Option<u32>,
    pub(super) mtime: Time,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Node {
    /// Whether these permission bits are right on disk.
    pub(super) fn has_mode(&self, mode: u32) -> bool {
        mode == self.mode || (self.is_foreign() && mode == self.disk_mode())
    }

    /// Permission bits as unpacking sets them.
    pub(super) fn disk_mode(&self) -> u32 {
        if self.is_foreign() { self.mode & !SET_ID } else { self.mode }
    }

    /// Whether the id mapping lacks its owner.
    pub(super) fn is_foreign(&self) -> bool {
        self.true_uid.is_some() || self.true_gid.is_some()
    }
}

/// Where a node is.
pub(super) struct Place {
    pub(super) node: usize,
    /// Whether it was found on disk.
    pub(super) seen: Cell<bool>,
}

/// The whole tree.
pub(super) struct Model<'a> {
    pub(super) nodes: Vec<Node>,
    pub(super) places: BTreeMap<Vec<u8>, Place>,
    /// Whether the archive has an entry for the root.
    pub(super) root_entry: bool,
    /// Whether it hides all layers below.
    pub(super) opaque_root: bool,
    /// Entries of the archive, and bytes of its files.
    pub(super) entries: u64,
    pub(super) content: u64,
    /// Whether some directory has no entry of its own.
    pub(super) implicit: bool,
    ids: &'a IdMap,
    own: (u32, u32),
    /// Directories without an entry, whose time is that of the entry that they were made for.
    fresh: Vec<usize>,
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

impl<'a> Model<'a> {
    /// Reads an index. `own`: whose files are that the id mapping lacks the owner of.
    pub(super) fn read(index: impl Read, ids: &'a IdMap, own: (u32, u32)) -> Result<Self> {
        let mut model = Self {
            nodes: Vec::new(),
            places: BTreeMap::new(),
            root_entry: false,
            opaque_root: false,
            entries: 0,
            content: 0,
            implicit: false,
            ids,
            own,
            fresh: Vec::new(),
        };
        let root = model.directory(IMPLICIT_MODE, Time::default());
        model.put(Vec::new(), root);
        for entry in Entries::new(index)? {
            model.entry(&entry?)?;
        }
        Ok(model)
    }

    /// The node at a path.
    pub(super) fn at(&self, path: &[u8]) -> Option<&Node> {
        self.places.get(path).and_then(|place| self.nodes.get(place.node))
    }

    fn node_mut(&mut self, path: &[u8]) -> Option<&mut Node> {
        let node = self.places.get(path)?.node;
        self.nodes.get_mut(node)
    }

    fn directory(&self, mode: u32, mtime: Time) -> Node {
        let (what, (uid, gid)) = (What::Directory { opaque: false }, self.own);
        Node { what, mode, uid, gid, true_uid: None, true_gid: None, mtime, xattrs: Vec::new() }
    }

    fn of(&self, head: &Head, what: What) -> Node {
        let true_uid = (!self.ids.has_uid(head.uid)).then_some(head.uid);
        let true_gid = (!self.ids.has_gid(head.gid)).then_some(head.gid);
        Node {
            what,
            mode: head.mode,
            uid: if true_uid.is_some() { self.own.0 } else { head.uid },
            gid: if true_gid.is_some() { self.own.1 } else { head.gid },
            true_uid,
            true_gid,
            mtime: head.mtime,
            xattrs: head.xattrs.clone(),
        }
    }

    fn put(&mut self, path: Vec<u8>, node: Node) -> usize {
        self.take(&path);
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.places.insert(path, Place { node, seen: Cell::new(false) });
        node
    }

    /// Takes away what is at a path and below it.
    fn take(&mut self, path: &[u8]) -> Option<usize> {
        let place = self.places.remove(path)?;
        let below = join(path, b"");
        let inner: Vec<Vec<u8>> = self
            .places
            .range(below.clone()..)
            .map(|(path, _)| path.clone())
            .take_while(|path| path.starts_with(&below))
            .collect();
        for path in inner {
            self.places.remove(&path);
        }
        Some(place.node)
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let head = &entry.head;
        if entry.implicit {
            self.make_implicit(&head.path);
            return Ok(());
        }
        self.entries += 1;
        for node in std::mem::take(&mut self.fresh) {
            if let Some(node) = self.nodes.get_mut(node) {
                node.mtime = head.mtime;
            }
        }
        let Some((parent, name)) = split(&head.path) else {
            self.root(head);
            return Ok(());
        };
        if head.path.starts_with(b".wh..wh.") && head.path != OPAQUE {
            return Ok(());
        }
        let parent = self.resolve(parent)?;
        if name.starts_with(WHITEOUT) {
            self.whiteout(&parent, name);
            return Ok(());
        }
        let path = join(&parent, name);
        match head.kind {
            Kind::File => {
                self.content = self.content.saturating_add(head.size);
                let (size, segments) = (head.size, head.segments.clone());
                let node = self.of(head, What::File { size, digest: entry.digest, segments });
                self.put(path, node);
            }
            Kind::Directory => self.make_directory(path, head),
            Kind::Symlink => {
                let node = Node { xattrs: Vec::new(), ..self.of(head, What::Symlink(head.link.clone())) };
                self.put(path, node);
            }
            Kind::Fifo => {
                let node = Node { xattrs: Vec::new(), ..self.of(head, What::Fifo) };
                self.put(path, node);
            }
            Kind::Hardlink => self.link(path, head)?,
            // Not made.
            Kind::Char(..) | Kind::Block(..) => drop(self.take(&path)),
        }
        Ok(())
    }

    fn root(&mut self, head: &Head) {
        self.root_entry = true;
        self.change_directory(b"", head);
    }

    /// A directory's later entry: its attributes count, other extended attributes stay.
    fn change_directory(&mut self, path: &[u8], head: &Head) {
        let new = self.of(head, What::Directory { opaque: false });
        let Some(node) = self.node_mut(path) else { return };
        let mut xattrs = new.xattrs.clone();
        let stays = |name: &[u8]| name != DEFAULT_ACL && !new.xattrs.iter().any(|(own, _)| own == name);
        xattrs.extend(node.xattrs.iter().filter(|(name, _)| stays(name)).cloned());
        let what = node.what.clone();
        *node = Node { what, xattrs, ..new };
    }

    fn make_directory(&mut self, path: Vec<u8>, head: &Head) {
        let before = self.at(&path).map(|node| node.what.clone());
        match before {
            Some(What::Directory { .. }) => self.change_directory(&path, head),
            before => {
                let node = self.of(head, What::Directory { opaque: before.is_some() });
                self.put(path, node);
            }
        }
    }

    fn make_implicit(&mut self, path: &[u8]) {
        let opaque = self.at(path).is_some();
        let node = Node { what: What::Directory { opaque }, ..self.directory(IMPLICIT_MODE, Time::default()) };
        let node = self.put(path.to_vec(), node);
        self.fresh.push(node);
        self.implicit = true;
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) {
        let hidden = match name {
            OPAQUE => parent.to_vec(),
            name => join(parent, name.get(WHITEOUT.len()..).unwrap_or_default()),
        };
        match self.node_mut(&hidden) {
            // Overlayfs knows no opaque root.
            _ if hidden.is_empty() => self.opaque_root = true,
            Some(Node { what: What::Directory { opaque }, .. }) => *opaque = true,
            Some(_) => {}
            None => {
                let node = Node { what: What::Whiteout, ..self.directory(0, Time::default()) };
                self.put(hidden, node);
            }
        }
    }

    fn link(&mut self, path: Vec<u8>, head: &Head) -> Result<()> {
        let missing = || corrupt(format!("the hard link {} leads nowhere", shown(&head.path)));
        let (directory, name) = split(&head.link).ok_or_else(missing)?;
        let target = join(&self.resolve(directory)?, name);
        let node = self.places.get(&target).ok_or_else(missing)?.node;
        if target != path {
            self.take(&path);
            self.places.insert(path, Place { node, seen: Cell::new(false) });
        }
        Ok(())
    }

    /// The path of a directory without symbolic links.
    fn resolve(&self, path: &[u8]) -> Result<Vec<u8>> {
        if matches!(self.at(path), Some(Node { what: What::Directory { .. }, .. })) {
            return Ok(path.to_vec());
        }
        let nowhere = || corrupt(format!("{} is no directory of the layer", shown(path)));
        let mut todo: VecDeque<Vec<u8>> = path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
        let (mut here, mut links) = (Vec::new(), 0);
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                here = split(&here).map(|(up, _)| up.to_vec()).unwrap_or_default();
                continue;
            }
            let next = join(&here, &name);
            match self.at(&next).map(|node| &node.what) {
                Some(What::Directory { .. }) => here = next,
                Some(What::Symlink(target)) if links < MAX_LINKS => {
                    links += 1;
                    if target.starts_with(b"/") {
                        here.clear();
                    }
                    for component in target.split(|b| *b == b'/').rev().filter(|c| !matches!(*c, b"" | b".")) {
                        todo.push_front(component.to_vec());
                    }
                }
                _ => return Err(nowhere()),
            }
        }
        Ok(here)
    }
}

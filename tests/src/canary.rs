//! Trees that must not change: a canary outside the store, and the listing of the store itself.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A small tree outside the store; nothing lrun does may touch it.
pub struct Canary {
    folder: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Makes the tree below `parent`: files, a private folder, a link, a file that everybody may write.
    pub fn new(parent: &Path) -> Self {
        let folder = parent.join("canary");
        let write = |name: &str, mode: u32| {
            let path = folder.join(name);
            fs::write(&path, format!("canary {name}\n")).expect("a canary file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        fs::create_dir_all(folder.join("private")).expect("a canary folder");
        write("plain", 0o644);
        write("open", 0o666);
        write("private/secret", 0o600);
        fs::set_permissions(folder.join("private"), fs::Permissions::from_mode(0o700)).expect("chmod");
        symlink("plain", folder.join("link")).expect("a canary link");
        let before = state(&folder);
        Self { folder, before }
    }

    /// The tree.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Fails unless names, contents, modes, owners and times are as they were.
    #[track_caller]
    pub fn check(&self) {
        assert_eq!(state(&self.folder), self.before, "the canary has changed");
    }
}

/// Every entry below a folder with what must not change.
fn state(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    walk(folder, folder, &|_| true, &mut |path, meta| {
        let times = format!("{}.{:09} {}.{:09}", meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let line = format!("{:o} {}:{} {times} {:x}", meta.mode(), meta.uid(), meta.gid(), content(path, meta));
        found.insert(path.strip_prefix(folder).expect("below the folder").to_owned(), line);
    });
    found
}

/// The names in a store with modes, sizes and contents, without the insides of layers.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing(BTreeMap<PathBuf, String>);

impl Listing {
    /// Reads the store.
    pub fn of(store: &Path) -> Self {
        let mut found = BTreeMap::new();
        let descend = |path: &Path| !path.ends_with("diff") && !path.ends_with("work");
        walk(store, store, &descend, &mut |path, meta| {
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let line = format!("{:o} {size} {:x}", meta.mode(), content(path, meta));
            found.insert(path.strip_prefix(store).expect("below the store").to_owned(), line);
        });
        Self(found)
    }

    /// Fails, naming the differences, unless the store is as it was.
    #[track_caller]
    pub fn check(&self, store: &Path, what: &str) {
        let now = Self::of(store).0;
        let gone = self.0.iter().filter(|(path, line)| now.get(*path) != Some(line)).map(|e| format!("- {e:?}"));
        let new = now.iter().filter(|(path, line)| self.0.get(*path) != Some(line)).map(|e| format!("+ {e:?}"));
        let differences: Vec<String> = gone.chain(new).collect();
        assert!(differences.is_empty(), "{what} changed the store:\n{}", differences.join("\n"));
    }
}

/// A hash of a file's bytes or a link's target.
fn content(path: &Path, meta: &fs::Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    if meta.is_file() {
        fs::read(path).ok().hash(&mut hasher);
    } else if meta.is_symlink() {
        fs::read_link(path).ok().hash(&mut hasher);
    }
    hasher.finish()
}

fn walk(root: &Path, at: &Path, descend: &dyn Fn(&Path) -> bool, visit: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let Ok(meta) = fs::symlink_metadata(at) else { return };
    if at != root {
        visit(at, &meta);
    }
    if !meta.is_dir() || !descend(at) {
        return;
    }
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        walk(root, &entry.path(), descend, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_notices_every_kind_of_change() {
        let changes: [fn(&Path); 4] = [
            |p| fs::write(p.join("plain"), "other").unwrap(),
            |p| fs::set_permissions(p.join("open"), fs::Permissions::from_mode(0o600)).unwrap(),
            |p| fs::write(p.join("new"), "").unwrap(),
            |p| fs::remove_file(p.join("link")).unwrap(),
        ];
        for change in changes {
            let folder = tempfile::tempdir().unwrap();
            let canary = Canary::new(folder.path());
            canary.check();
            change(canary.path());
            assert_ne!(state(&canary.folder), canary.before);
        }
    }

    #[test]
    fn a_listing_notices_names_and_contents_but_not_the_insides_of_layers() {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir_all(store.path().join("layers/x/diff")).unwrap();
        fs::write(store.path().join("record"), "a").unwrap();
        let listing = Listing::of(store.path());
        fs::write(store.path().join("layers/x/diff/file"), "inside").unwrap();
        listing.check(store.path(), "writing inside a layer");
        fs::write(store.path().join("record"), "b").unwrap();
        assert_ne!(Listing::of(store.path()), listing);
    }
}

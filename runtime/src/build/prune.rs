//! What goes of the cache in a prune.

use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::cache::{self, FAILED, FILES, FOUND, STEPS, URL};
use super::{explain, resume};
use crate::container::names::ContainerId;
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::file;
use crate::image::store::Store;

/// What nothing in the store tells the use of goes when it was of none for so long.
const MOST_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Forgets what is of no use any more: steps and files whose layers the store does not have, failures whose container it
/// does not have, and what was not used for 30 days; or with `all` everything, and what is known of the context's files. Of
/// that only what `takes` picks by the time when it was written. The keys of the steps that are forgotten, and the bytes of all files that go.
pub fn prune(store: &Store, all: bool, takes: &dyn Fn(Option<Timestamp>) -> bool) -> Result<(Vec<String>, u64)> {
    let (mut pruned, mut bytes) = (Vec::new(), 0);
    let folder = store.root().cache();
    // What a build is about to write is its own; what a killed one left is a collection's.
    for name in file::list_dir(&folder)?.into_iter().filter(|name| !file::is_temporary(name.as_bytes())) {
        let path = folder.join(&name);
        let found = std::fs::symlink_metadata(&path);
        let written = found.as_ref().ok().and_then(|found| found.modified().ok());
        if !all && is_of_use(store, &path, &name, written) {
            continue;
        }
        if !takes(written.and_then(|time| Timestamp::try_from(time).ok())) {
            continue;
        }
        let size = found.map_or(0, |found| found.len());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            removed => removed.context(|| format!("remove {}", path.display()))?,
        }
        pruned.extend(digest(&name).map(|key| key.hex().to_owned()));
        bytes += size;
    }
    Ok((pruned, bytes))
}

fn digest(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_suffix(".json")?).ok()
}

fn is_of_use(store: &Store, path: &Path, name: &str, written: Option<SystemTime>) -> bool {
    let is_old = || written.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > MOST_AGE);
    let is_there = |layer: &Digest| store.layer_exists(layer).is_ok_and(|there| there);
    let of = |kind: &str| name.strip_prefix(kind).and_then(digest);
    if let Some(key) = digest(name).or_else(|| of(FILES)) {
        return cache::find(store, &key).is_some();
    }
    if of(FOUND).is_some() {
        let Some(found) = cache::read_found(path) else { return false };
        return if found.layers.is_empty() { !is_old() } else { found.layers.iter().all(is_there) };
    }
    if of(STEPS).is_some() {
        return !is_old() && explain::keys(path).iter().any(|key| cache::find(store, key).is_some());
    }
    if of(FAILED).is_some() {
        let is_there = |id: ContainerId| file::exists(store.root().container(id.as_str()).path()).unwrap_or(true);
        return resume::container(path).is_some_and(is_there);
    }
    of(URL).is_none() || !is_old()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::{Entry, Found, record, remember, remembered};
    use crate::image::store::tests::{add_layer, open, scratch};
    use crate::paths::Root;

    fn entry(layer: Option<Digest>) -> Entry {
        Entry::new(layer, "2026-01-01T00:00:00Z".to_owned(), vec!["run true".to_owned()])
    }

    fn left(root: &Root) -> Vec<String> {
        let mut names = file::list_dir(&root.cache()).unwrap();
        names.sort();
        names
    }

    #[test]
    fn steps_go_with_their_layers() {
        let dir = scratch();
        let store = open(&dir);
        let [made, nothing, gone, damaged] = ["1", "2", "3", "4"].map(|name| Digest::of(name.as_bytes()));
        record(store.root(), &made, &entry(Some(add_layer(&store, "made")))).unwrap();
        record(store.root(), &nothing, &entry(None)).unwrap();
        record(store.root(), &gone, &entry(Some(Digest::of(b"elsewhere")))).unwrap();
        std::fs::write(store.root().cache_entry(&damaged), vec![b'x'; 100]).unwrap();
        assert_eq!(prune(&store, true, &|_| false).unwrap(), (Vec::new(), 0));
        let (mut pruned, bytes) = prune(&store, false, &|_| true).unwrap();
        pruned.sort();
        let mut expected = [damaged.hex(), gone.hex()].map(str::to_owned);
        expected.sort();
        assert_eq!(pruned, expected);
        assert!(bytes > 200);
        assert!([&made, &nothing].iter().all(|key| cache::find(&store, key).is_some()));
        assert_eq!(prune(&store, true, &|_| true).unwrap().0.len(), 2);
        assert_eq!(left(store.root()), [""; 0]);
        assert_eq!(prune(&store, true, &|_| true).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn what_is_known_besides_goes_when_it_is_of_no_use() {
        let dir = scratch();
        let store = open(&dir);
        let root = store.root();
        let layers = ["below", "above"].map(|content| add_layer(&store, content));
        let [whole, half, none] = ["whole", "half", "none"].map(|name| Digest::of(name.as_bytes()));
        let found =
            |layers: &[Digest]| Found { digest: whole.clone(), single: true, unmatched: 0, layers: layers.to_vec() };
        remember(root, &whole, &found(&layers));
        remember(root, &half, &found(&[layers[0].clone(), Digest::of(b"gone")]));
        remember(root, &none, &found(&[]));
        assert_eq!(remembered(root, &whole), Some(found(&layers)));
        record(root, &whole, &entry(None)).unwrap();
        let steps = |context: u64, keys: &[&Digest]| {
            let last = explain::Last::load(root, "Dockerfile", (1, context));
            last.save([("0".to_owned(), keys.iter().map(|key| (*key).clone()).collect())].into());
        };
        steps(1, &[&half, &whole]);
        steps(2, &[&half]);
        std::fs::write(root.cache_url(&whole), "what is known").unwrap();
        std::fs::write(root.cache().join("files"), "hashes").unwrap();
        let containers = [whole.clone(), half.clone()].map(|key| (key, ContainerId::random().unwrap()));
        containers.iter().for_each(|(key, id)| resume::remember(root, key, id));
        std::fs::create_dir_all(root.container(containers[0].1.as_str()).path()).unwrap();
        assert_eq!(left(root).len(), 10);
        let (pruned, bytes) = prune(&store, false, &|_| true).unwrap();
        // Only steps are named.
        assert!(pruned.is_empty() && bytes > 100, "{pruned:?} {bytes}");
        let mut now = left(root);
        assert_eq!(now.len(), 7);
        assert!(!now.contains(&format!("{FAILED}{}.json", half.hex())), "{now:?}");
        assert!(!now.contains(&format!("found-{}.json", half.hex())), "{now:?}");
        // After a while the rest, but for what the store has a use for.
        for name in &now {
            let file = std::fs::File::options().write(true).open(root.cache().join(name)).unwrap();
            file.set_modified(SystemTime::now() - MOST_AGE - Duration::from_secs(60)).unwrap();
        }
        // What was of use now stays.
        steps(1, &[&half, &whole]);
        prune(&store, false, &|_| true).unwrap();
        now.retain(|name| !name.starts_with(URL) && *name != format!("found-{}.json", none.hex()));
        assert_eq!(left(root), now);
        let writing = ".tmp-0123456789abcdef";
        std::fs::write(root.cache().join(writing), "half").unwrap();
        prune(&store, true, &|_| true).unwrap();
        assert_eq!(left(root), [writing]);
    }
}

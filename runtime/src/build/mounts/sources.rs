//! The trees that mounts of a build show, in its staging directory: copies of what the context leaves, and what is written
//! to binds and thrown away.
//!
//! A bind of the context shows a copy: what `.dockerignore` leaves, as it was hashed, whatever happens to the context
//! meanwhile, and nothing else of the host. Mounts of the same files share it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::build::context::{Context, Hashes, Placed, Selection};
use crate::build::driver::Build;
use crate::container::cp::{look, take_from};
use crate::container::engine::Engine;
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file::{self, Staging};
use crate::idmap;
use crate::sandbox::plan::Own;

/// What a file is called in its copy.
const FILE: &str = "file";

/// The staging directory of a build's mounts, once one needs it.
#[derive(Debug, Default)]
pub struct Sources {
    staging: Option<Staging>,
    /// Copies of the context's files by their digest: the path relative to the store, and the path in it.
    copies: BTreeMap<Digest, (String, String)>,
    count: usize,
}

impl Sources {
    /// A new directory of mode 0755: its path, and that relative to the store.
    pub fn directory(&mut self, engine: &Engine) -> Result<(PathBuf, String)> {
        let staging = match self.staging.take() {
            Some(staging) => staging,
            None => Staging::new(engine.root())?,
        };
        let staging = self.staging.insert(staging);
        self.count += 1;
        let path = staging.path().join(format!("mount-{}", self.count));
        file::make_dir_mode(&path, Mode::from_raw_mode(0o755))?;
        let relative = path.strip_prefix(engine.root().path()).ok().and_then(Path::to_str).map(str::to_owned);
        let relative =
            relative.ok_or_else(|| Error::new(ErrorKind::Io, "the staging directory is not in the store"))?;
        Ok((path, relative))
    }

    /// An empty directory, relative to the store.
    pub fn empty(&mut self, engine: &Engine) -> Result<String> {
        self.directory(engine).map(|(_, relative)| relative)
    }

    /// Where what is written to a bind goes: the read-write layer and the work directory of an overlay, relative to the
    /// store. What is to be removed after the step is added to `remove`.
    pub fn scratch(&mut self, engine: &Engine, remove: &mut Vec<PathBuf>) -> Result<(String, String)> {
        let (path, relative) = self.directory(engine)?;
        for name in ["upper", "work"] {
            file::make_dir(&path.join(name))?;
        }
        remove.push(path);
        Ok((format!("{relative}/upper"), format!("{relative}/work")))
    }

    /// A copy of these files of the context, which have this digest.
    pub fn copy(
        &mut self,
        engine: &Engine,
        context: &Context,
        (digest, mut selection): (&Digest, Selection),
    ) -> Result<(String, String)> {
        if let Some(made) = self.copies.get(digest) {
            return Ok(made.clone());
        }
        let (path, relative) = self.directory(engine)?;
        let single = selection.sources.iter().all(|source| !source.directory);
        if single {
            selection.entries.iter_mut().for_each(|entry| entry.name = FILE.as_bytes().to_vec());
        }
        unpack(context, &selection, &path).context(|| "copy the files of the build context that are mounted")?;
        let made = (relative, if single { FILE.to_owned() } else { String::new() });
        self.copies.insert(digest.clone(), made.clone());
        Ok(made)
    }

    /// Removes everything; what cannot be removed now is swept later.
    pub fn remove(&mut self, engine: &Engine) {
        if let Some(staging) = self.staging.take() {
            let _ = staging.remove(&mut |path| engine.remove_tree(path));
        }
    }
}

/// Copies files of a context into a directory of the store. The user is root in the container, and so are the files.
pub fn unpack(context: &Context, selection: &Selection, into: &Path) -> Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    let directory = file::open_dir(into)?;
    // Modes are as they are selected.
    let before = rustix::process::umask(Mode::empty());
    let (sent, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(move || Context::unpack(File::from(read), directory, &mut |_| {}).map(drop));
        let sent = context.stream(selection, &placed(), &mut File::from(write)).map(drop);
        let received = receiver.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "the copy failed")));
        (sent, received)
    });
    rustix::process::umask(before);
    match (sent, received) {
        // This side's failure is the consequence.
        (Err(consequence), Err(error)) if consequence.errno() == Some(libc::EPIPE) => Err(error),
        (sent, received) => sent.and(received),
    }
}

/// How files of the context are seen.
pub fn placed() -> Placed {
    Placed { owner: Some((0, 0)), ..Placed::default() }
}

/// In a helper: the files of an image.
fn inside() -> Result<Context> {
    Ok(Context::open(Path::new("/"))?.named("the image"))
}

/// The digest of the files at a path of an image.
pub fn digest(build: &Build<'_>, image: &Digest, path: &str) -> Result<Digest> {
    let engine = build.steps.engine;
    build.steps.look(&build.options.run, image, |record| {
        look(engine, record, || {
            let context = inside()?;
            let mut selection = context.select_path(path.as_bytes())?;
            context.digest(&mut selection, &Placed::default(), &mut Hashes::default())
        })
    })
}

/// Fills a new cache with a directory of an image; mode and owner of that directory.
pub fn fill(build: &Build<'_>, (image, path): (&Digest, &str), into: &Path) -> Result<Own> {
    let engine = build.steps.engine;
    let (mode, uid, gid) = build.steps.look(&build.options.run, image, |record| {
        take_from(engine, into, record, |out| {
            let context = inside()?;
            let selection = context.select_path(path.as_bytes())?;
            if !selection.sources.iter().all(|source| source.directory) {
                return Err(Error::new(ErrorKind::Invalid, format!("{path} is no directory")));
            }
            context.stream(&selection, &Placed::default(), out)?;
            let top = context.below(path.as_bytes())?.seen()?;
            Ok((top.mode, top.uid, top.gid))
        })
    })?;
    let map = &engine.map;
    let has_owner = map.mode != idmap::Mode::Single && map.has_uid(uid) && map.has_gid(gid);
    Ok(Own { mode: mode & 0o7777, owner: has_owner.then_some((uid, gid)) })
}

/// The same with a directory of a context; the mode of that directory. A context itself is no directory of anything.
pub fn fill_from_context(context: &Context, (selection, path): (&Selection, &str), into: &Path) -> Result<Option<Own>> {
    unpack(context, selection, into)?;
    if path.trim_matches('/').is_empty() {
        return Ok(None);
    }
    let top = context.below(path.as_bytes())?.seen()?;
    Ok(Some(Own { mode: top.mode & 0o7777, owner: None }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::build::context::Patterns;

    #[test]
    fn a_source_is_a_path_and_no_pattern() {
        let folder = tempfile::tempdir().expect("a directory");
        for name in ["a", "[a]", "*", "b?", "a\\b", "a\\*", "\\"] {
            fs::write(folder.path().join(name), name).expect("a file");
        }
        let context = Context::open(folder.path()).expect("it opens");
        for path in ["a", "/[a]", "*", "b?", "a\\b", "/a\\*", "\\"] {
            let selection = context.select_path(path.as_bytes()).expect("it is there");
            let names: Vec<&[u8]> = selection.entries.iter().map(|entry| entry.path.as_slice()).collect();
            assert_eq!(names, [path.trim_start_matches('/').as_bytes()]);
        }
        for path in ["c", "?", "../a", "a\\\\b", "[*]"] {
            assert!(context.select_path(path.as_bytes()).is_err(), "{path}");
        }
        assert_eq!(context.select_path(b"/").expect("all").entries.len(), 7);
    }

    #[test]
    fn a_copy_has_what_is_not_ignored_and_nothing_from_outside() {
        let folder = tempfile::tempdir().expect("a directory");
        fs::write(folder.path().join("kept"), "kept").expect("a file");
        fs::write(folder.path().join("secret"), "secret").expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).expect("a link");
        let patterns = Patterns::parse(b"secret\n").expect("good patterns");
        let context = Context::open(folder.path()).expect("it opens").ignoring(patterns);
        let into = tempfile::tempdir().expect("a directory");
        unpack(&context, &context.select_path(b"").expect("all"), into.path()).expect("it is copied");
        let mut names: Vec<_> =
            fs::read_dir(into.path()).expect("it is read").map(|e| e.expect("it").file_name()).collect();
        names.sort();
        assert_eq!(names, ["kept", "link"]);
        assert!(fs::symlink_metadata(into.path().join("link")).expect("it is there").is_symlink());
    }
}

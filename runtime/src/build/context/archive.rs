//! A context that comes as an archive: `lrun build - < context.tar.gz`.

use std::io::Read;
use std::os::fd::OwnedFd;

use super::Context;
use crate::error::{Context as _, Result};
use crate::image::compress::decompress;
use crate::image::files::{Ownership, Received, Receiver, Target};

impl Context {
    /// Unpacks an archive, compressed or not, into a directory that is open for reading, new, and the caller's to remove;
    /// also what the user should know, one line each. `progress` is told how many bytes of the tar were read.
    ///
    /// Everything becomes the process's own, without setuid and setgid bits and file capabilities. What the archive says is
    /// not trusted: nothing is made outside of the directory, and no device.
    pub fn unpack(
        archive: impl Read + Send,
        directory: OwnedFd,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Self, Vec<String>)> {
        let attempt = || "unpack the build context";
        let context = Self::at(directory.try_clone().context(attempt)?);
        let (mut tar, _) = decompress(Box::new(archive)).context(attempt)?;
        let target = Target { directory, name: None, shown: b"/", ownership: Ownership::Own, follow: false };
        let received = Receiver::new(&mut tar, progress).run(target).context(attempt)?;
        Ok((context, warnings(&received)))
    }
}

fn warnings(received: &Received) -> Vec<String> {
    let mut warnings = Vec::new();
    for (count, text) in [
        (received.devices, "device nodes of the build context were left out"),
        (received.refused, "extended attributes of the build context were not kept"),
    ] {
        if count > 0 {
            warnings.push(format!("{count} {text}"));
        }
    }
    if received.endless {
        warnings.push("the build context's archive has no end marker: it may be cut off".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::*;
    use crate::build::context::{Patterns, Request};
    use crate::image::tar::archive::{Archive, entry};
    use crate::image::tar::{Head, Kind};

    fn unpacked(bytes: &[u8], into: &Path) -> Result<(Context, Vec<String>)> {
        Context::unpack(bytes, File::open(into).expect("it opens").into(), &mut |_| {})
    }

    fn good() -> Archive {
        let archive = Archive::default().file(".dockerignore", "*.log\n").dir("src").file("src/a.c", "a");
        archive.file("b.log", "b").symlink("out", "/etc/passwd").link("src/same.c", "src/a.c")
    }

    #[test]
    fn an_archive_is_a_context() {
        let compressed = zstd::encode_all(&good().end()[..], 1).expect("it is compressed");
        for bytes in [good().end(), compressed] {
            let into = tempfile::tempdir().expect("a directory");
            let (context, warnings) = unpacked(&bytes, into.path()).expect("it is unpacked");
            assert_eq!(warnings, [""; 0]);
            let ignore = context.read(b".dockerignore", 100).expect("it is read").expect("it is there");
            let context = context.ignoring(Patterns::parse(&ignore).expect("good patterns"));
            let request = Request { sources: &[b"."], parents: false, exclude: &Patterns::default() };
            let selection = context.select(&request).expect("it is selected");
            let names: Vec<&[u8]> = selection.entries.iter().map(|entry| entry.name.as_slice()).collect();
            assert_eq!(names, [&b".dockerignore"[..], b"out", b"src", b"src/a.c", b"src/same.c"]);
            // A link out of the context leads nowhere.
            assert_eq!(context.read(b"out", 100).expect("it is looked for"), None);
        }
    }

    #[test]
    fn hostile_archives_make_nothing_outside() {
        let outside = tempfile::tempdir().expect("a directory");
        let away = outside.path().to_str().expect("UTF-8");
        let long = Head { mode: 0o4755, ..entry("set", Kind::File) };
        for (bytes, fails) in [
            (Archive::default().file("../x", "x").end(), true),
            (Archive::default().symlink("l", away).file("l/x", "x").end(), true),
            (Archive::default().symlink("l", &format!("{away}/x")).file("l", "x").end(), false),
            (Archive::default().link("h", "../../../../etc/passwd").end(), true),
            (Archive::default().add(entry("null", Kind::Char(1, 3)), b"").end(), false),
            (Archive::default().add(long, b"").end(), false),
        ] {
            let into = tempfile::tempdir().expect("a directory");
            assert_eq!(unpacked(&bytes, into.path()).is_err(), fails);
            assert_eq!(fs::read_dir(outside.path()).expect("it is read").count(), 0);
            if let Ok(set) = fs::metadata(into.path().join("set")) {
                assert_eq!(std::os::unix::fs::MetadataExt::mode(&set) & 0o7000, 0);
            }
        }
        let into = tempfile::tempdir().expect("a directory");
        let device = Archive::default().add(entry("null", Kind::Char(1, 3)), b"").end();
        let (_, warnings) = unpacked(&device[..device.len() - 1024], into.path()).expect("it is unpacked");
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}

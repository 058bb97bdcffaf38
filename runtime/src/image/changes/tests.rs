//! Small stacks of layers, compared. A layer is written as a list of lines: `path/` a directory, `path=text` a file,
//! `path->target` a link, `-path` a whiteout, `!path/` an opaque directory. All have one time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, XattrFlags, makedev, mknodat, setxattr, utimensat};

use super::*;
use crate::image::attributes::timestamps;
use crate::image::tar::Time;

fn layer(lines: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut paths = vec![dir.path().to_owned()];
    for line in lines {
        let at = |name: &str| dir.path().join(name.trim_end_matches('/'));
        let path = if let Some(name) = line.strip_prefix('-') {
            mknodat(CWD, at(name), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
            continue;
        } else if let Some((name, target)) = line.split_once("->") {
            symlink(target, at(name)).unwrap();
            at(name)
        } else if let Some((name, text)) = line.split_once('=') {
            fs::write(at(name), text).unwrap();
            at(name)
        } else {
            let path = at(line.trim_start_matches('!'));
            fs::create_dir(&path).unwrap();
            if line.starts_with('!') {
                setxattr(&path, c"user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            }
            path
        };
        paths.push(path);
    }
    paths.iter().for_each(|path| age(path, 1_700_000_000));
    dir
}

fn age(path: &Path, secs: i64) {
    let times = timestamps(Time { secs, nanos: 0 });
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The changes as `diff` prints them, in one line.
fn between(uppers: &[&tempfile::TempDir], lowers: &[&tempfile::TempDir]) -> String {
    let open =
        |dirs: &[&tempfile::TempDir]| -> Vec<File> { dirs.iter().map(|dir| File::open(dir.path()).unwrap()).collect() };
    let (uppers, lowers) = (open(uppers), open(lowers));
    let uppers: Vec<BorrowedFd<'_>> = uppers.iter().map(AsFd::as_fd).collect();
    let lowers: Vec<BorrowedFd<'_>> = lowers.iter().map(AsFd::as_fd).collect();
    let mut lines = Vec::new();
    let mut line = |change: Change| {
        let letter = ["A", "C", "D"][change.kind as usize];
        lines.push(format!("{letter} {}", String::from_utf8_lossy(&change.path)));
    };
    changes(&uppers, &lowers, None, &mut line).unwrap();
    lines.join(", ")
}

#[test]
fn added_changed_and_deleted_with_the_directories_on_the_way() {
    let image = layer(&["etc/", "etc/a=1", "etc/b=2", "usr/", "usr/share/", "usr/share/doc/", "usr/share/doc/x=y"]);
    let upper = layer(&["etc/", "etc/a=changed", "-etc/b", "etc/c=new", "usr/", "usr/share/", "-usr/share/doc"]);
    let all = "C /etc, C /etc/a, D /etc/b, A /etc/c, C /usr, C /usr/share, D /usr/share/doc";
    assert_eq!(between(&[&upper], &[&image]), all);
    assert_eq!(between(&[&layer(&[])], &[&image]), "");
    assert_eq!(between(&[&layer(&["new/", "new/x=1"])], &[&layer(&[])]), "A /new, A /new/x");
}

#[test]
fn what_was_copied_up_and_is_the_same_is_no_change() {
    let image = layer(&["d/", "d/file=same", "d/link->x"]);
    assert_eq!(between(&[&layer(&["d/", "d/file=same", "d/link->x"])], &[&image]), "");
    assert_eq!(between(&[&layer(&["d/", "d/link->y"])], &[&image]), "C /d, C /d/link");
    let touched = layer(&["d/", "d/file=same"]);
    age(&touched.path().join("d/file"), 5);
    assert_eq!(between(&[&touched], &[&image]), "C /d, C /d/file");
    let chmod = layer(&["d/", "d/file=same"]);
    fs::set_permissions(chmod.path().join("d/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(between(&[&chmod], &[&image]), "C /d, C /d/file");
}

#[test]
fn other_content_of_the_same_size_and_time_is_a_change() {
    let (long, other) = ("x".repeat(200_000), format!("{}y", "x".repeat(199_999)));
    let image = layer(&["a=one", &format!("b={long}"), &format!("c={long}")]);
    let upper = layer(&["a=two", &format!("b={other}"), &format!("c={long}")]);
    assert_eq!(between(&[&upper], &[&image]), "C /a, C /b");
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_the_image_has() {
    let image = layer(&["d/", "d/kept=1", "d/gone=2", "e/", "e/x=3"]);
    let opaque = layer(&["!d/", "d/kept=1", "d/new=4", "-e"]);
    assert_eq!(between(&[&opaque], &[&image]), "C /d, D /d/gone, A /d/new, D /e");
    // A mount point that only lrun's own layer has: its whiteout says nothing about the image.
    assert_eq!(between(&[&layer(&["-proc", "d/", "-d/nothing"])], &[&image]), "");
    let (top, middle) = (layer(&["-d"]), layer(&["e/", "e/y=5"]));
    assert_eq!(between(&[&layer(&["d/", "d/kept=1"])], &[&top, &middle, &image]), "A /d, A /d/kept");
}

#[test]
fn a_file_may_become_a_directory_and_the_other_way_round() {
    let image = layer(&["f=1", "d/", "d/x=2"]);
    assert_eq!(between(&[&layer(&["!f/", "f/x=1", "d=2"])], &[&image]), "C /d, C /f, A /f/x");
}

#[test]
fn layers_of_earlier_commits_count_as_the_containers() {
    let image = layer(&["a=1", "b=2", "d/", "d/x=3"]);
    let committed = layer(&["a=changed", "c=new", "-b", "d/", "-d/x"]);
    let now = layer(&["-c", "b=2", "d/", "d/y=4"]);
    assert_eq!(between(&[&now, &committed], &[&image]), "C /a, C /d, D /d/x, A /d/y");
    assert_eq!(between(&[&layer(&[]), &committed], &[&image]), "C /a, D /b, A /c, C /d, D /d/x");
}

#[test]
fn any_name_gets_through_to_the_other_process() {
    let change = Change { kind: ChangeKind::Added, path: (0..=255).collect() };
    let json = serde_json::to_vec(&change).unwrap();
    assert_eq!(serde_json::from_slice::<Change>(&json).unwrap(), change);
}

/// A container may take away and replace anything while it is looked at.
#[test]
fn a_tree_that_changes_meanwhile_is_no_failure() {
    let image = layer(&["d/", "d/f=1"]);
    let upper = layer(&["d/", "d/f=2"]);
    let path = upper.path().join("d");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::remove_dir_all(&path);
                let _ = fs::write(&path, "a file");
                let _ = fs::remove_file(&path);
                let _ = symlink("nowhere", &path);
                let _ = fs::remove_file(&path);
                let _ = fs::create_dir(&path);
                let _ = fs::write(path.join("f"), "2");
            }
        });
        for _ in 0..2000 {
            between(&[&upper], &[&image]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// How deep a tree is, is the container's choice: neither the stack nor a path's length gives way.
#[test]
fn deep_trees_are_compared_or_refused() {
    let deep = |levels: usize, name: &str| {
        let layer = layer(&[]);
        let mut here = File::open(layer.path()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
            here = open(here.as_fd(), &CString::new(name).unwrap(), OFlags::DIRECTORY).unwrap().into();
        }
        layer
    };
    // Each side holds one descriptor for a level.
    let (image, same) = (layer(&[]), deep(400, "d"));
    assert_eq!(between(&[&same], &[&image]).matches("A /d").count(), 400);
    let too_long = deep(40, &"n".repeat(120));
    let (upper, lower) = (File::open(too_long.path()).unwrap(), File::open(image.path()).unwrap());
    let error = changes(&[upper.as_fd()], &[lower.as_fd()], None, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().ends_with("a path of 4113 bytes is too long to compare"), "{error}");
}

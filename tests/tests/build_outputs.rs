//! `build -o` and what else is around a build: where the image goes, what is told of it, and the flags that are answered.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use lrun_tests::{Lrun, Output, Tar};

/// A context with this Dockerfile and these files.
fn context(lrun: &Lrun, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = lrun.folder().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    for (path, content) in files.iter().chain(&[("Dockerfile", dockerfile)]) {
        fs::write(folder.join(path), content).expect("a file");
    }
    folder
}

/// Builds it with these flags.
fn build(lrun: &Lrun, folder: &Path, flags: &[&str]) -> Output {
    let folder = folder.to_str().expect("UTF-8");
    lrun.run(&[&["build", "--network", "none"], flags, &[folder]].concat())
}

#[track_caller]
fn built(lrun: &Lrun, folder: &Path, flags: &[&str]) -> Output {
    let output = build(lrun, folder, flags);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The names below a directory, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

const FILES: &str = "FROM busybox AS work\nRUN mkdir -p /out/sub && echo made > /out/sub/file && chmod 4755 /out/sub/file \
                     && ln -s /etc/passwd /out/link && mkfifo /out/pipe\nFROM scratch\nCOPY --from=work /out /\n";

#[test]
fn the_files_of_an_image_go_into_a_directory_as_the_callers() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "files", FILES, &[]);
    let out = lrun.folder().join("new/out");
    let output = built(&lrun, &folder, &["-o", text(&out), "-t", "unused"]);
    assert_eq!(output.stdout, "");
    assert_eq!(names(&out), ["link", "pipe", "sub"]);
    let file = fs::metadata(out.join("sub/file")).expect("it is there");
    assert_eq!(fs::read_to_string(out.join("sub/file")).expect("it is there"), "made\n");
    assert_eq!(file.permissions().mode() & 0o7777, 0o755, "nothing of the image's is setuid here");
    assert_eq!(file.uid(), fs::metadata(lrun.folder()).expect("it is there").uid());
    assert_eq!(fs::read_link(out.join("link")).expect("a link"), Path::new("/etc/passwd"));
    // It has no name here.
    lrun.fails(1, &["image", "exists", "unused"]);

    // Into what is there: nothing is followed, files are replaced, the rest stays.
    let victim = lrun.file("victim", "untouched");
    let elsewhere = lrun.folder().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    for (name, target) in [("sub", &elsewhere), ("pipe", &victim)] {
        let place = out.join(name);
        if place.is_dir() { fs::remove_dir_all(&place) } else { fs::remove_file(&place) }.expect("it goes");
        symlink(target, &place).expect("a link");
    }
    fs::write(out.join("other"), "other").expect("a file");
    let output = build(&lrun, &folder, &["-o", &format!("type=local,dest={}", out.display())]);
    assert!(output.code == 1 && output.stderr.contains("sub"), "{}", output.stderr);
    assert_eq!(names(&elsewhere), [""; 0]);
    fs::remove_file(out.join("sub")).expect("it goes");
    built(&lrun, &folder, &["-o", &format!("type=local,dest={}", out.display())]);
    assert_eq!(names(&out), ["link", "other", "pipe", "sub"]);
    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "untouched");
    assert_eq!(fs::read_to_string(out.join("other")).expect("it is there"), "other");
}

#[test]
fn the_directory_itself_keeps_its_mode() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "mode", "FROM scratch\nCOPY f /\n", &[("f", "f")]);
    let out = lrun.folder().join("private");
    fs::create_dir(&out).expect("a folder");
    fs::set_permissions(&out, PermissionsExt::from_mode(0o700)).expect("it is changed");
    built(&lrun, &folder, &["--output", text(&out)]);
    assert_eq!(names(&out), ["f"]);
    assert_eq!(fs::metadata(&out).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_files_of_an_image_go_into_a_tar() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "tar", FILES, &[]);
    let piped = built(&lrun, &folder, &["-q", "-o", "-"]);
    let archive = lrun.folder().join("out.tar");
    let said = built(&lrun, &folder, &["--output", &format!("type=tar,dest={}", archive.display())]);
    assert_eq!(said.stdout, "");
    assert_eq!(fs::read(&archive).expect("it is there"), piped.bytes);
    let id = lrun.import_bytes(&piped.bytes, "again");
    assert!(id.starts_with("sha256:"), "{id}");
    let listed = lrun.ok(&["create", "--name", "cc", "again", "true"]);
    assert_eq!(listed.len(), 64);
    let out = lrun.folder().join("copied");
    lrun.ok(&["cp", "cc:/sub/file", text(&out)]);
    assert_eq!(fs::read_to_string(out).expect("it is there"), "made\n");
}

#[test]
fn an_image_goes_into_archives_and_layouts() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "archives", "FROM busybox\nRUN echo hi > /hi\n", &[]);
    let place = |name: &str| lrun.folder().join(name);
    let dest = |kind: &str, name: &str| format!("type={kind},dest={}", place(name).display());
    let layout = format!("{},tar=false", dest("oci", "layout"));
    let (docker, oci) = (dest("docker", "docker.tar"), dest("oci", "oci.tar"));
    built(&lrun, &folder, &["-t", "named:1", "-o", &docker, "-o", &oci, "-o", &layout]);
    lrun.fails(1, &["image", "exists", "named:1"]);
    let piped = built(&lrun, &folder, &["-t", "named:1", "-o", "type=docker,dest=-"]);
    assert_eq!(fs::read(place("docker.tar")).expect("it is there"), piped.bytes);
    let mut ids = Vec::new();
    for name in ["docker.tar", "oci.tar", "layout"] {
        let other = Lrun::new();
        let source = other.folder().join("source");
        fs::rename(place(name), &source).expect("it is moved");
        assert_eq!(other.ok(&["load", "-i", text(&source)]), "Loaded image: named:1", "{name}");
        ids.push(other.inspect("named:1", "{{.Id}}"));
    }
    built(&lrun, &folder, &["-t", "named:1", "--load", "-o", &dest("tar", "files.tar")]);
    assert_eq!(ids, vec![lrun.inspect("named:1", "{{.Id}}"); 3]);
}

#[test]
fn what_is_told_of_a_build() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "metadata", "FROM busybox\nENV A=1\n", &[]);
    let file = lrun.folder().join("metadata.json");
    built(&lrun, &folder, &["-t", "a", "-t", "example.com/b:2", "--metadata-file", text(&file)]);
    let told = fs::read_to_string(&file).expect("it is there");
    let value = |key: &str| {
        let (_, after) = told.split_once(&format!("\"{key}\": \"")).unwrap_or_else(|| panic!("{key}: {told}"));
        after.split('"').next().unwrap_or_default().to_owned()
    };
    assert_eq!(value("containerimage.config.digest"), lrun.inspect("a", "{{.Id}}"));
    assert_eq!(value("image.name"), "docker.io/library/a:latest,example.com/b:2");
    assert!(value("buildx.build.ref").starts_with("default/default/"), "{told}");
    let digest = value("containerimage.digest");
    assert!(digest.starts_with("sha256:") && told.matches(&digest).count() == 2, "{told}");
    assert_eq!(value("mediaType"), "application/vnd.oci.image.manifest.v1+json");
    // The manifest is the one that an archive of it has.
    let piped = built(&lrun, &folder, &["-q", "-t", "a", "-o", "type=oci"]);
    assert!(String::from_utf8_lossy(&piped.bytes).contains(&digest), "{told}");
}

#[test]
fn outputs_that_cannot_be_are_refused_before_anything_is_built() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "refused", "FROM busybox\nRUN echo ran > /ran\n", &[]);
    for (flags, said) in [
        (&["-o", "type=local"][..], "dest is required"),
        (&["-o", "type=local,dest=-"], "cannot be stdout"),
        (&["-o", "type=nope,dest=x"], "could not be found"),
        (&["-o", "dest=x,a=b"], "a=b"),
        (&["-o", "-", "-o", "type=oci,dest=-"], "only one output"),
        (&["--push"], "tag is needed"),
        (&["-o", "type=image,push=true"], "tag is needed"),
        (&["-o", "type=oci,compression=estargz,dest=x"], "compression=estargz"),
    ] {
        let output = build(&lrun, &folder, flags);
        assert!(matches!(output.code, 1 | 125) && output.stderr.contains(said), "{flags:?}: {}", output.stderr);
        assert!(!output.stderr.contains("Step 1"), "{flags:?}: {}", output.stderr);
    }
    assert_eq!(lrun.ok(&["images", "-aq"]).lines().count(), 1);
    let taken = lrun.folder().join("taken");
    fs::create_dir(&taken).expect("a folder");
    fs::write(taken.join("x"), "x").expect("a file");
    let output = build(&lrun, &folder, &["-o", &format!("type=oci,tar=false,dest={}", taken.display())]);
    assert!(output.code == 1 && output.stderr.contains("no empty directory"), "{}", output.stderr);
}

#[test]
fn a_context_that_is_piped_gives_a_tar_that_is_piped() {
    let lrun = Lrun::with_busybox();
    let archive = Tar::new().file("Dockerfile", b"FROM scratch\nCOPY f /\n").file("f", b"piped").finish();
    let output = lrun.run_with(&archive, &["build", "-o", "-", "-"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(String::from_utf8_lossy(&output.bytes).contains("piped"));
}

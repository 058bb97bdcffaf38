//! `build -o` and what else is around a build: where the image goes, what is told of it, and the flags that are answered.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use lrun_tests::build::{build, build_ok, cached, context};
use lrun_tests::{Lrun, Tar, binary, mode};

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
    let output = build_ok(&lrun, &folder, &["-o", text(&out), "-t", "unused"]);
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
    let said = "sub: cannot overwrite non-directory \"sub\" with directory: it is a symbolic link";
    assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
    assert_eq!(names(&elsewhere), [""; 0]);
    fs::remove_file(out.join("sub")).expect("it goes");
    build_ok(&lrun, &folder, &["-o", &format!("type=local,dest={}", out.display())]);
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
    build_ok(&lrun, &folder, &["--output", text(&out)]);
    assert_eq!(names(&out), ["f"]);
    assert_eq!(fs::metadata(&out).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_files_of_an_image_go_into_a_tar() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "tar", FILES, &[]);
    let piped = build_ok(&lrun, &folder, &["-q", "-o", "-"]);
    let archive = lrun.folder().join("out.tar");
    let said = build_ok(&lrun, &folder, &["--output", &format!("type=tar,dest={}", archive.display())]);
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
    build_ok(&lrun, &folder, &["-t", "named:1", "-o", &docker, "-o", &oci, "-o", &layout]);
    lrun.fails(1, &["image", "exists", "named:1"]);
    let piped = build_ok(&lrun, &folder, &["-t", "named:1", "-o", "type=docker,dest=-"]);
    assert_eq!(fs::read(place("docker.tar")).expect("it is there"), piped.bytes);
    let mut ids = Vec::new();
    for name in ["docker.tar", "oci.tar", "layout"] {
        let other = Lrun::new();
        let source = other.folder().join("source");
        fs::rename(place(name), &source).expect("it is moved");
        assert_eq!(other.ok(&["load", "-i", text(&source)]), "Loaded image: named:1", "{name}");
        ids.push(other.inspect("named:1", "{{.Id}}"));
    }
    // An archive may have names of its own.
    build_ok(&lrun, &folder, &["-t", "named:1", "-o", &format!("{docker},\"name=own:2,named:1\"")]);
    let other = Lrun::new();
    assert_eq!(other.ok(&["load", "-i", text(&place("docker.tar"))]), "Loaded image: named:1\nLoaded image: own:2");
    // The directories that it is in are made.
    build_ok(&lrun, &folder, &["-t", "named:1", "--load", "-o", &dest("tar", "new/files.tar")]);
    assert!(place("new/files.tar").exists());
    assert_eq!(ids, vec![lrun.inspect("named:1", "{{.Id}}"); 3]);
}

#[test]
fn what_is_told_of_a_build() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "metadata", "FROM busybox\nENV A=1\n", &[]);
    let file = lrun.folder().join("metadata.json");
    build_ok(&lrun, &folder, &["-t", "a", "-t", "example.com/b:2", "--metadata-file", text(&file)]);
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
    let piped = build_ok(&lrun, &folder, &["-q", "-t", "a", "-o", "type=oci"]);
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
        (&["-o", "dest=x,a=b"], "a=b: this version of lrun does not have that"),
        (&["-o", "-", "-o", "type=oci,dest=-"], "only one output"),
        (&["--push"], "tag is needed"),
        (&["-o", "type=image,push=true"], "tag is needed"),
        (&["-o", "type=oci,compression=estargz,dest=x"], "layers in an archive are not compressed"),
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

/// Another machine, with the same busybox.
fn elsewhere(lrun: &Lrun) -> Lrun {
    let other = Lrun::new();
    let archive = other.folder().join("busybox-saved.tar");
    lrun.ok(&["save", "-o", text(&archive), "busybox"]);
    other.ok(&["load", "-q", "-i", text(&archive)]);
    other
}

const STAGES: &str = "FROM busybox AS work\nRUN cat /proc/sys/kernel/random/uuid > /work\nFROM busybox\nENV A=1\n\
                      RUN cat /proc/sys/kernel/random/uuid > /own\nCOPY --from=work /work /\nCOPY f /\nCMD cat /own\n";

#[test]
fn another_machine_takes_steps_from_a_directory() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "cache-context", STAGES, &[("f", "f")]);
    let cache = lrun.folder().join("cache/dir");
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    let first = build_ok(&lrun, &folder, &["-t", "first", "--cache-to", &format!("{to},mode=max")]);
    assert_eq!(cached(&first), 0);
    assert_eq!(names(&cache), ["blobs", "index.json", "oci-layout"]);
    let id = lrun.inspect("first", "{{.Id}}");

    let other = elsewhere(&lrun);
    let again = build_ok(&other, &folder, &["-t", "again", "--cache-from", &from]);
    assert_eq!(cached(&again), 6, "{}", again.stderr);
    assert_eq!(other.inspect("again", "{{.Id}}"), id);
    assert_eq!(other.ok(&["system", "check"]), lrun.ok(&["system", "check"]));
    // From now on it has them itself.
    assert_eq!(cached(&build_ok(&other, &folder, &[])), 6);
    // Another file: up to there.
    let third = elsewhere(&lrun);
    fs::write(folder.join("f"), "changed").expect("it is written");
    let output =
        build_ok(&third, &folder, &["-t", "third", "--cache-from", &from, "--cache-to", &format!("{to},mode=max")]);
    assert_eq!(cached(&output), 4, "{}", output.stderr);
    // The cache was replaced by the third's.
    assert_eq!(cached(&build_ok(&elsewhere(&lrun), &folder, &["--cache-from", &from])), 6);
    // Only the image's own steps: the other stage is built again, and gives something else.
    build_ok(&lrun, &folder, &["--cache-to", &to]);
    let output = build_ok(&elsewhere(&lrun), &folder, &["--cache-from", &from]);
    assert_eq!(cached(&output), 2, "{}", output.stderr);
    let output = build_ok(&elsewhere(&lrun), &folder, &["--no-cache", "--cache-from", &from]);
    assert_eq!(cached(&output), 0, "{}", output.stderr);
}

#[test]
fn a_cache_that_is_not_what_it_says_is_not_used() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "false", "FROM busybox\nRUN echo hello > /said\n", &[]);
    let cache = lrun.folder().join("cache");
    let (to, from) = (format!("type=local,dest={}", cache.display()), format!("type=local,src={}", cache.display()));
    build_ok(&lrun, &folder, &["--cache-to", &to]);
    // The layer is another.
    let mut changed = 0;
    for name in names(&cache.join("blobs/sha256")) {
        let path = cache.join("blobs/sha256").join(name);
        let bytes = fs::read(&path).expect("it is there");
        if !bytes.starts_with(b"{") {
            let at = bytes.windows(5).position(|found| found == b"hello").expect("the file's content");
            fs::write(&path, [&bytes[..at], b"HELLO", &bytes[at + 5..]].concat()).expect("it is written");
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    let other = elsewhere(&lrun);
    let output = build_ok(&other, &folder, &["-t", "own", "--cache-from", &from]);
    assert_eq!(cached(&output), 0, "{}", output.stderr);
    assert!(output.stderr.contains("WARNING: cache "), "{}", output.stderr);
    assert_eq!(other.ok(&["run", "--rm", "--network", "none", "own", "cat", "/said"]), "hello");
    // What is none, or is not there, is told of, no more.
    for from in ["type=local,src=/no/such/place".to_owned(), format!("type=local,src={}", folder.display())] {
        let output = build_ok(&other, &folder, &["--cache-from", &from]);
        assert!(output.stderr.contains("WARNING: --cache-from "), "{}", output.stderr);
    }
    // What is no cache is not replaced by one.
    let output = build(&lrun, &folder, &["--cache-to", &format!("type=local,dest={}", folder.display())]);
    assert!(output.code == 1 && output.stderr.contains("no part of a cache"), "{}", output.stderr);
    build_ok(&lrun, &folder, &["--cache-to", &format!("type=local,dest={},ignore-error=true", folder.display())]);
    for (flag, said) in [
        (["--cache-to", "type=gha"], "keeps caches in directories and registries"),
        (["--cache-from", "type=s3,bucket=x"], "keeps caches in directories and registries"),
        (["--cache-to", "type=local"], "dest is required for type=local"),
    ] {
        let output = build(&lrun, &folder, &flag);
        assert!(output.code == 1 && output.stderr.contains(said), "{flag:?}: {}", output.stderr);
    }
}

#[test]
fn an_image_carries_the_cache_of_its_steps() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "inline", "FROM busybox\nENV A=1\nRUN cat /proc/sys/kernel/random/uuid > /own\n", &[]);
    for flags in [["--cache-to", "type=inline"], ["--build-arg", "BUILDKIT_INLINE_CACHE=1"]] {
        build_ok(&lrun, &folder, &[&["-t", "carrier"], &flags[..]].concat());
        let other = elsewhere(&lrun);
        let archive = other.folder().join("carrier.tar");
        lrun.ok(&["save", "-o", text(&archive), "carrier"]);
        other.ok(&["load", "-q", "-i", text(&archive)]);
        let output = build_ok(&other, &folder, &["-t", "own", "--cache-from", "carrier"]);
        assert_eq!(cached(&output), 2, "{}", output.stderr);
        // An image on top of it does not carry it on.
        let top = context(&other, "top", "FROM carrier\nENV B=2\n", &[]);
        build_ok(&other, &top, &["-t", "top"]);
        let piped = build_ok(&other, &top, &["-q", "-o", "type=oci"]);
        assert!(!String::from_utf8_lossy(&piped.bytes).contains("dev.lrun.cache"), "it does");
        build_ok(&lrun, &folder, &["--no-cache"]);
    }
}

#[test]
fn the_layers_of_a_stage_become_one() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox AS base\nRUN echo base > /base\nFROM base\nRUN echo 1 > /1; echo x > /gone\nENV A=1\n\
                      RUN echo 2 > /2; rm /gone /base\n";
    let folder = context(&lrun, "squash", dockerfile, &[]);
    let layers = |name: &str| lrun.inspect(name, "{{len .RootFS.Layers}}");
    build_ok(&lrun, &folder, &["-t", "plain"]);
    assert_eq!(layers("plain"), "4");
    let output = build_ok(&lrun, &folder, &["-t", "squashed", "--squash"]);
    assert_eq!((cached(&output), layers("squashed")), (4, "3".to_owned()), "{}", output.stderr);
    let output = build_ok(&lrun, &folder, &["-t", "one", "--layers=false"]);
    assert_eq!((cached(&output), layers("one")), (0, "3".to_owned()), "{}", output.stderr);
    for name in ["squashed", "one"] {
        let look = "cat /1 /2; ls /gone /base 2>/dev/null; echo $A";
        let run = lrun.ok(&["run", "--rm", "--network", "none", name, "sh", "-c", look]);
        assert_eq!(run, "1\n2\n1", "{name}");
        let history = lrun.ok(&["history", "-q", name]).lines().count();
        assert_eq!(history, lrun.ok(&["history", "-q", "plain"]).lines().count());
    }
    assert_eq!(lrun.ok(&["images", "-q", "--filter", "dangling=true"]), "");
}

#[test]
fn steps_run_with_the_limits_that_are_given() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM busybox\nRUN ulimit -n; df -k /dev/shm | tail -n 1; cat /etc/resolv.conf; grep NoNewPrivs /proc/self/status\n";
    let folder = context(&lrun, "limits", dockerfile, &[]);
    let flags = ["--ulimit", "nofile=99:100", "--shm-size", "3m", "--dns", "10.0.0.9", "--dns-search", "example.com"];
    let output =
        build_ok(&lrun, &folder, &[&flags[..], &["--security-opt", "no-new-privileges", "--no-cache"]].concat());
    for line in ["99", "nameserver 10.0.0.9", "search example.com", "NoNewPrivs:\t1"] {
        assert!(output.stderr.lines().any(|told| told.trim_end() == line), "{line}: {}", output.stderr);
    }
    assert!(output.stderr.contains(" 3072 "), "{}", output.stderr);
    // What asks for what happens anyway.
    for flags in [
        &["-m", "0"][..],
        &["--cpu-shares", "0"],
        &["--isolation", "default"],
        &["--provenance=false", "--sbom=false", "--attest", "type=provenance,disabled=true"],
        &["--builder", "default", "--compress", "--load"],
        &["--allow", "network.host"],
    ] {
        build_ok(&lrun, &folder, flags);
    }
    for (flags, said) in [
        (&["-m", "64m"][..], "does not set cgroup limits"),
        (&["--cpu-quota", "1000"], "cgroups"),
        (&["--cgroup-parent", "x"], "cgroups"),
        (&["--provenance=max"], "states nothing"),
        (&["--sbom", "true"], "states nothing"),
        (&["--annotation", "a=b"], "annotations"),
        (&["--builder", "other"], "one builder"),
        (&["--allow", "security.insecure"], "privileges"),
        (&["--ulimit", "nope=1"], "invalid ulimit type: nope"),
        (&["--shm-size", "x"], "invalid size: 'x'"),
    ] {
        let output = build(&lrun, &folder, flags);
        assert!(matches!(output.code, 1 | 125) && output.stderr.contains(said), "{flags:?}: {}", output.stderr);
    }
}

#[test]
fn the_container_of_a_failed_step_goes_where_that_is_asked() {
    let lrun = Lrun::with_busybox();
    let folder = context(&lrun, "force-rm", "FROM busybox\nRUN exit 4\n", &[]);
    let output = build(&lrun, &folder, &["--force-rm"]);
    assert!(output.code == 4 && output.stderr.ends_with("returned a non-zero code: 4\n"), "{}", output.stderr);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn an_image_for_another_machine_is_built_where_nothing_runs() {
    let lrun = Lrun::with_busybox();
    let own = lrun.inspect("busybox", "{{.Os}}/{{.Architecture}}");
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS work\nARG TARGETPLATFORM BUILDPLATFORM TARGETARCH\n\
                      RUN echo $TARGETPLATFORM $BUILDPLATFORM $TARGETARCH > /for\nFROM scratch\nCOPY --from=work /for /\nWORKDIR /w\n";
    let folder = context(&lrun, "platform", dockerfile, &[]);
    let out = lrun.folder().join("out");
    build_ok(&lrun, &folder, &["--platform", "linux/s390x", "-t", "foreign", "--load", "-o", text(&out)]);
    assert_eq!(lrun.inspect("foreign", "{{.Os}}/{{.Architecture}}"), "linux/s390x");
    assert_eq!(fs::read_to_string(out.join("for")).expect("it is there"), format!("linux/s390x {own} s390x\n"));
    // Its programs do not run here, unless somebody has registered an emulator.
    let top = context(&lrun, "top", "FROM foreign\nENV A=1\nRUN [\"/program\"]\n", &[]);
    let output = build(&lrun, &top, &["--platform=linux/s390x"]);
    assert!(output.code != 0, "{}", output.stderr);
    if !Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        assert!(output.stderr.contains("Dockerfile:3:") && output.stderr.contains("linux/s390x"), "{}", output.stderr);
        assert!(output.stderr.contains("  hint: install an emulator"), "{}", output.stderr);
    }
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    for (platform, said) in [("linux/amd64,linux/arm64", "one platform at a time"), ("a/b/c/d", "invalid OS/ARCH")] {
        let output = build(&lrun, &folder, &["--platform", platform]);
        assert!(output.code == 1 && output.stderr.contains(said), "{}", output.stderr);
    }
}

#[test]
fn tools_that_ask_for_buildx_are_answered() {
    let lrun = Lrun::with_busybox();
    assert!(lrun.ok(&["buildx", "version"]).starts_with("github.com/docker/buildx v0."));
    let listed = lrun.ok(&["buildx", "ls"]);
    let mut lines = listed.lines();
    assert_eq!(lines.next(), Some("NAME/NODE     DRIVER/ENDPOINT   STATUS    BUILDKIT      PLATFORMS"));
    assert_eq!(lines.next(), Some("default*      docker"));
    let named = lrun.ok(&["buildx", "ls", "--format", "{{.Name}}: {{.DriverEndpoint}} {{.Status}}"]);
    assert_eq!(named, "default: docker \ndefault: default running");
    assert_eq!(lrun.ok(&["buildx", "ls", "--format", "{{.Builder.Driver}}"]), "docker\ndocker");
    assert!(lrun.ok(&["buildx", "ls", "--format", "json"]).starts_with("{\"Name\":\"default\",\"Driver\":\"docker\""));
    for args in [&["buildx", "inspect"][..], &["buildx", "inspect", "--bootstrap", "default"], &["builder", "inspect"]]
    {
        let shown = lrun.ok(args);
        assert!(shown.starts_with("Name:          default\nDriver:        docker\n"), "{shown}");
    }
    lrun.ok(&["buildx", "use", "default"]);
    assert!(lrun.fails(1, &["buildx", "inspect", "other"]).contains("no builder \"other\" found"));
    assert!(lrun.fails(1, &["buildx", "rm", "default"]).contains("cannot be removed"));
    assert!(lrun.fails(1, &["buildx", "create", "--name", "b", "--use"]).contains("one builder"));
    for (command, said) in
        [("bake", "bake: this version of lrun has one builder"), ("imagetools", "`lrun manifest create` makes one")]
    {
        let told = lrun.fails(1, &["buildx", command]);
        assert!(told.contains(said), "{told}");
    }
    let folder = context(&lrun, "buildx", "FROM busybox\nCOPY --from=other f /\n", &[("f", "f")]);
    let other = format!("other={}", folder.display());
    for words in [&["buildx", "build"][..], &["buildx", "b"], &["builder", "build"], &["image", "build"], &["build"]] {
        let flags = ["--load", "--build-context", &other, "--build-arg", "BUILDKIT_INLINE_CACHE=1", "-t", "buildx"];
        let output = lrun.run(&[words, &flags[..], &[text(&folder)]].concat());
        assert_eq!(output.code, 0, "{words:?}: {}", output.stderr);
    }
}

#[test]
fn what_builds_left_is_counted() {
    let lrun = Lrun::with_busybox();
    let row = || lrun.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}"]);
    assert!(row().ends_with("Build Cache 0 0 0B"), "{}", row());
    let folder =
        context(&lrun, "df", "FROM busybox\nENV A=1\nRUN --mount=type=cache,id=kept,target=/c echo x > /c/x\n", &[]);
    build_ok(&lrun, &folder, &[]);
    assert!(row().contains("\nBuild Cache 3 0 ") && !row().ends_with(" 0B"), "{}", row());
    let shown = lrun.ok(&["system", "df", "-v"]);
    let (_, cache) = shown.split_once("Build cache usage: ").expect("a table");
    assert_eq!((cache.matches("regular").count(), cache.matches("exec.cachemount").count()), (2, 1), "{shown}");
    assert_eq!(lrun.ok(&["system", "df", "-v", "--format", "{{len .BuildCache}}"]), "3");
    let shown = lrun.ok(&["buildx", "du"]);
    assert!(shown.starts_with("ID ") && shown.contains("\nReclaimable:\t") && shown.contains("\nTotal:\t"), "{shown}");
    let known = |flags: &[&str]| lrun.ok(&[&["buildx", "du"], flags].concat());
    assert_eq!(
        known(&["--filter", "type=exec.cachemount", "--format", "{{.Type}} {{.Reclaimable}}"]),
        "exec.cachemount true"
    );
    let described = known(&["--filter", "type!=exec.cachemount", "--format", r"table {{.Type}}\t{{.Description}}"]);
    assert!(described.starts_with("TYPE      DESCRIPTION\nregular   RUN --mount=type=cache,id=kept"), "{described}");
    assert!(!described.contains("exec.cachemount") && !described.contains("Total:"), "{described}");
    assert!(known(&["--format", "json"]).lines().all(|line| line.contains("\"Mutable\":false,")));
    let shown = known(&["--verbose"]);
    assert!(shown.starts_with("ID:           ") && shown.contains("\nDescription:  ENV A=1\n"), "{shown}");
    assert!(known(&["--format", "pretty"]).contains("Type:         exec.cachemount\n\nReclaimable:\t"));
    assert!(lrun.fails(1, &["buildx", "du", "--verbose", "--format", "json"]).contains("cannot be used together"));
    lrun.ok(&["buildx", "prune", "-af", "--filter", "type!=exec.cachemount"]);
    assert!(row().contains("\nBuild Cache 1 0 "), "{}", row());
    lrun.ok(&["buildx", "prune", "-af"]);
    assert!(row().ends_with("Build Cache 0 0 0B"), "{}", row());
    for flag in ["--keep-storage", "--reserved-space", "--max-used-space", "--min-free-space"] {
        let said = lrun.fails(1, &["builder", "prune", "-f", flag, "1gb"]);
        assert!(said.contains(flag) && said.contains("hint: "), "{said}");
        lrun.ok(&["builder", "prune", "-f", flag, "0"]);
    }
}

#[test]
fn it_answers_to_the_names_of_others() {
    let lrun = Lrun::with_busybox();
    for (name, version) in [("docker", "Docker version "), ("podman", "podman version ")] {
        let link = lrun.folder().join(name);
        symlink(binary(), &link).expect("a link");
        let run = |args: &[&str]| {
            let mut command = std::process::Command::new(&link);
            let output = command.args(args).env("LRUN_ROOT", lrun.store()).env("LRUN_IDMAP", mode().name()).output();
            String::from_utf8_lossy(&output.expect("it starts").stdout).into_owned()
        };
        for flag in ["-v", "--version"] {
            assert!(run(&[flag]).starts_with(version), "{}", run(&[flag]));
        }
        // What is asked for before it is decided which commands there are.
        let told = run(&["version", "-f", "{{.Server.Version}}"]);
        assert!(run(&["-v"]).starts_with(&format!("{version}{}", told.trim_end())), "{told}");
        assert!(run(&["images", "--format", "{{.Repository}}"]).contains("busybox"), "{}", run(&["images"]));
    }
    assert!(lrun.ok(&["-v"]).starts_with("lrun version "));
}

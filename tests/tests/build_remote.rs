//! `build`: files that come from elsewhere: named contexts, addresses, repositories; and how they are copied.

use std::fs;
use std::path::{Path, PathBuf};

use std::sync::{Arc, Mutex};

use lrun_tests::build::{build, built, context, folder, git, in_image};
use lrun_tests::server::{Response, Server};
use lrun_tests::{Lrun, Tar};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_named_context_stands_for_a_stage_or_an_image() {
    let lrun = Lrun::with_busybox();
    let dockerfile = "FROM nowhere.invalid/base:1 AS base\nRUN exit 1\nFROM base\nCOPY --from=tools /tool /tool\nCOPY --from=data . /data\nCOPY --from=busybox:latest bin/sh /again\n";
    let main = context(&lrun, "main", dockerfile, &[]);
    let data = folder(&lrun, "data", &[(".dockerignore", "*.log"), ("a", "a"), ("b.log", "b"), ("d/c", "c")]);
    let tools = context(&lrun, "tools", "FROM busybox\nRUN echo tool > /tool\n", &[]);
    built(&lrun, &tools, &["-t", "tools:v1"]);
    let data_context = format!("data={}", text(&data));
    let flags = [
        "--build-context",
        "base=docker-image://busybox",
        "--build-context",
        "tools=docker-image://tools:v1",
        "--build-context",
        &data_context,
        "-t",
        "made",
    ];
    let id = built(&lrun, &main, &flags);
    assert_eq!(
        in_image(&lrun, "made", "cat /tool; cd /data; find . | sort"),
        "tool\n.\n./.dockerignore\n./a\n./d\n./d/c"
    );
    assert_eq!(in_image(&lrun, "made", "test -x /again; stat -c '%u:%g' /data/a"), "0:0");
    assert_eq!(built(&lrun, &main, &flags), id);
    // A stage is on files; the target itself is replaced.
    let on_files = context(&lrun, "on-files", "FROM data AS last\nCOPY Dockerfile /x\n", &[]);
    let flags = ["--build-context", &data_context, "-t", "files"];
    built(&lrun, &on_files, &flags);
    assert_eq!(lrun.inspect("files", "{{len .RootFS.Layers}}"), "2");
    let last = built(&lrun, &on_files, &["--build-context", "last=docker-image://busybox"]);
    assert_eq!(lrun.inspect(&last, "{{.RootFS.Layers}}"), lrun.inspect("busybox", "{{.RootFS.Layers}}"));
    for (given, said) in [
        ("x", "expected key=value"),
        ("=x", "expected key=value"),
        ("Upper=/", "invalid context name"),
        ("x=/no/such/place", "failed to get build context x"),
        ("x=target:y", "targets are what bake builds"),
    ] {
        let output = build(&lrun, &main, &["--build-context", given]);
        assert!(matches!(output.code, 1 | 125) && output.stderr.contains(said), "{given}: {}", output.stderr);
    }
}

#[test]
fn a_named_context_is_an_image_of_a_layout() {
    let lrun = Lrun::with_busybox();
    let layout = lrun.folder().join("layout");
    lrun.ok(&["save", "--format", "oci-dir", "-o", text(&layout), "busybox"]);
    let main = context(&lrun, "main", "FROM base\nRUN echo made > /made\n", &[]);
    let lrun = Lrun::new();
    for suffix in ["", ":latest"] {
        let context = format!("base=oci-layout://{}{suffix}", text(&layout));
        built(&lrun, &main, &["--build-context", &context, "-t", "made"]);
        assert_eq!(in_image(&lrun, "made", "cat /made"), "made");
    }
    assert_eq!(lrun.ok(&["images", "-q"]).lines().count(), 1, "the base got no name");
    let context = format!("base=oci-layout://{}:other", text(&layout));
    let output = build(&lrun, &main, &["--build-context", &context]);
    assert!(output.code == 1 && output.stderr.contains("no image other"), "{}", output.stderr);
}

/// A server of one file that changes when the test says so, with an ETag.
fn serving(name: &'static str) -> (Server, Arc<Mutex<Vec<u8>>>) {
    let content = Arc::new(Mutex::new(b"one".to_vec()));
    let served = Arc::clone(&content);
    let server = Server::start("127.0.0.1", move |request| {
        let content = served.lock().expect("the content").clone();
        let etag = format!("\"{}\"", content.len());
        match request.path.split('?').next() {
            Some("/moved") => Response::new(302, "").header("Location", format!("/{name}")),
            Some(path) if path == format!("/{name}") && request.header("if-none-match") == Some(&etag) => {
                Response::new(304, "")
            }
            Some(path) if path == format!("/{name}") => Response::new(200, content)
                .header("ETag", etag)
                .header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
            Some("/") => Response::new(200, "unnamed"),
            _ => Response::new(404, "no"),
        }
    });
    (server, content)
}

fn downloads(server: &Server) -> usize {
    usize::try_from(server.sent()).expect("few")
}

#[test]
fn a_download_is_added_as_it_is_and_not_brought_twice() {
    let lrun = Lrun::with_busybox();
    let (server, content) = serving("file.txt");
    let url = format!("http://{}", server.name());
    let dockerfile = format!(
        "FROM busybox\nADD {url}/file.txt /d/\nADD --chmod=755 {url}/moved?x=1 /named\nADD --chown=7:8 {url}/file.txt /\n"
    );
    let main = context(&lrun, "main", &dockerfile, &[]);
    let id = built(&lrun, &main, &["-t", "made"]);
    let look = "cat /d/file.txt /named /file.txt; stat -c '%a %Y' /d/file.txt /named; stat -c %u:%g /file.txt";
    let owner = if lrun_tests::mode() == lrun_tests::Mode::Single { "0:0" } else { "7:8" };
    assert_eq!(in_image(&lrun, "made", look), format!("oneoneone600 1445412480\n755 1445412480\n{owner}"));
    let sent = downloads(&server);
    assert_eq!(built(&lrun, &main, &[]), id);
    assert_eq!(downloads(&server), sent, "it is known by its ETag");
    *content.lock().expect("the content") = b"three".to_vec();
    let changed = build(&lrun, &main, &["-t", "made"]);
    assert!(changed.code == 0 && !changed.stderr.contains("cache"), "{}", changed.stderr);
    assert_eq!(in_image(&lrun, "made", "cat /named"), "three");
}

#[test]
fn a_checksum_is_checked_and_saves_the_way() {
    let lrun = Lrun::with_busybox();
    let (server, _) = serving("file");
    let url = format!("http://{}", server.name());
    let sum = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let main = context(&lrun, "main", &format!("FROM busybox\nADD --checksum={sum} {url}/file /f\n"), &[]);
    built(&lrun, &main, &[]);
    let asked = server.requests().len();
    built(&lrun, &main, &[]);
    assert_eq!(server.requests().len(), asked, "nothing is asked");
    let other = sum.replace("7692", "0000");
    for (add, said) in [
        (format!("ADD --checksum={other} {url}/file /f"), "digest mismatch"),
        (format!("ADD --checksum={sum} Dockerfile /f"), "checksum requires"),
        (format!("ADD --checksum={sum} {url}/file {url}/file /f/"), "multiple sources"),
        (format!("ADD --checksum=md5:0 {url}/file /f"), "invalid digest \"md5:0\": only sha256 is supported"),
        ("ADD --keep-git-dir=true Dockerfile /f".to_owned(), "--keep-git-dir is for git repositories"),
        (format!("ADD {url}/none /f"), "invalid response status 404"),
        (format!("ADD {url}/ /f/"), "no file name"),
        (format!("ADD {url}/file {url}/file /f"), "end with a /"),
        (format!("COPY {url}/file /f"), "source can't be a URL"),
        ("ADD http://127.0.0.1:1/x /f".to_owned(), "http://127.0.0.1:1: connection refused"),
    ] {
        let main = context(&lrun, "wrong", &format!("FROM busybox\n{add}\n"), &[]);
        let output = build(&lrun, &main, &[]);
        assert!(output.code == 1 && output.stderr.contains(said), "{add}: {}", output.stderr);
        assert!(output.stderr.contains("Dockerfile:2"), "{add}: {}", output.stderr);
    }
    let main = context(&lrun, "named", &format!("FROM busybox\nADD {url}/ /f\n"), &[]);
    built(&lrun, &main, &["-t", "named"]);
    assert_eq!(in_image(&lrun, "named", "cat /f; stat -c %Y /f"), "unnamed0");
}

#[test]
fn an_archive_is_extracted_only_if_asked_for() {
    let lrun = Lrun::with_busybox();
    let archive = Tar::new().dir("d").file("d/f", b"in it").finish();
    let server = Server::start("127.0.0.1", move |_| Response::new(200, archive.clone()));
    let url = format!("http://{}/x.tar", server.name());
    let dockerfile = format!("FROM busybox\nADD {url} /kept/\nADD --unpack=true {url} /out\n");
    let main = context(&lrun, "main", &dockerfile, &[]);
    built(&lrun, &main, &["-t", "made"]);
    assert_eq!(in_image(&lrun, "made", "tar tf /kept/x.tar; cat /out/d/f"), "d\nd/f\nin it");
}

#[test]
fn a_context_is_at_a_url() {
    let lrun = Lrun::with_busybox();
    let archive = Tar::new()
        .file("Dockerfile", b"FROM busybox\nCOPY . /all\n")
        .file("other", b"FROM busybox\nCOPY --from=more f /other\n")
        .file(".dockerignore", b"*.log\n")
        .file("f", b"f")
        .file("x.log", b"log")
        .finish();
    let server = Server::start("127.0.0.1", move |request| match request.path.as_str() {
        "/context.tar" => Response::new(200, archive.clone()),
        "/Dockerfile" => Response::new(200, "FROM busybox\nRUN echo alone > /alone\n"),
        _ => Response::new(404, ""),
    });
    let url = format!("http://{}", server.name());
    let context = format!("{url}/context.tar");
    built(&lrun, &context, &["-t", "archive"]);
    assert_eq!(in_image(&lrun, "archive", "ls -A /all"), ".dockerignore\nDockerfile\nf\nother");
    built(&lrun, &context, &["-t", "other", "-f", "other", "--build-context", &format!("more={context}")]);
    assert_eq!(in_image(&lrun, "other", "cat /other"), "f");
    built(&lrun, &format!("{url}/Dockerfile"), &["-t", "alone"]);
    assert_eq!(in_image(&lrun, "alone", "cat /alone"), "alone");
    let empty = folder(&lrun, "empty", &[("x", "x")]);
    built(&lrun, &empty, &["-f", &format!("{url}/Dockerfile")]);
    let output = build(&lrun, &format!("{url}/none"), &[]);
    assert!(output.code == 1 && output.stderr.contains("status 404"), "{}", output.stderr);
    let output = lrun.run_with(b"FROM busybox\nCOPY f /g\n", &["build", "-q", "-f", "-", "-t", "stdin", &context]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(in_image(&lrun, "stdin", "cat /g"), "f");
}

/// A repository with a few commits, as plain files over HTTP; its folder, its URL and its first commit.
fn repository(lrun: &Lrun) -> (PathBuf, Server, String, String) {
    let work = folder(
        lrun,
        "work",
        &[("f", "one"), ("dir/g", "g"), ("dir/Dockerfile", "FROM busybox\nCOPY . /all\n"), (".dockerignore", "")],
    );
    git(&work, &["init", "-q", "-b", "main"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    let first = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["tag", "-a", "-m", "v1", "v1"]);
    fs::write(work.join("f"), "two").expect("a file");
    git(&work, &["commit", "-qam", "two"]);
    let server = served(lrun);
    let url = format!("http://{}/x.git", server.name());
    (work, server, url, first)
}

/// Serves the repository in the folder `work`, as it is now.
fn served(lrun: &Lrun) -> Server {
    let folder = lrun.folder().join("served");
    fs::create_dir(&folder).expect("a folder");
    git(lrun.folder(), &["clone", "-q", "--bare", "work", "served/x.git"]);
    git(&folder.join("x.git"), &["update-server-info"]);
    Server::start("127.0.0.1", move |request| {
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        fs::read(folder.join(path)).map_or_else(|_| Response::new(404, ""), |bytes| Response::new(200, bytes))
    })
}

#[test]
fn a_repository_is_added() {
    let lrun = Lrun::with_busybox();
    let (work, server, url, first) = repository(&lrun);
    let dockerfile = format!(
        "FROM busybox\nADD {url} /head\nADD {url}#v1 /tag/\nADD --chown=7:8 {url}#{first}:dir /dir\nADD --keep-git-dir=true {url}#main /kept\nADD --checksum={first} {url}?tag=v1&subdir=dir /sum\n"
    );
    let main = context(&lrun, "main", &dockerfile, &[]);
    let id = built(&lrun, &main, &["-t", "made"]);
    let look = |script: &str| in_image(&lrun, "made", script);
    assert_eq!(
        look("cat /head/f /tag/f; ls -A /head /dir"),
        "twoone/dir:\nDockerfile\ng\n\n/head:\n.dockerignore\ndir\nf"
    );
    assert_eq!(
        look("stat -c %a /head/f /head/dir; cat /kept/.git/HEAD | wc -c; ls /sum"),
        "644\n755\n41\nDockerfile\ng"
    );
    let before = server.sent();
    assert_eq!(built(&lrun, &main, &[]), id);
    assert!(server.sent() - before < 4096, "only names are asked for");
    // A new commit.
    fs::write(work.join("f"), "three").expect("a file");
    git(&work, &["commit", "-qam", "three"]);
    let served = lrun.folder().join("served/x.git");
    git(&work, &["push", "-q", text(&served), "main"]);
    git(&served, &["update-server-info"]);
    built(&lrun, &main, &["-t", "made"]);
    assert_eq!(look("cat /head/f /tag/f"), "threeone");
    for (add, said) in [
        (format!("ADD {url}#nothing /x"), "does not contain ref nothing"),
        (format!("ADD --checksum=0000000 {url} /x"), "expected checksum to match"),
        (format!("ADD {url}#main:none /x"), "no such directory"),
        (format!("ADD {url}#main:../.. /x"), "outside"),
        ("ADD git://-x/y /x".to_owned(), "invalid git address"),
        (format!("COPY {url} /x"), "git ref for COPY"),
        (format!("ADD --keep-git-dir=false {url}?keep-git-dir=true /x"), "--keep-git-dir says false"),
        (format!("ADD {url}?tag=v1#main /x"), "tag conflicts"),
    ] {
        let main = context(&lrun, "wrong", &format!("FROM busybox\n{add}\n"), &[]);
        let output = build(&lrun, &main, &[]);
        assert!(output.code == 1 && output.stderr.contains(said), "{add}: {}", output.stderr);
    }
}

#[test]
fn what_is_left_out_of_a_repository_counts() {
    let lrun = Lrun::with_busybox();
    let (_, _server, url, _) = repository(&lrun);
    for (flags, expected) in [("", "dir\nf"), ("--exclude=f", "dir"), ("--exclude=dir", "f"), ("", "dir\nf")] {
        let main = context(&lrun, "main", &format!("FROM busybox\nADD {flags} {url} /r\n"), &[]);
        built(&lrun, &main, &["-t", "made"]);
        assert_eq!(in_image(&lrun, "made", "ls /r"), expected, "{flags}");
    }
}

#[test]
fn a_repository_has_hashes_of_either_kind() {
    let lrun = Lrun::with_busybox();
    let work = folder(&lrun, "work", &[("f", "one")]);
    git(&work, &["init", "-q", "-b", "main", "--object-format=sha256"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "one"]);
    let commit = git(&work, &["rev-parse", "HEAD"]);
    assert_eq!(commit.len(), 64);
    let server = served(&lrun);
    let url = format!("http://{}/x.git", server.name());
    for name in ["main", &commit] {
        let main = context(&lrun, "main", &format!("FROM busybox\nADD {url}#{name} /r\n"), &[]);
        built(&lrun, &main, &["-t", "made", "--no-cache"]);
        assert_eq!(in_image(&lrun, "made", "cat /r/f"), "one");
    }
}

#[test]
fn a_context_is_a_repository() {
    let lrun = Lrun::with_busybox();
    let (_, _server, url, _) = repository(&lrun);
    built(&lrun, &format!("{url}#v1:dir"), &["-t", "made"]);
    assert_eq!(in_image(&lrun, "made", "ls -A /all"), "Dockerfile\ng");
    built(&lrun, &url, &["-t", "made", "-f", "dir/Dockerfile"]);
    assert_eq!(in_image(&lrun, "made", "ls -A /all; cat /all/f"), ".dockerignore\ndir\nf\ntwo");
    let main = context(&lrun, "main", "FROM busybox\nCOPY --from=repo f /f\n", &[]);
    let named = format!("repo={url}#v1");
    built(&lrun, &main, &["-t", "made", "--build-context", &named]);
    assert_eq!(in_image(&lrun, "made", "cat /f"), "one");
}

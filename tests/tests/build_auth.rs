//! `build`: a password for what is elsewhere reaches its server, and is in no file, no argument and no message.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lrun_tests::build::{build, context, git, in_image};
use lrun_tests::server::{Request, Response, Server};
use lrun_tests::{Lrun, Tar};

const PASSWORD: &str = "tok3n/and+more";
/// As it is in a URL.
const ENCODED: &str = "tok3n%2Fand+more";
/// `ada` and the password, in base 64.
const BASIC: &str = "Basic YWRhOnRvazNuL2FuZCttb3Jl";
/// `x-access-token` and the password.
const TOKEN: &str = "Basic eC1hY2Nlc3MtdG9rZW46dG9rM24vYW5kK21vcmU=";

/// A folder with a repository `x.git`, whose submodule is `s.git` beside it, and some files.
fn served(lrun: &Lrun) -> PathBuf {
    let served = lrun.folder().join("served");
    let sub = context(lrun, "sub", "FROM busybox", &[("s", "submodule")]);
    let work = context(
        lrun,
        "work",
        "FROM busybox\nCOPY . /all\n",
        &[("f", "one"), ("dir/Dockerfile", "FROM busybox\nCOPY . /all\n")],
    );
    for (folder, name) in [(&sub, "s.git"), (&work, "x.git")] {
        git(folder, &["init", "-q", "-b", "main"]);
        if name == "x.git" {
            git(folder, &["submodule", "--quiet", "add", text(&served.join("s.git")), "s"]);
            git(folder, &["config", "-f", ".gitmodules", "submodule.s.url", "../s.git"]);
        }
        git(folder, &["add", "."]);
        git(folder, &["commit", "-qm", "one"]);
        git(folder, &["clone", "-q", "--bare", ".", text(&served.join(name))]);
    }
    for (name, content) in [("wrong", "FROM busybox\nRUNN x\n"), ("odd", "FROM busybox as x\nWORKDIR rel\n")] {
        fs::write(served.join(name), content).expect("a file");
    }
    fs::write(served.join("some.tar"), Tar::new().file("f", b"f").finish()).expect("a file");
    served
}

/// What git's own server answers for a repository, and a server of files for the rest.
fn answer(served: &Path, request: &Request, path: &str) -> Response {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if !path.contains(".git/") {
        let file = fs::read(served.join(path.trim_start_matches('/')));
        return file.map_or_else(|_| Response::new(404, ""), |bytes| Response::new(200, bytes));
    }
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", served).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", &request.method).env("PATH_INFO", path).env("QUERY_STRING", query);
    for (variable, header) in [
        ("CONTENT_TYPE", "content-type"),
        ("CONTENT_LENGTH", "content-length"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        request.header(header).map(|value| command.env(variable, value));
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
    child.stdin.take().expect("its input").write_all(&request.body).expect("it reads");
    let output = child.wait_with_output().expect("it ends").stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let mut response = Response::new(200, &output[end + 4..]);
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        match name {
            "Status" => response.status = value[..3].parse().expect("a number"),
            _ => response = response.header(name, value),
        }
    }
    response
}

fn open_to_all(served: &Path) -> Server {
    let folder = served.to_owned();
    Server::start("127.0.0.1", move |request| answer(&folder, request, &request.path))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Nobody should see it, in whatever form.
#[track_caller]
fn has_no_password(what: &str, bytes: &[u8]) {
    for secret in [PASSWORD, ENCODED, "tok3n", &BASIC[6..], &TOKEN[6..]] {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{what} has {secret}: {}", String::from_utf8_lossy(bytes));
    }
}

/// No name and no file of a folder has it; how many files are known to have been read by their content.
fn search(folder: &Path) -> usize {
    let mut files = 0;
    // What an ended build left may be deleted meanwhile.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        has_no_password("a name", text(&path).as_bytes());
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let kind = found.file_type();
        if kind.is_dir() {
            files += search(&path);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            has_no_password(text(&path), &bytes);
            files += usize::from(bytes == b"submodule");
        }
    }
    files
}

/// A server that shows what is in `served` to who says one of these, and what is below `moved` at another server.
fn private(served: &Path, other: &Server, accepted: &'static [&'static str]) -> Server {
    let (folder, other) = (served.to_owned(), other.name());
    Server::start("127.0.0.1", move |request| {
        if !request.header("authorization").is_some_and(|said| accepted.contains(&said)) {
            return Response::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\"");
        }
        match request.path.strip_prefix("/moved") {
            Some(path) => Response::new(302, "").header("Location", format!("http://{other}{path}")),
            None => answer(&folder, request, &request.path),
        }
    })
}

/// A `git` on PATH that writes down with which arguments it and its children are started; where.
fn recorded(lrun: &mut Lrun) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;

    let (programs, log) = (lrun.folder().join("programs"), lrun.folder().join("git.log"));
    fs::create_dir(&programs).expect("a folder");
    let path = std::env::var("PATH").expect("there is one");
    let log_name = text(&log).to_owned();
    let script = format!(
        "#!/bin/sh\nexport PATH='{path}'\nfor word; do echo \"argument $word\"; done >> '{log_name}'\nGIT_TRACE='{log_name}' exec git \"$@\"\n"
    );
    fs::write(programs.join("git"), script).expect("a file");
    fs::set_permissions(programs.join("git"), fs::Permissions::from_mode(0o755)).expect("its mode");
    lrun.set_env("PATH", &format!("{}:{path}", text(&programs)));
    log
}

#[test]
fn a_password_of_a_repository_is_nowhere() {
    let mut lrun = Lrun::with_busybox();
    let served = served(&lrun);
    let other = open_to_all(&served);
    let server = private(&served, &other, &[BASIC]);
    let log = recorded(&mut lrun);
    let url = format!("http://ada:{ENCODED}@{}/x.git", server.name());
    // A context, with .git and without, and ADD, the password by an argument.
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", "-t", "kept"];
    let mut outputs = vec![build(&lrun, Path::new(&url), &keep), build(&lrun, Path::new(&url), &["-t", "plain"])];
    let dockerfile = format!(
        "FROM busybox\nARG T\nADD --keep-git-dir=true http://ada:${{T}}@{0}/x.git /all\nADD http://ada:${{T}}@{0}/x.git#main:dir /dir\nADD http://ada:${{T}}@{0}/x.git/HEAD /\n",
        server.name()
    );
    let main = context(&lrun, "main", &dockerfile, &[]);
    let given = format!("T={ENCODED}");
    for more in [&["--explain"][..], &["--explain", "--no-cache"], &["--progress", "plain"]] {
        outputs.push(build(&lrun, &main, &[&["--build-arg", &given, "-t", "added"], more].concat()));
    }
    let named = context(&lrun, "named", "FROM busybox\nCOPY --from=repo . /all\n", &[]);
    outputs.push(build(&lrun, &named, &["--build-context", &format!("repo={url}"), "-t", "named"]));
    for output in &outputs {
        assert_eq!(output.code, 0, "{}", output.stderr);
        has_no_password("the output", format!("{}{}", output.stdout, output.stderr).as_bytes());
    }
    for image in ["kept", "added"] {
        let look = "cd /all; cat s/s .git/config .git/modules/s/config | grep -e submodule -e 'url ='";
        let found = in_image(&lrun, image, look);
        for wanted in ["submodule", &format!("http://{}/x.git", server.name()), "/s.git"] {
            assert!(found.contains(wanted), "{image}: {found}");
        }
        has_no_password(image, lrun.ok(&["history", "--no-trunc", image]).as_bytes());
    }
    for image in ["plain", "named"] {
        assert_eq!(in_image(&lrun, image, "cat /all/s/s; ls -a /all | grep -c .git$ || true"), "submodule0");
    }
    assert!(search(&lrun.store()) >= 2, "the layers are searched");
    let started = fs::read(&log).expect("git was started");
    let begins = |word: &str| started.split(|b| *b == b'\n').any(|line| line.starts_with(word.as_bytes()));
    assert!(begins("argument ls-remote") && begins("argument submodule"), "{}", String::from_utf8_lossy(&started));
    has_no_password("git's arguments", &started);
    // Where the server sends it, nobody is told.
    let before = other.requests().len();
    let moved = url.replace("/x.git", "/moved/x.git#main:dir");
    let output = build(&lrun, Path::new(&moved), &["-t", "moved"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let asked = other.requests().split_off(before);
    assert!(!asked.is_empty() && asked.iter().all(|request| request.header("authorization").is_none()));
    has_no_password("git's arguments", &fs::read(&log).expect("it is there"));
}

/// One that is written in the Dockerfile itself is in no text about it.
#[test]
fn a_password_in_a_dockerfile_is_not_shown() {
    let lrun = Lrun::with_busybox();
    let served = served(&lrun);
    let other = open_to_all(&served);
    let server = private(&served, &other, &[BASIC]);
    let at = |path: &str| format!("http://ada:{ENCODED}@{}/{path}", server.name());
    let shown = |path: &str| format!("ADD http://{}/{path}", server.name());
    let built_with = |dockerfile: &str, flags: &[&str]| {
        let folder = context(&lrun, "literal", dockerfile, &[]);
        let output = build(&lrun, &folder, flags);
        fs::remove_dir_all(folder).expect("it is removed");
        has_no_password("the output", format!("{}{}", output.stdout, output.stderr).as_bytes());
        output
    };
    let good = format!("FROM busybox\nADD {} /x\nADD [\"{}\", \"/y\"]\n", at("x.git"), at("x.git/HEAD"));
    for flags in [&["--explain"][..], &["--progress", "plain", "--no-cache"], &["--progress", "json", "--no-cache"]] {
        let output = built_with(&good, &[&["-t", "literal"], flags].concat());
        assert!(output.code == 0 && output.stderr.contains(&shown("x.git /x")), "{output:?}");
    }
    let history = lrun.ok(&["history", "--no-trunc", "literal"]);
    assert!(history.contains(&shown("x.git /x")), "{history}");
    has_no_password("the history", history.as_bytes());
    has_no_password("the config", lrun.ok(&["inspect", "literal"]).as_bytes());
    for (line, flags, said) in [
        (format!("ADD {} /x", at("none")), &[][..], "status 404"),
        (format!("ADD {} /x", at("x.git#none")), &[], "does not contain ref none"),
        (format!("ADD {}", at("x")), &[], "at least two arguments"),
        (format!("ADD --none {} /x", at("x")), &[], "none"),
        (format!("ADD {}${{ /x", at("x")), &[], "Dockerfile:2:"),
        (format!("ADD {} /x", at("x").replace("%2F", "/")), &[], "%2F"),
        (format!("COPY {} /x", at("x")), &[], "source can't be a URL"),
        (format!("add {} /x", at("x")), &["--check"], "ConsistentInstructionCasing"),
        (at("x"), &[], "unknown instruction"),
    ] {
        let output = built_with(&format!("FROM busybox\n{line}\nCMD true\n"), flags);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(output.code != 0 && all.contains(said), "{line}: {output:?}");
    }
    search(&lrun.store());
}

#[test]
fn no_message_has_a_password() {
    let lrun = Lrun::with_busybox();
    let served = served(&lrun);
    let other = open_to_all(&served);
    let server = private(&served, &other, &[BASIC]);
    let name = server.name();
    let at = |path: &str| format!("http://ada:{ENCODED}@{name}/{path}");
    let empty = context(&lrun, "empty", "FROM busybox", &[]);
    let by_argument = |what: &str| {
        let dockerfile = format!("FROM busybox\nARG T\nADD {what} /x\n");
        context(&lrun, "by-argument", &dockerfile, &[])
    };
    let given = format!("T=ada:{ENCODED}");
    let cases: Vec<(String, Vec<String>, &str)> = vec![
        (at("x.git#nothing"), vec![], "does not contain ref nothing"),
        (at("none.git"), vec![], "not found"),
        (at("x").replace("http", "ftp"), vec![], "open the build context ftp://"),
        (at("x.git").replace("ada", "eve"), vec![], "Authentication failed"),
        (at("x.git#-x"), vec![], "invalid git address"),
        (at("x.git#main:none"), vec![], "none"),
        (at("x.git?a=b"), vec![], "unexpected query"),
        (at("x.git").replace("%2F", "/"), vec![], "%2F"),
        (at("none"), vec![], "status 404"),
        (at("wrong"), vec![], "/wrong:2"),
        (at("odd"), vec!["--check".to_owned()], "odd:2"),
        (text(&empty).to_owned(), vec!["-f".to_owned(), at("wrong")], "/wrong:2"),
        (text(&empty).to_owned(), vec!["-f".to_owned(), at("none")], "status 404"),
        (text(&empty).to_owned(), vec!["-f".to_owned(), at("some.tar")], "an archive, no Dockerfile"),
        (text(&empty).to_owned(), vec!["-f".to_owned(), at("wrong").replace("%2F", "/")], "%2F"),
    ];
    for (place, flags, said) in cases {
        let output = build(&lrun, Path::new(&place), &flags.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(output.code != 0 && output.stderr.contains(said) | output.stdout.contains(said), "{said}: {output:?}");
        has_no_password(said, format!("{}{}", output.stdout, output.stderr).as_bytes());
    }
    for (add, said) in [
        (format!("http://${{T}}@{name}/none"), "status 404"),
        (format!("http://${{T}}@{name}/none.git"), "not found"),
        (format!("http://${{T}}@{name}/x.git?a=b"), "unexpected query"),
        (format!("http://${{T}}@-{name}/x.git"), "the host is not a name"),
        (format!("http://${{T}}@{name}:x/file"), "invalid URL"),
    ] {
        let output = build(&lrun, &by_argument(&add), &["--build-arg", &given]);
        assert!(output.code == 1 && output.stderr.contains(said), "{add}: {}", output.stderr);
        has_no_password(&add, output.stderr.as_bytes());
    }
    search(&lrun.store());
}

#[test]
fn secrets_are_for_servers() {
    let mut lrun = Lrun::with_busybox();
    let served = served(&lrun);
    let other = open_to_all(&served);
    let server = private(&served, &other, &[TOKEN, "Bearer tok3n"]);
    let log = recorded(&mut lrun);
    lrun.set_env("GIT_AUTH_TOKEN", PASSWORD);
    let of = |name: &str, content: &str| format!("id={name},src={}", text(&lrun.file(name, content)));
    let at = |path: &str| format!("http://{}/{path}", server.name());
    let add = context(&lrun, "add", &format!("FROM busybox\nADD {} /all\nRUN test -e /all/s/s\n", at("x.git")), &[]);
    let file = context(&lrun, "file", &format!("FROM busybox\nADD {} /all\n", at("odd")), &[]);
    let (own, host) = (format!("GIT_AUTH_TOKEN.{}", server.name()), "127.0.0.1");
    let wrong = of("GIT_AUTH_TOKEN", "none");
    for (place, secrets) in [
        (at("x.git"), vec!["id=GIT_AUTH_TOKEN".to_owned()]),
        (text(&add).to_owned(), vec![of(&own, &format!("{PASSWORD}\n")), wrong.clone()]),
        (at("x.git#main:dir"), vec![of("GIT_AUTH_HEADER", "Bearer tok3n"), wrong.clone()]),
        (at("moved/x.git"), vec!["id=GIT_AUTH_TOKEN".to_owned()]),
        (at("moved/x.git"), vec![of("GIT_AUTH_HEADER", "Bearer tok3n")]),
        (text(&file).to_owned(), vec![of(&format!("HTTP_AUTH_TOKEN_{host}"), "tok3n")]),
        (text(&file).to_owned(), vec![of(&format!("HTTP_AUTH_HEADER_{host}"), "Bearer tok3n")]),
    ] {
        let flags: Vec<&str> = secrets.iter().flat_map(|secret| ["--secret", secret]).collect();
        let output = build(&lrun, Path::new(&place), &[&["--no-cache"], &flags[..]].concat());
        assert_eq!(output.code, 0, "{place} {secrets:?}: {}", output.stderr);
        has_no_password("the output", format!("{}{}", output.stdout, output.stderr).as_bytes());
    }
    // None, another's, and none that a server could be told.
    for (place, secret, said) in [
        (&at("x.git"), "id=OTHER,env=GIT_AUTH_TOKEN", "git ls-remote failed"),
        (&at("x.git"), &format!("id=GIT_AUTH_TOKEN.{host},env=GIT_AUTH_TOKEN"), "git ls-remote failed"),
        (&at("x.git"), &wrong, "Authentication failed"),
        (&text(&file).to_owned(), "id=GIT_AUTH_TOKEN", "status 401"),
        (&at("x.git"), &of("GIT_AUTH_HEADER", "Bearer tok3n\nX: y"), "is not one line of text"),
    ] {
        let output = build(&lrun, Path::new(place), &["--no-cache", "--secret", secret]);
        assert!(output.code != 0 && output.stderr.contains(said), "{place} {secret}: {}", output.stderr);
        has_no_password("the output", output.stderr.as_bytes());
    }
    let asked = other.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.header("authorization").is_none()));
    has_no_password("git's arguments", &fs::read(&log).expect("git was started"));
    search(&lrun.store());
}

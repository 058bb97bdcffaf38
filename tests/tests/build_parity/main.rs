//! What `build` makes, compared with what `podman build` makes of the same input: files, owners, modes, config, history.
//!
//! The cases are in `tests/build`. A difference is listed with its case, and explained in `docs/parity.md`; any other fails.
//! With a single id podman runs no commands: there the cases are built by lrun alone, and count as skipped.

mod case;
mod podman;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use case::{Case, parse};
use lrun_tests::server::{Request, Response, Server};
use lrun_tests::{Lrun, Mode, long, mode, record_skip};
use podman::Podman;

const FLATTEN: &str = include_str!("flatten.py");
/// Lines that only podman's images have, in all cases, and the rows that explain them.
const EVERYWHERE: [(&str, &str); 8] = [
    ("builder-label", "Labels io.buildah.version \"1.28.2\""),
    ("mount-points", "/dev dir 755 0:0"),
    ("mount-points", "/proc dir 755 0:0"),
    ("mount-points", "/run dir 755 0:0"),
    ("mount-points", "/sys dir 755 0:0"),
    ("mount-points", "/etc/hostname file 755 0:0 \"\""),
    ("mount-points", "/etc/hosts file 755 0:0 \"\""),
    ("mount-points", "/etc/resolv.conf file 755 0:0 \"\""),
];
const TABLE: &str = include_str!("../../../docs/parity.md");

/// The row of [`as_ours`].
const HISTORY_MOUNTS: &str = "history-mounts";

/// A line of podman's image without the mounts of a RUN in its history, and without what its storage driver notes at
/// directories.
fn as_ours(line: &str) -> String {
    let left_out = if line.starts_with("history ") { "--mount=" } else { "user.overlay." };
    line.split(' ').filter(|word| !word.starts_with(left_out)).collect::<Vec<_>>().join(" ")
}

/// The lines of an image archive.
fn flatten(archive: &Path) -> Vec<String> {
    let output = Command::new("python3").args(["-c", FLATTEN]).arg(archive).output().expect("python3");
    assert!(output.status.success(), "{}: {}", archive.display(), said(&output));
    let _ = fs::remove_file(archive);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One way to build.
trait Builder {
    /// `build` with these words.
    fn build(&self, case: &Case, words: &[&str], folder: &Path) -> Output;
    /// Saves the image `case` to a file.
    fn save(&self, file: &str) -> Output;
}

impl Builder for Lrun {
    fn build(&self, case: &Case, words: &[&str], folder: &Path) -> Output {
        let flags = case.lrun_flags.iter().map(String::as_str);
        let words: Vec<&str> = ["build", "--network", "none"].into_iter().chain(flags).chain(words.to_vec()).collect();
        let mut command = self.command(&words);
        command.envs(case.env.clone()).current_dir(folder).output().expect("lrun")
    }

    fn save(&self, file: &str) -> Output {
        self.command(&["save", "-o", file, "case"]).output().expect("lrun")
    }
}

impl Builder for Podman {
    fn build(&self, case: &Case, words: &[&str], folder: &Path) -> Output {
        let flags = case.podman_flags.iter().map(String::as_str);
        let own = ["build", "--isolation", "chroot", "--format", "docker", "--layers=false", "--pull=never"];
        let words: Vec<&str> = own.into_iter().chain(flags).chain(words.to_vec()).collect();
        self.command(&words).envs(case.env.clone()).current_dir(folder).output().expect("podman")
    }

    fn save(&self, file: &str) -> Output {
        self.run(&["save", "-q", "-o", file, "case"])
    }
}

/// What a builder makes of a case: the lines of the image, or what it says.
fn made(builder: &dyn Builder, case: &Case, folder: &Path) -> Result<Vec<String>, String> {
    if case.base.is_some() {
        let words = ["-t", "base", "-f", "base.Dockerfile", "context"];
        let output = builder.build(&Case::default(), &words, folder);
        assert!(output.status.success(), "{}, base: {}", case.name, said(&output));
    }
    let flags: Vec<&str> = case.flags.iter().map(String::as_str).collect();
    let output = builder.build(case, &[&["-t", "case"], &flags[..], &[&case.context]].concat(), folder);
    if !output.status.success() {
        return Err(said(&output));
    }
    let file = folder.join("image.tar");
    let saved = builder.save(file.to_str().expect("UTF-8"));
    assert!(saved.status.success(), "{}: save: {}", case.name, said(&saved));
    Ok(flatten(&file))
}

/// Stands for [`serve`] in a Dockerfile.
const SERVER: &str = "SERVER";

/// The address of a server that has the files of a folder.
fn serve(folder: &Path) -> String {
    let folder = folder.to_owned();
    let file = move |request: &Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        fs::read(folder.join(path.trim_start_matches('/')))
    };
    Server::start("127.0.0.1", move |request| {
        file(request).map_or(Response::new(404, ""), |body| Response::new(200, body))
    })
    .name()
}

/// Makes the case's files.
fn lay_out(case: &Case, folder: &Path) {
    let context = folder.join("context");
    fs::create_dir_all(&context).expect("a folder");
    if let Some(text) = &case.dockerfile {
        let text = if text.contains(SERVER) { text.replace(SERVER, &serve(&context)) } else { text.clone() };
        fs::write(context.join("Dockerfile"), text).expect("a file");
    }
    if let Some(text) = &case.base {
        fs::write(folder.join("base.Dockerfile"), text).expect("a file");
    }
    let script = format!("set -e; umask 022\n{}", case.script);
    let output = Command::new("sh").args(["-c", &script]).current_dir(&context).output().expect("sh");
    assert!(output.status.success(), "{}: context.sh: {}", case.name, said(&output));
}

/// What only one of them has, sorted: `-` podman, `+` lrun.
fn differences(podman: &[String], lrun: &[String]) -> Vec<String> {
    let sets = (podman.iter().collect::<BTreeSet<_>>(), lrun.iter().collect::<BTreeSet<_>>());
    let only = |one: &BTreeSet<&String>, other: &BTreeSet<&String>, sign: &str| -> Vec<String> {
        one.difference(other).map(|line| format!("{sign} {line}")).collect()
    };
    let mut all = [only(&sets.0, &sets.1, "-"), only(&sets.1, &sets.0, "+")].concat();
    all.retain(|line| !EVERYWHERE.iter().any(|(_, known)| line.strip_prefix("- ") == Some(known)));
    all.sort();
    all
}

/// A line of what lrun is to say that the Dockerfile has, too: lrun repeats what it builds, whatever goes wrong.
fn told_by_the_dockerfile(case: &Case) -> Option<&String> {
    let mut wanted = case.fails.iter().flatten();
    wanted.find(|wanted| case.dockerfile.iter().flat_map(|text| text.lines()).any(|line| line.contains(*wanted)))
}

/// What is wrong with one case.
fn compare(case: &Case, lrun: &Lrun, podman: Option<&Podman>) -> Result<(), String> {
    if let Some(line) = told_by_the_dockerfile(case) {
        return Err(format!("{line:?} is in the Dockerfile: it tells nothing of the error"));
    }
    let folder = lrun.folder().join(&case.name);
    lay_out(case, &folder);
    let ours = made(lrun, case, &folder);
    match (&ours, &case.fails) {
        (Err(text), None) => return Err(format!("lrun fails: {text}")),
        (Ok(_), Some(_)) => return Err("lrun builds it".to_owned()),
        (Err(text), Some(wanted)) => {
            if let Some(line) = wanted.iter().find(|line| !text.contains(*line)) {
                return Err(format!("lrun does not say {line:?}: {text}"));
            }
        }
        (Ok(_), None) => {}
    }
    let Some(podman) = podman else { return Ok(()) };
    let theirs = made(podman, case, &folder).map(|lines| lines.iter().map(|line| as_ours(line)).collect::<Vec<_>>());
    if theirs.is_err() {
        podman.have_base_again();
    }
    match (theirs, ours) {
        (Err(_), Err(_)) if !case.podman_builds => Ok(()),
        (Ok(_), Err(_)) if case.podman_builds => Ok(()),
        (Err(_), Err(text)) => Err(format!("podman does not build it either; lrun: {text}")),
        (Ok(_), Err(text)) => Err(format!("podman builds it; lrun: {text}")),
        (Err(_), Ok(lines)) if case.alone => compare_lines(&plain(lrun, &folder), &lines, case),
        (Ok(_), Ok(_)) if case.alone => Err("podman builds it".to_owned()),
        (Err(text), Ok(_)) => Err(format!("podman fails: {text}")),
        (Ok(theirs), Ok(ours)) => compare_lines(&theirs, &ours, case),
    }
}

fn compare_lines(others: &[String], ours: &[String], case: &Case) -> Result<(), String> {
    let found = differences(others, ours);
    if found == case.differs { Ok(()) } else { Err(format!("differences:\n{}", found.join("\n"))) }
}

/// The image of a Dockerfile that only has `FROM busybox`.
fn plain(lrun: &Lrun, folder: &Path) -> Vec<String> {
    fs::write(folder.join("plain.Dockerfile"), "FROM busybox\n").expect("a file");
    let flags = ["-f", "plain.Dockerfile"].map(str::to_owned).to_vec();
    made(lrun, &Case { flags, context: "context".to_owned(), ..Case::default() }, folder).expect("it is built")
}

/// Builds all cases of a file.
#[track_caller]
fn compare_all(text: &str) {
    let lrun = Lrun::with_busybox();
    let podman = (mode() != Mode::Single).then(|| Podman::new(lrun.folder()));
    if podman.is_none() {
        record_skip("podman without subordinate ids runs no commands; lrun built the cases, nothing is compared");
    }
    // What podman makes does not depend on who it runs as: with subordinate ids each case is compared.
    let sample = mode() == Mode::Root && !long();
    if sample {
        record_skip("as root, podman builds each fourth case; lrun built them all (--long compares all)");
    }
    let only = std::env::var("LRUN_TEST_CASE").ok();
    let cases = parse(text);
    let chosen = cases.iter().filter(|case| only.as_ref().is_none_or(|name| case.name.contains(name.as_str())));
    let compare = |(at, case): (usize, &Case)| compare(case, &lrun, podman.as_ref().filter(|_| !sample || at % 4 == 0));
    let failed: BTreeMap<&str, String> =
        chosen.enumerate().filter_map(|(at, case)| Some((case.name.as_str(), compare((at, case)).err()?))).collect();
    let shown: Vec<String> = failed.iter().map(|(name, text)| format!("=== {name}\n{text}")).collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), shown.join("\n"));
}

macro_rules! groups {
    ($($name:ident),+) => {
        const GROUPS: &[&str] = &[$(include_str!(concat!("../../build/", stringify!($name), ".txt"))),+];
        $(
            #[test]
            fn $name() {
                compare_all(include_str!(concat!("../../build/", stringify!($name), ".txt")));
            }
        )+
    };
}

groups!(config, arguments, copy, add, ignore, language, stages, steps, mounts, errors);

#[test]
fn every_difference_is_explained_and_every_explanation_is_needed() {
    let everywhere = EVERYWHERE.iter().map(|(row, _)| (*row).to_owned()).chain([HISTORY_MOUNTS.to_owned()]);
    let used: BTreeSet<String> =
        GROUPS.iter().flat_map(|text| parse(text)).flat_map(|case| case.rows).chain(everywhere).collect();
    let rows: BTreeSet<String> = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(row, _)| row.to_owned()))
        .collect();
    assert_eq!(used, rows);
}

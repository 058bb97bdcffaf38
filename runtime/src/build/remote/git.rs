//! The host's `git`, and how it is kept from doing anything but fetching.
//!
//! It is started with an environment of our own: no configuration but that of the new repository, no hooks, no templates,
//! no questions, no protocols but `http`, `https`, `ssh` and `git`, also for submodules. Filters of `.gitattributes` need
//! configuration, so that none runs.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Remote;
use super::address::{Repository, without_user};
use crate::build::context::Context;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file;

/// What is set for every `git`.
const ENVIRONMENT: [(&str, &str); 12] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "true"),
    ("SSH_ASKPASS", "true"),
    ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
    ("GIT_ALLOW_PROTOCOL", "http:https:ssh:git"),
    ("GIT_LFS_SKIP_SMUDGE", "1"),
    ("HOME", "/dev/null"),
    ("LC_ALL", "C"),
];
/// What is said before every command of it.
const SETTINGS: [&str; 8] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "init.defaultBranch=main",
    "-c",
    "advice.detachedHead=false",
    "-c",
    "core.fsmonitor=false",
];
const COMPLAINT_MAX: usize = 600;

/// A commit, and the reference that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its whole hash.
    pub commit: String,
    /// The reference's whole name; `None`: the address has the hash.
    reference: Option<String>,
}

impl Remote {
    /// The commit that an address means. The repository is not asked where the address has its hash.
    pub fn resolve(&self, repository: &Repository) -> Result<Found> {
        let found = match repository.commit() {
            Some(commit) => Found { commit: commit.to_ascii_lowercase(), reference: None },
            None => self.look_up(repository)?,
        };
        match &repository.checksum {
            Some(checksum) if !found.commit.starts_with(&checksum.to_ascii_lowercase()) || checksum.len() < 7 => {
                let text = format!("expected checksum to match {checksum}, got {}", found.commit);
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            _ => Ok(found),
        }
    }

    fn look_up(&self, repository: &Repository) -> Result<Found> {
        let name = repository.reference.as_deref().unwrap_or("HEAD");
        let peeled = format!("{name}^{{}}");
        let list = self.git(&self.folder, &["ls-remote", "--", &repository.url, name, &peeled])?;
        let text = String::from_utf8_lossy(&list);
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
        chosen(&lines, name).ok_or_else(|| {
            let url = without_user(&repository.url).0;
            let error = Error::new(ErrorKind::NotFound, format!("repository {url} does not contain ref {name}"));
            match name.len() >= 4 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
                true => error.hint("a commit is named by its whole hash"),
                false => error,
            }
        })
    }

    /// The files of a commit, in a new directory.
    pub fn checkout(&self, repository: &Repository, found: &Found, keep_git_dir: bool) -> Result<Context> {
        let directory = self.directory()?;
        let attempt = || format!("fetch {}", without_user(&repository.url).0);
        self.fetch(&directory, repository, found).context(attempt)?;
        let git = |arguments: &[&str]| self.git(&directory, arguments).context(attempt);
        git(&["checkout", "--quiet", "--force", "--detach", &found.commit])?;
        if !repository.without_submodules && file::exists(&directory.join(".gitmodules"))? {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            // Not every server can send a part of the history.
            if self.git(&directory, &[&update[..], &["--depth=1"]].concat()).is_err() {
                git(&update)?;
            }
        }
        let own = directory.join(".git");
        match keep_git_dir {
            true => drop(git(&["config", "remote.origin.url", &without_user(&repository.url).0])?),
            false => file::remove_tree(&own)?,
        }
        let context = Context::open(&directory)?;
        match &repository.directory {
            Some(below) => context.below(below.as_bytes()),
            None => Ok(context),
        }
    }

    /// Brings the commit: alone, else with its history, else everything.
    fn fetch(&self, directory: &Path, repository: &Repository, found: &Found) -> Result<()> {
        self.git(directory, &["init", "--quiet", "--template="])?;
        self.git(directory, &["config", "remote.origin.url", &repository.url])?;
        let wanted = found.reference.as_deref().unwrap_or(&found.commit);
        let one = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        let all = ["--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        let there = || {
            let commit = format!("{}^{{commit}}", found.commit);
            self.git(directory, &["cat-file", "-e", &commit]).is_ok()
        };
        let mut last = Ok(Vec::new());
        for more in [&["--depth=1", "origin", wanted][..], &["origin", wanted], &all] {
            let base = if more == all { &one[..2] } else { &one[..] };
            last = self.git(directory, &[base, more].concat());
            if last.is_ok() && there() {
                return Ok(());
            }
        }
        last?;
        Err(Error::new(ErrorKind::NotFound, format!("the repository does not contain the commit {}", found.commit)))
    }

    /// Runs `git` in a directory; what it wrote.
    fn git(&self, directory: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
        let program = self.program()?;
        // New files are readable for all, whatever the caller's umask is.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec \"$0\" \"$@\""]).arg(program).args(SETTINGS).args(arguments);
        command.current_dir(directory).stdin(Stdio::null());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).envs(ENVIRONMENT);
        // Not a repository that the directory is in by chance.
        command.env("GIT_CEILING_DIRECTORIES", &self.folder);
        let verb = arguments.first().copied().unwrap_or_default();
        let output = command.output().context(|| format!("run git {verb}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let from = complaint.len().saturating_sub(COMPLAINT_MAX);
        let from = (from..=complaint.len()).find(|at| complaint.is_char_boundary(*at)).unwrap_or(0);
        let words: Vec<&str> = complaint.get(from..).unwrap_or_default().split_whitespace().collect();
        Err(Error::new(ErrorKind::Io, format!("git {verb} failed: {}", words.join(" "))))
    }

    fn program(&self) -> Result<PathBuf> {
        let path = self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_bytes());
        let runs = |path: &PathBuf| {
            std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let folders = path.unwrap_or_default().split(|b| *b == b':').filter(|folder| folder.starts_with(b"/"));
        let mut programs = folders.map(|folder| Path::new(std::ffi::OsStr::from_bytes(folder)).join("git"));
        programs.find(runs).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "repositories are fetched by git, which is not installed")
                .hint("install the package git, or give the files as a directory or an archive")
        })
    }
}

/// The best of what `ls-remote` lists for a name: a tag's commit before a branch, as git itself prefers.
fn chosen(lines: &[(&str, &str)], name: &str) -> Option<Found> {
    let wanted = [format!("refs/tags/{name}"), format!("refs/heads/{name}"), format!("refs/{name}"), name.to_owned()];
    // Names that say all come first.
    let wanted = wanted.iter().rev().take(2).chain(wanted.iter().take(2));
    for reference in wanted {
        let of = |listed: &str| lines.iter().find(|(_, name)| *name == listed).map(|(hash, _)| (*hash).to_owned());
        let commit = of(&format!("{reference}^{{}}")).or_else(|| of(reference));
        let is_hash = |hash: &String| hash.len() >= 40 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(commit) = commit.filter(is_hash) {
            return Some(Found { commit, reference: Some(reference.clone()) });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn a_name_is_a_tag_before_it_is_a_branch() {
        let lines = [
            (ONE, "refs/heads/v1"),
            (TWO, "refs/heads/deep/v1"),
            (TWO, "refs/tags/v1"),
            (ONE, "refs/tags/v1^{}"),
            (TWO, "HEAD"),
        ];
        let found = |name: &str, lines: &[(&str, &str)]| {
            chosen(lines, name).map(|found| (found.commit, found.reference.unwrap_or_default()))
        };
        let pair = |hash: &str, name: &str| Some((hash.to_owned(), name.to_owned()));
        assert_eq!(found("v1", &lines), pair(ONE, "refs/tags/v1"));
        assert_eq!(found("v1", &lines[..2]), pair(ONE, "refs/heads/v1"));
        assert_eq!(found("HEAD", &lines), pair(TWO, "HEAD"));
        assert_eq!(found("refs/heads/deep/v1", &lines), pair(TWO, "refs/heads/deep/v1"));
        assert_eq!(found("heads/v1", &lines), pair(ONE, "refs/heads/v1"));
        assert_eq!(found("v2", &lines), None);
        assert_eq!(found("v1", &[("no", "refs/tags/v1")]), None);
    }

    #[test]
    fn without_git_the_error_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let access = Box::new(|| Ok(crate::registry::http::Access::default()));
        let remote = Remote::new(folder.path().to_owned(), vec![("PATH".into(), folder.path().into())], access);
        let repository = Repository { url: "https://h.invalid/x.git".to_owned(), ..Repository::default() };
        let error = remote.repository(&repository).expect_err("there is no git");
        assert!(error.hint_text().expect("a hint").contains("install the package git"));
    }
}

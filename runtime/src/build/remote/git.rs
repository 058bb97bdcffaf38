//! The host's `git`, and how it is kept from doing anything but fetching.
//!
//! It is started with an environment of our own: no configuration but that of the new repository, no hooks, no templates,
//! no questions, no protocols but `http`, `https`, `ssh` and `git`, also for submodules. Filters of `.gitattributes` need
//! configuration, so that none runs.
//!
//! A password is in git's environment alone, and git asks for it by a helper that is bound to the origin of the address: it
//! is in no argument, no file of the repository and no URL, and no other server gets it, wherever the first one leads to.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Remote;
use super::address::Repository;
use super::auth::{Place, Proof};
use crate::build::context::Context;
use crate::build::hide::without_users;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file;
use crate::registry::credentials::Credentials;

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
/// Tells git who asks: the variables that follow, each of one line.
const HELPER: &str = concat!(
    r#"!f() { if [ "$1" = get ]; then "#,
    r#"printf 'username=%s\npassword=%s\n' "$LRUN_GIT_USERNAME" "$LRUN_GIT_PASSWORD"; fi; }; f"#
);
const USERNAME: &str = "LRUN_GIT_USERNAME";
const PASSWORD: &str = "LRUN_GIT_PASSWORD";
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
            None => self.or_moved(repository, |place| self.look_up(repository, place))?,
        };
        match &repository.checksum {
            Some(checksum) if !found.commit.starts_with(&checksum.to_ascii_lowercase()) || checksum.len() < 7 => {
                let text = format!("expected checksum to match {checksum}, got {}", found.commit);
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            _ => Ok(found),
        }
    }

    fn look_up(&self, repository: &Repository, place: &Place) -> Result<Found> {
        let name = repository.reference.as_deref().unwrap_or("HEAD");
        let peeled = format!("{name}^{{}}");
        let list = self.git((place, &self.folder), &["ls-remote", "--", &place.url, name, &peeled])?;
        let text = String::from_utf8_lossy(&list);
        let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
        chosen(&lines, name).ok_or_else(|| {
            let text = format!("repository {} does not contain ref {name}", repository.url);
            let error = Error::new(ErrorKind::NotFound, text);
            match name.len() >= 4 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
                true => error.hint("a commit is named by its whole hash"),
                false => error,
            }
        })
    }

    /// The files of a commit, in a new directory.
    pub fn checkout(&self, repository: &Repository, found: &Found, keep_git_dir: bool) -> Result<Context> {
        let directory = self.directory()?;
        let attempt = || format!("fetch {}", repository.url);
        let place = self.or_moved(repository, |place| self.fetch(&directory, place, found)).context(attempt)?;
        let git = |arguments: &[&str]| self.git((&place, &directory), arguments).context(attempt);
        git(&["checkout", "--quiet", "--force", "--detach", &found.commit])?;
        if !repository.without_submodules && file::exists(&directory.join(".gitmodules"))? {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
            // Not every server can send a part of the history.
            if git(&[&update[..], &["--depth=1"]].concat()).is_err() {
                git(&update)?;
            }
        }
        if !keep_git_dir {
            file::remove_tree(&directory.join(".git"))?;
        }
        let context = Context::open(&directory)?;
        match &repository.directory {
            Some(below) => context.below(below.as_bytes()),
            None => Ok(context),
        }
    }

    /// Brings the commit: alone, else with its history, else everything. From where.
    fn fetch(&self, directory: &Path, place: &Place, found: &Found) -> Result<Place> {
        let git = |arguments: &[&str]| self.git((place, directory), arguments);
        // The hash tells which kind the repository's are; without the option, old versions of git know one kind.
        let format: &[&str] = if found.commit.len() == 64 { &["--object-format=sha256"] } else { &[] };
        git(&[&["init", "--quiet", "--template="], format].concat())?;
        git(&["config", "remote.origin.url", &place.url])?;
        let wanted = found.reference.as_deref().unwrap_or(&found.commit);
        let one = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"];
        let all = ["--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        let there = || {
            let commit = format!("{}^{{commit}}", found.commit);
            git(&["cat-file", "-e", &commit]).is_ok()
        };
        let mut last = Ok(Vec::new());
        for more in [&["--depth=1", "origin", wanted][..], &["origin", wanted], &all] {
            let base = if more == all { &one[..2] } else { &one[..] };
            last = git(&[base, more].concat());
            if last.is_ok() && there() {
                return Ok(place.clone());
            }
        }
        last?;
        Err(Error::new(ErrorKind::NotFound, format!("the repository does not contain the commit {}", found.commit)))
    }

    /// Runs `git` for a repository in a directory; what it wrote.
    fn git(&self, (place, directory): (&Place, &Path), arguments: &[&str]) -> Result<Vec<u8>> {
        let program = self.program()?;
        // New files are readable for all, whatever the caller's umask is.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec \"$0\" \"$@\""]).arg(program).args(SETTINGS);
        command.current_dir(directory).stdin(Stdio::null());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).envs(ENVIRONMENT);
        // Not a repository that the directory is in by chance.
        command.env("GIT_CEILING_DIRECTORIES", &self.folder);
        match &place.proof {
            None => {}
            Some(Proof::User(origin, Credentials { username, password })) => {
                command.arg("-c").arg(format!("credential.{origin}.helper={HELPER}"));
                command.env(USERNAME, username).env(PASSWORD, password);
            }
            Some(Proof::Header(origin, header)) => {
                // git would send it wherever the server leads to.
                command.args(["-c", "http.followRedirects=false"]).env("GIT_CONFIG_COUNT", "1");
                command.env("GIT_CONFIG_KEY_0", format!("http.{origin}/.extraHeader"));
                command.env("GIT_CONFIG_VALUE_0", format!("Authorization: {header}"));
            }
        }
        command.args(arguments);
        let verb = arguments.first().copied().unwrap_or_default();
        let output = command.output().context(|| format!("run git {verb}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::new(ErrorKind::Io, format!("git {verb} failed: {}", shortened(&output.stderr))))
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

/// The end of what git says, on one line, its URLs without users and passwords: those of submodules are the repository's.
fn shortened(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut text = without_users(&words.join(" "));
    let from = text.len().saturating_sub(COMPLAINT_MAX);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.drain(..from);
    text
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
    use crate::build::given::Secrets;

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
    fn what_git_says_is_short_and_has_no_password() {
        let said = format!("{}\nfatal: clone of\t'https://u:tok3n@h/x.git/': no", "é".repeat(COMPLAINT_MAX));
        let short = shortened(said.as_bytes());
        assert!(short.len() <= COMPLAINT_MAX && short.ends_with("é fatal: clone of 'https://h/x.git/': no"), "{short}");
        let cut = format!("https://u:tok3n@h/{}", "x".repeat(COMPLAINT_MAX - 8));
        assert!(!shortened(cut.as_bytes()).contains("n@h"));
    }

    #[test]
    fn without_git_the_error_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let access = Box::new(|| Ok(crate::registry::http::Access::default()));
        let remote =
            Remote::new(folder.path().to_owned(), vec![("PATH".into(), folder.path().into())], Secrets::new(), access);
        let repository = Repository { url: "https://h.invalid/x.git".to_owned(), ..Repository::default() };
        let error = remote.repository(&repository).expect_err("there is no git");
        assert!(error.hint_text().expect("a hint").contains("install the package git"));
    }
}

//! Addresses of files: which texts are addresses, and of what. Pure.
//!
//! docker's rules: `http` and `https` lead to a file, unless the path ends with `.git`; `git`, `ssh` and `user@host:path`
//! lead to repositories. What follows `#` is `ref:directory`, and a query may say the same by name.
//!
//! User and password are taken out of the URL of a repository, so that nothing that is written, shown or started has them.

use crate::build::hide::has_host;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::credentials::Credentials;
use crate::registry::url::{Origin, Scheme};

/// What an address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A file, by its URL.
    File(String),
    /// A git repository.
    Repository(Repository),
}

/// Who somebody is, and to whom alone that is said.
pub type User = (Origin, Credentials);

/// A git repository, and what of it is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// Where it is, as git takes it: without a password, and with a user for SSH only.
    pub url: String,
    /// Who asks for it.
    pub user: Option<User>,
    /// A branch, a tag, a reference by its whole name, or a commit; absent: what `HEAD` points to.
    pub reference: Option<String>,
    /// A directory in it, instead of all.
    pub directory: Option<String>,
    /// What the commit's hash begins with.
    pub checksum: Option<String>,
    /// Whether `.git` is among the files.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are left out.
    pub without_submodules: bool,
}

const REPOSITORIES: [&str; 2] = ["git://", "ssh://"];
const SERVERS: [&str; 2] = ["http://", "https://"];
/// A hosting service whose repositories may be named without a scheme, as the context of a build.
const HOST: &str = "github.com/";

impl Address {
    /// What a source of ADD is; `None`: a path.
    pub fn of(text: &str) -> Result<Option<Self>> {
        let (before, _) = text.split_once('#').unwrap_or((text, ""));
        let has = |schemes: &[&str]| schemes.iter().any(|scheme| begins_with(text, scheme));
        let path = before.split_once('?').map_or(before, |(path, _)| path);
        if has(&REPOSITORIES) || has(&SERVERS) {
            refuse_ambiguous(text)?;
        }
        if has(&REPOSITORIES) || is_scp(before) || has(&SERVERS) && path.ends_with(".git") {
            return Repository::parse(text).map(|repository| Some(Self::Repository(repository)));
        }
        Ok(has(&SERVERS).then(|| Self::File(text.to_owned())))
    }

    /// The same of a build's context.
    pub fn of_context(text: &str) -> Result<Option<Self>> {
        match begins_with(text, HOST) {
            true => Self::of(&format!("https://{}", with_suffix(text))),
            false => Self::of(text),
        }
    }
}

/// `github.com/a/b#ref` is `github.com/a/b.git#ref`.
fn with_suffix(text: &str) -> String {
    let (before, fragment) = text.split_once('#').map_or((text, None), |(before, rest)| (before, Some(rest)));
    let before = before.trim_end_matches('/');
    let before = if before.ends_with(".git") { before.to_owned() } else { format!("{before}.git") };
    fragment.map_or(before.clone(), |fragment| format!("{before}#{fragment}"))
}

fn begins_with(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
}

/// `user@host:path`
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    word(user, b"-_") && word(host, b"-.") && !path.is_empty() && !path.starts_with("//")
}

impl Repository {
    fn parse(text: &str) -> Result<Self> {
        let shown = without_user(text).0;
        let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("invalid git address {shown:?}: {why}"));
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(invalid("it has spaces or control characters"));
        }
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (url, query) = match before.split_once('?') {
            Some((url, query)) if !is_scp(before) => (url, query),
            _ => (before, ""),
        };
        // What begins with a hyphen is an option to the programs that git starts.
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        if host.is_empty() || host.split('@').any(|part| part.starts_with('-')) {
            return Err(invalid("the host is not a name or an address"));
        }
        let (url, user) = apart(url).map_err(&invalid)?;
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let (reference, directory) = (part(reference), part(directory));
        let mut repository = Self { url, user, reference, directory, ..Self::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            repository.set(pair).map_err(|why| invalid(&why))?;
        }
        if repository.reference.as_deref().is_some_and(|name| !is_reference(name)) {
            return Err(invalid("the reference is none"));
        }
        Ok(repository)
    }

    fn set(&mut self, pair: &str) -> std::result::Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let value = decoded(value);
        let flag = || match value.as_str() {
            "1" | "true" | "" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(format!("{name} is true or false, not {value:?}")),
        };
        let slot = match name {
            "ref" | "branch" | "tag" => &mut self.reference,
            "subdir" => &mut self.directory,
            "commit" | "checksum" => &mut self.checksum,
            "keep-git-dir" => {
                self.keep_git_dir = Some(flag()?);
                return Ok(());
            }
            "submodules" => {
                self.without_submodules = !flag()?;
                return Ok(());
            }
            _ => return Err(format!("unexpected query {name:?}")),
        };
        let value = match name {
            "branch" => whole("refs/heads/", value),
            "tag" => whole("refs/tags/", value),
            _ => value,
        };
        match slot {
            Some(other) if *other != value => return Err(format!("{name} conflicts: {other:?} and {value:?}")),
            _ => *slot = Some(value),
        }
        Ok(())
    }

    /// The commit, where the address has its whole hash.
    pub fn commit(&self) -> Option<&str> {
        let is_hash = |text: &&str| matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
        self.reference.as_deref().filter(is_hash)
    }
}

/// The whole name of a branch or a tag, which may be given as such.
fn whole(kind: &str, name: String) -> String {
    if name.starts_with(kind) { name } else { format!("{kind}{name}") }
}

/// git's rules, as far as they keep a name from being anything else.
fn is_reference(name: &str) -> bool {
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    !name.is_empty() && !name.starts_with(['-', '/']) && !name.contains("..") && !name.contains(odd)
}

/// The name that a file has by its URL: the last component of the path.
pub fn file_name(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = rest.split_once('/')?;
    let name = decoded(path.trim_end_matches('/').rsplit('/').next()?);
    let fine = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    fine.then_some(name)
}

/// Text with `%2F` and the like replaced, where they are UTF-8.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Scheme, host with what is before and after it, and the rest.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Some((scheme, authority, path))
}

/// A URL without user and password, and those, if it has any.
pub fn without_user(url: &str) -> (String, Option<(String, String)>) {
    let Some((scheme, authority, path)) = split(url) else { return (url.to_owned(), None) };
    let Some((user, host)) = authority.rsplit_once('@') else { return (url.to_owned(), None) };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    (format!("{scheme}://{host}{path}"), Some((decoded(user), decoded(password))))
}

/// A `/` in a password makes the name of a host of what is before it: such an address is not shown as it is, and not used.
fn refuse_ambiguous(text: &str) -> Result<()> {
    let Some((scheme, authority, path)) = split(text) else { return Ok(()) };
    match path.rsplit_once('@') {
        Some((_, rest)) if !has_host(authority) && !authority.contains('@') => {
            let text = format!("invalid address \"{scheme}://…@{rest}\": the port is no number");
            Err(Error::new(ErrorKind::Invalid, text)
                .hint("a / in a user or a password is written %2F, ? %3F and # %23"))
        }
        _ => Ok(()),
    }
}

/// The URL that git gets, and whom it says to be to whom.
fn apart(url: &str) -> std::result::Result<(String, Option<User>), &'static str> {
    let (plain, user) = without_user(url);
    let Some(((username, password), (scheme, authority, path))) = user.zip(split(url)) else {
        return Ok((plain, None));
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let known = match scheme.to_ascii_lowercase().as_str() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        // The user is a part of where it leads to, and no secret; a password is for nobody.
        "ssh" => {
            let user = authority.split([':', '@']).next().unwrap_or_default();
            return Ok((if user.is_empty() { plain } else { format!("{scheme}://{user}@{host}{path}") }, None));
        }
        _ => return Ok((plain, None)),
    };
    if username.chars().chain(password.chars()).any(char::is_control) {
        return Err("the user or the password has control characters");
    }
    let origin = Origin::new(known, host).map_err(|_| "the host is not a name or an address")?;
    Ok((format!("{origin}{path}"), Some((origin, Credentials { username, password }))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn repository(text: &str) -> Repository {
        match Address::of_context(text) {
            Ok(Some(Address::Repository(repository))) => repository,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn repositories_are_told_from_files_and_paths() {
        for text in [
            "https://h/x.git",
            "http://h:80/a/x.git#ref:dir",
            "git://h/x",
            "ssh://git@h/x",
            "git@h:a/x",
            "me@h.org:x.git",
            "github.com/a/b",
            "https://h/x.git?ref=main",
        ] {
            repository(text);
        }
        for text in ["https://h/x.git/", "https://h/x.git.bar", "http://h/x.tar.gz", "HTTPS://h/x#.git", "http://h"] {
            assert_eq!(Address::of(text).expect(text), Some(Address::File(text.to_owned())));
        }
        for text in ["a", "./a@b:c", "a@b", "/x.git", "x.git", "a:b", "github.com/a/b", "ftp://h/x", ""] {
            assert_eq!(Address::of(text).expect(text), None, "{text}");
        }
        for text in [
            "git://-oProxyCommand=x/y",
            "ssh://a@-x/y",
            "https://h/x.git#-x",
            "https://h/x.git#a..b",
            "https://h/x y.git",
            "https://h/x.git?what=1",
            "https://h/x.git?keep-git-dir=maybe",
            "https://h/x.git?ref=a#b",
            "https://h/x.git?tag=v1#v1",
            "https://h/x.git?tag=v1&branch=v1",
            "git:///x",
        ] {
            assert!(Address::of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_of_a_repository_is_meant() {
        let found = repository("https://h/x.git#main:a/b");
        assert_eq!((found.url.as_str(), found.reference.as_deref()), ("https://h/x.git", Some("main")));
        assert_eq!(found.directory.as_deref(), Some("a/b"));
        assert_eq!(repository("https://h/x.git#:a").directory.as_deref(), Some("a"));
        assert_eq!(repository("github.com/a/b#v1").url, "https://github.com/a/b.git");
        assert_eq!(repository("github.com/a/b#v1").reference.as_deref(), Some("v1"));
        let found = repository("https://h/x.git?branch=a%2Fb&subdir=d&keep-git-dir=1&submodules=0&checksum=abc");
        assert_eq!(found.reference.as_deref(), Some("refs/heads/a/b"));
        assert_eq!((found.keep_git_dir, found.without_submodules), (Some(true), true));
        assert_eq!((found.directory.as_deref(), found.checksum.as_deref()), (Some("d"), Some("abc")));
        let found = repository("https://h/x.git?tag=v1&ref=refs/tags/v1#refs/tags/v1");
        assert_eq!(found.reference.as_deref(), Some("refs/tags/v1"));
        assert_eq!(repository("https://h/x.git?branch=refs/heads/a").reference.as_deref(), Some("refs/heads/a"));
        let hash = "0123456789012345678901234567890123456789";
        assert_eq!(repository(&format!("git@h:x#{hash}")).commit(), Some(hash));
        assert_eq!(repository("git@h:x#0123").commit(), None);
    }

    #[test]
    fn files_are_called_as_their_urls_end() {
        for (url, name) in [
            ("http://h/a/b.tar.gz", Some("b.tar.gz")),
            ("http://h/a%20b?x=/y#/z", Some("a b")),
            ("http://h/a/", Some("a")),
            ("http://h/", None),
            ("http://h", None),
            ("http://h/a%2Fb", None),
            ("http://h/..", None),
        ] {
            assert_eq!(file_name(url).as_deref(), name, "{url}");
        }
        let (url, user) = without_user("https://me:p%40ss@h/x@y");
        assert_eq!((url.as_str(), user), ("https://h/x@y", Some(("me".to_owned(), "p@ss".to_owned()))));
        assert_eq!(without_user("https://h/x@y"), ("https://h/x@y".to_owned(), None));
    }

    #[test]
    fn a_repository_is_named_without_a_password() {
        let hash = "#main:d";
        for (text, url, user) in [
            ("https://me:p%40ss@H:443/x.git", "https://h/x.git", Some(("https://h", "me", "p@ss"))),
            ("http://tok3n@[::1]:80/x.git", "http://[::1]/x.git", Some(("http://[::1]", "tok3n", ""))),
            ("https://@h/x.git", "https://h/x.git", Some(("https://h", "", ""))),
            ("https://h/x@y.git", "https://h/x@y.git", None),
            ("ssh://me:tok3n@h:22/x", "ssh://me@h:22/x", None),
            ("ssh://me@h/x", "ssh://me@h/x", None),
            ("git://me:tok3n@h/x", "git://h/x", None),
            ("git@h:x", "git@h:x", None),
        ] {
            let found = repository(&format!("{text}{hash}"));
            let told = found.user.as_ref().map(|(origin, user)| (origin.to_string(), user));
            let told = told.as_ref().map(|(origin, user)| (origin.as_str(), &*user.username, &*user.password));
            assert_eq!((found.url.as_str(), told), (url, user), "{text}");
            assert!(!format!("{found:?}").contains("p@ss"));
        }
    }

    #[test]
    fn no_error_has_a_password() {
        for text in [
            "https://me:tok3n@h/x.git#-x",
            "https://me:tok3n@h/x y.git",
            "https://me:tok3n@h/x.git?what=1",
            "https://me:tok3n@/x.git",
            "https://me:tok3n@h:1:2/x.git",
            "https://me:tok3n%0a@h/x.git",
            "https://me:tok3n/x@h/x.git",
            "https://me:tok3n?x@h/x.git",
            "https://me:tok3n#x@h/file",
            "http://me:tok3n/x@h/file",
            "ssh://me:tok3n/x@h/y",
        ] {
            let error = Address::of(text).expect_err(text);
            let said = format!("{error} {error:?} {:?}", error.hint_text());
            assert!(!said.contains("tok3n") && said.contains("h/") | said.contains("x.git"), "{text}: {said}");
        }
        for text in ["https://[::1]/a@b", "https://h:80/a@b", "https://h/a:b@c", "https://h:80?a@b"] {
            assert!(Address::of(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(https?://|git@|git://)?[ -~é]{0,40}(\\.git)?[#?]?[ -~]{0,20}") {
            if let Ok(Some(Address::Repository(found))) = Address::of_context(&text) {
                prop_assert!(found.reference.is_none_or(|name| !name.starts_with('-')));
                prop_assert!(!found.url.starts_with('-'));
                let at = split(&found.url).is_some_and(|(_, authority, _)| authority.contains('@'));
                prop_assert!(!at || found.url.starts_with("ssh://"));
            }
            let _ = (file_name(&text), without_user(&text));
        }
    }
}

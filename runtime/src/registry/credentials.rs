//! docker's `config.json` and podman's `auth.json`: who a registry's user is.
//!
//! Foreign files: what is not understood in them is kept when they are written.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::helper::{Helpers, is_helper_name};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::file::{self, Durability};
use crate::reference::DEFAULT_REGISTRY;

const FILE_MAX: usize = 4 << 20;
/// docker's name for its own registry in these files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// The user name that goes with a token instead of a password.
pub const TOKEN_USER: &str = "<token>";

/// A user of a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Password, or the token of a user named [`TOKEN_USER`], which only a token server takes.
    pub password: String,
}

/// Never shows the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.username)
    }
}

impl Credentials {
    /// For `Authorization: Basic`; RFC 7617.
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }

    /// The token that a token server gave instead of a password.
    pub fn identity_token(&self) -> Option<&str> {
        (self.username == TOKEN_USER).then_some(self.password.as_str())
    }
}

/// One such file.
#[derive(Debug)]
pub struct AuthFile {
    path: PathBuf,
    root: Map<String, Value>,
}

/// How these files name a registry.
fn key(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { DOCKER_HUB } else { registry }
}

/// `https://host/v1/` and `host` are one registry; so are docker's several names.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        host => host,
    }
}

/// Whether an entry is for the whole registry; podman has some for namespaces: `host/namespace`.
fn is_entry_of(name: &str, registry: &str) -> bool {
    host_of(name) == host_of(registry) && (name.contains("://") || !name.contains('/'))
}

impl AuthFile {
    /// Reads the file; one that is not there is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let attempt = || format!("read {}", path.display());
        // People link it to a file kept elsewhere.
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let root = match file::read_small(&target, FILE_MAX) {
            Err(error) if error.kind() == ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(error),
            Ok(bytes) => Self::parse(&bytes).context(attempt)?,
        };
        Ok(Self { path: target, root })
    }

    fn parse(bytes: &[u8]) -> Result<Map<String, Value>> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        serde_json::from_slice(bytes)
            .map_err(|error| Error::new(ErrorKind::Invalid, format!("no JSON object: {error}")))
    }

    /// The helper program that keeps a registry's credentials, if one does.
    pub fn helper(&self, registry: &str) -> Result<Option<String>> {
        let own = self.root.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(name, _)| host_of(name) == host_of(registry)).map(|(_, helper)| helper)
        });
        let Some(name) = own.or_else(|| self.root.get("credsStore")).and_then(Value::as_str) else { return Ok(None) };
        if name.is_empty() {
            return Ok(None);
        }
        if !is_helper_name(name) {
            let message = format!("{}: {name:?} is no name of a credential helper", self.path.display());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Some(name.to_owned()))
    }

    /// The credentials for a repository, from a helper program or from the file itself.
    pub fn get(&self, registry: &str, repository: &str, helpers: &Helpers) -> Result<Option<Credentials>> {
        if let Some(helper) = self.helper(registry)?
            && let Some(found) = helpers.get(&helper, key(registry))?
        {
            return Ok(Some(found));
        }
        self.stored(registry, repository)
    }

    /// The most specific entry: podman's files know repositories and namespaces, docker's know hosts.
    fn stored(&self, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let Some(auths) = self.root.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let whole = format!("{registry}/{repository}");
        let mut namespace = Some(whole.as_str());
        while let Some(name) = namespace.filter(|name| name.contains('/')) {
            if let Some(entry) = auths.get(name) {
                return self.decode(name, entry);
            }
            namespace = name.rsplit_once('/').map(|(parent, _)| parent);
        }
        let entry =
            auths.get_key_value(key(registry)).or_else(|| auths.iter().find(|(name, _)| is_entry_of(name, registry)));
        entry.map_or(Ok(None), |(name, entry)| self.decode(name, entry))
    }

    fn decode(&self, name: &str, entry: &Value) -> Result<Option<Credentials>> {
        let wrong = || {
            let message = format!("{}: the entry for {name} cannot be read", self.path.display());
            Error::new(ErrorKind::Invalid, message).hint(format!("log in again: lrun login {}", host_of(name)))
        };
        let text = |field: &str| entry.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials { username: TOKEN_USER.to_owned(), password: token.to_owned() }));
        }
        if let Some(auth) = text("auth") {
            let bytes = STANDARD.decode(auth.trim()).map_err(|_| wrong())?;
            let pair = String::from_utf8(bytes).map_err(|_| wrong())?;
            let (username, password) = pair.split_once(':').ok_or_else(wrong)?;
            // docker pads some with NUL.
            let password = password.trim_end_matches('\0');
            return Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }));
        }
        match (text("username"), text("password")) {
            (Some(username), Some(password)) => {
                Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }))
            }
            _ => Ok(None),
        }
    }

    /// Keeps credentials: in the helper where one is configured, else in the file. `true`: in the file, where they can
    /// be read.
    pub fn store(&mut self, registry: &str, credentials: &Credentials, helpers: &Helpers) -> Result<bool> {
        let helper = self.helper(registry)?;
        let entry = match &helper {
            Some(helper) => {
                helpers.store(helper, key(registry), credentials)?;
                json!({})
            }
            None if credentials.identity_token().is_some() => json!({"identitytoken": credentials.password}),
            None => {
                let pair = format!("{}:{}", credentials.username, credentials.password);
                json!({"auth": STANDARD.encode(pair)})
            }
        };
        let auths = self.root.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else {
            return Err(Error::new(ErrorKind::Invalid, format!("{}: \"auths\" is no object", self.path.display())));
        };
        // podman keeps entries for namespaces, which are not this one.
        auths.retain(|name, _| !is_entry_of(name, registry));
        auths.insert(key(registry).to_owned(), entry);
        self.write()?;
        Ok(helper.is_none())
    }

    /// Forgets a registry's credentials. `false` if there were none.
    pub fn erase(&mut self, registry: &str, helpers: &Helpers) -> Result<bool> {
        let mut found = false;
        if let Some(helper) = self.helper(registry)?
            && helpers.get(&helper, key(registry))?.is_some()
        {
            helpers.erase(&helper, key(registry))?;
            found = true;
        }
        if let Some(auths) = self.root.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|name, _| !is_entry_of(name, registry));
            if auths.len() != before {
                found = true;
                self.write()?;
            }
        }
        Ok(found)
    }

    fn write(&self) -> Result<()> {
        let attempt = || format!("write {}", self.path.display());
        if let Some(parent) = self.path.parent()
            && !file::exists(parent)?
        {
            file::make_dir(parent).context(attempt)?;
        }
        let mut bytes = serde_json::to_vec_pretty(&self.root)
            .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()).context(attempt()))?;
        bytes.push(b'\n');
        file::write_atomic(&self.path, &bytes, Durability::Flushed).context(attempt)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> AuthFile {
        AuthFile { path: PathBuf::from("config.json"), root: AuthFile::parse(text.as_bytes()).unwrap() }
    }

    fn user(file: &AuthFile, registry: &str, repository: &str) -> Option<String> {
        file.stored(registry, repository).unwrap().map(|found| format!("{}:{}", found.username, found.password))
    }

    #[test]
    fn entries_are_found_as_docker_and_podman_write_them() {
        let file = file(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnB3OndpdGg6Y29sb25z"},
                "reg:5000": {"auth": "YTpi"},
                "https://old.io/v2/": {"username": "c", "password": "d"},
                "quay.io/team": {"auth": "dGVhbTpw"},
                "quay.io/team/app": {"auth": "YXBwOnA="},
                "quay.io": {"identitytoken": "tok"},
                "empty.io": {}
            }}"#,
        );
        for (registry, repository, found) in [
            ("docker.io", "library/x", Some("hub:pw:with:colons")),
            ("reg:5000", "x", Some("a:b")),
            ("old.io", "x", Some("c:d")),
            ("quay.io", "team/app", Some("app:p")),
            ("quay.io", "team/other", Some("team:p")),
            ("quay.io", "else/x", Some("<token>:tok")),
            ("empty.io", "x", None),
            ("reg", "x", None),
            ("evil-reg:5000", "x", None),
        ] {
            assert_eq!(user(&file, registry, repository).as_deref(), found, "{registry}/{repository}");
        }
    }

    #[test]
    fn damaged_entries_are_named_without_their_content() {
        for auth in ["%%%", "bm9jb2xvbg=="] {
            let file = file(&format!(r#"{{"auths": {{"r.io": {{"auth": "{auth}"}}}}}}"#));
            let error = file.stored("r.io", "x").unwrap_err();
            assert_eq!(error.to_string(), "config.json: the entry for r.io cannot be read");
        }
        assert!(AuthFile::parse(b"[]").is_err() && AuthFile::parse(b" \n").unwrap().is_empty());
    }

    #[test]
    fn helpers_have_plain_names() {
        let file = file(r#"{"credsStore": "pass", "credHelpers": {"r.io": "../../bin/sh", "https://s.io": "gcr"}}"#);
        assert_eq!(file.helper("other.io").unwrap().as_deref(), Some("pass"));
        assert_eq!(file.helper("s.io").unwrap().as_deref(), Some("gcr"));
        assert!(file.helper("r.io").unwrap_err().to_string().contains("no name of a credential helper"));
    }

    #[test]
    fn what_is_stored_is_found_and_erased_and_the_rest_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        let helpers = Helpers::default();
        let given = Credentials { username: "ada".to_owned(), password: "p:w".to_owned() };
        let mut file = AuthFile::read(&path).unwrap();
        file.root.insert("HttpHeaders".to_owned(), json!({"X": "y"}));
        assert!(file.store("docker.io", &given, &helpers).unwrap());
        assert!(file.store("r.io", &given, &helpers).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        let mut file = AuthFile::read(&path).unwrap();
        assert_eq!(file.stored("docker.io", "library/x").unwrap().unwrap(), given);
        assert!(file.erase("docker.io", &helpers).unwrap() && !file.erase("docker.io", &helpers).unwrap());
        let file = AuthFile::read(&path).unwrap();
        assert_eq!(user(&file, "docker.io", "library/x"), None);
        assert_eq!(user(&file, "r.io", "x").as_deref(), Some("ada:p:w"));
        assert_eq!(file.root["HttpHeaders"], json!({"X": "y"}));
        assert!(!format!("{given:?}").contains("p:w"));
    }

    proptest! {
        #[test]
        fn any_file_is_refused_or_read(text in "\\PC{0,60}", auth in "[A-Za-z0-9+/=]{0,40}") {
            let _ = AuthFile::parse(text.as_bytes());
            let file = file(&json!({"auths": {"r.io": {"auth": auth}}}).to_string());
            let _ = file.stored("r.io", "x");
        }
    }
}

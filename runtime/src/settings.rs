//! `config.toml`: what a user sets once for all commands.
//!
//! ```toml
//! [registries]
//! unqualified-search = "docker.io"        # where names without a registry are
//! insecure = ["localhost:5000"]           # registries that are spoken to over plain HTTP
//! certs = ["/etc/docker/certs.d"]         # directories with one directory of certificates for each host[:port]
//!
//! [registries.mirrors]
//! "docker.io" = ["mirror.example:5000"]   # asked first when something is pulled from this registry
//!
//! [trash]                                 # what `lrun undelete` can bring back
//! count = 20                              # containers; 0: none
//! size-mib = 1024                         # all of them together
//! age-hours = 72                          # since the removal
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// `[registries]`.
    pub registries: Registries,
    /// `[trash]`.
    pub trash: Trash,
}

/// How much of what was removed is kept for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Trash {
    /// Containers.
    pub count: usize,
    /// MiB on disk, of all of them together.
    pub size_mib: u32,
    /// Hours since the removal.
    pub age_hours: u32,
}

impl Default for Trash {
    fn default() -> Self {
        Self { count: 20, size_mib: 1024, age_hours: 72 }
    }
}

/// How registries are found and spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Registries {
    /// Where names without a registry are.
    pub unqualified_search: String,
    /// Spoken to over plain HTTP.
    pub insecure: Vec<String>,
    /// Directories of certificates, instead of the usual ones.
    pub certs: Option<Vec<PathBuf>>,
    /// For each registry those that are asked first.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            unqualified_search: DEFAULT_REGISTRY.to_owned(),
            insecure: Vec::new(),
            certs: None,
            mirrors: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the file's text. Unknown keys and values that mean nothing are errors with their line.
    pub fn parse(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let at = line.map_or_else(String::new, |line| format!("line {line}: "));
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            Error::new(ErrorKind::Invalid, format!("{at}{message}"))
        })?;
        settings.registries.check(text)?;
        Ok(settings)
    }
}

impl Registries {
    fn check(&self, text: &str) -> Result<()> {
        let mirrors = self.mirrors.iter().flat_map(|(registry, mirrors)| mirrors.iter().chain([registry]));
        for name in mirrors.chain(&self.insecure).chain([&self.unqualified_search]) {
            if !is_registry(name) {
                let line = text.lines().position(|line| line.contains(&format!("\"{name}\""))).map_or(1, |at| at + 1);
                let message =
                    format!("line {line}: \"{name}\" is no registry: host or host:port is expected, without https://");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
        Ok(())
    }

    /// Whether a registry is spoken to over plain HTTP.
    pub fn is_insecure(&self, registry: &str) -> bool {
        self.insecure.iter().any(|name| name == registry)
    }

    /// What a user's word for an image means where it names no registry: the same image of the registry that is searched.
    pub fn qualify(&self, text: &str) -> Result<Reference> {
        let reference = Reference::parse(text)?;
        let names_registry =
            text.split_once('/').is_some_and(|(first, _)| first == reference.registry() || first == "index.docker.io");
        if self.unqualified_search == DEFAULT_REGISTRY || names_registry {
            return Ok(reference);
        }
        Reference::parse(&format!("{}/{text}", self.unqualified_search))
    }
}

/// What stands before the first slash of an image's name.
fn is_registry(name: &str) -> bool {
    Reference::parse(&format!("{name}/x")).is_ok_and(|reference| reference.registry() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &str = r#"
[registries]
unqualified-search = "reg.example"
insecure = ["localhost:5000"]
certs = ["/etc/docker/certs.d"]

[registries.mirrors]
"docker.io" = ["mirror.example:5000"]

[trash]
count = 3
age-hours = 1
"#;

    #[test]
    fn every_key_is_read() {
        let Settings { registries, trash } = Settings::parse(ALL).unwrap();
        assert_eq!(trash, Trash { count: 3, size_mib: 1024, age_hours: 1 });
        assert!(registries.is_insecure("localhost:5000") && !registries.is_insecure("localhost"));
        assert_eq!(registries.mirrors["docker.io"], ["mirror.example:5000"]);
        assert_eq!(registries.certs, Some(vec![PathBuf::from("/etc/docker/certs.d")]));
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_unknown_or_means_nothing_is_told_with_its_line() {
        for (text, message) in [
            ("[registries]\n\nsearch = 1\n", "line 3: unknown field `search`"),
            ("[trash]\ncount = -1\n", "line 2: invalid value"),
            ("x = 1\n", "line 1: unknown field `x`"),
            ("[registries]\ninsecure = \"a\"\n", "line 2: invalid type"),
            ("[registries]\n\ninsecure = [\"https://a\"]\n", "line 3: \"https://a\" is no registry"),
            ("[registries]\nunqualified-search = \"word\"\n", "line 2: \"word\" is no registry"),
            ("[registries\n", "line 1: "),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn names_without_a_registry_are_searched() {
        let registries = Settings::parse(ALL).unwrap().registries;
        for (text, whole) in [
            ("x", "reg.example/x:latest"),
            ("a/x:t", "reg.example/a/x:t"),
            ("docker.io/x", "docker.io/library/x:latest"),
            ("index.docker.io/x", "docker.io/library/x:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("r.io:5000/x", "r.io:5000/x:latest"),
        ] {
            assert_eq!(registries.qualify(text).unwrap().to_string(), whole);
            let own = Registries::default().qualify(text).unwrap();
            assert_eq!(own, Reference::parse(text).unwrap());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read(text in "(\\[registries\\]\n)?[a-z\\[\\]\"=., \n-]{0,60}|\\PC{0,40}") {
            let _ = Settings::parse(&text);
        }
    }
}

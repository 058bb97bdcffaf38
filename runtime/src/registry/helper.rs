//! Credential helpers: `docker-credential-NAME get|store|erase`, which keep passwords in a keyring or make them anew.
//!
//! The name is checked and there is no shell; the server goes in on standard input, and the environment is what the
//! caller lists.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::credentials::Credentials;
use crate::error::{Context as _, Error, ErrorKind, Result};

const ANSWER_MAX: u64 = 1 << 20;
/// What helpers say where they know nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// How helpers are started.
#[derive(Clone, Debug, Default)]
pub struct Helpers {
    /// Their whole environment; helpers are looked for in its `PATH`.
    pub env: Vec<(OsString, OsString)>,
}

/// Whether this can be the end of a program's name.
pub fn is_helper_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.bytes().all(fine)
}

impl Helpers {
    /// What the helper knows about a server.
    pub fn get(&self, name: &str, server: &str) -> Result<Option<Credentials>> {
        let (succeeded, out) = self.call(name, "get", server.as_bytes())?;
        let text = String::from_utf8_lossy(&out);
        if !succeeded {
            return match text.trim().contains(NOT_FOUND) {
                true => Ok(None),
                false => Err(self.failed(name, &text)),
            };
        }
        let value: Value = serde_json::from_slice(&out).map_err(|_| self.failed(name, "its answer is no JSON"))?;
        let field = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        match (field("Username"), field("Secret")) {
            (Some(username), Some(password)) if !password.is_empty() => Ok(Some(Credentials { username, password })),
            _ => Ok(None),
        }
    }

    /// Has the helper keep credentials.
    pub fn store(&self, name: &str, server: &str, credentials: &Credentials) -> Result<()> {
        let Credentials { username, password } = credentials;
        let entry = json!({"ServerURL": server, "Username": username, "Secret": password}).to_string();
        match self.call(name, "store", entry.as_bytes())? {
            (true, _) => Ok(()),
            (false, out) => Err(self.failed(name, &String::from_utf8_lossy(&out))),
        }
    }

    /// Has the helper forget a server.
    pub fn erase(&self, name: &str, server: &str) -> Result<()> {
        match self.call(name, "erase", server.as_bytes())? {
            (true, _) => Ok(()),
            (false, out) => Err(self.failed(name, &String::from_utf8_lossy(&out))),
        }
    }

    fn failed(&self, name: &str, why: &str) -> Error {
        let why: String = why.trim().chars().take(300).collect();
        Error::new(ErrorKind::Io, format!("the credential helper docker-credential-{name} failed: {why}"))
    }

    /// Runs the helper: whether it succeeded, and what it wrote.
    fn call(&self, name: &str, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>)> {
        let program = format!("docker-credential-{name}");
        let attempt = || format!("run {program} {verb}");
        let mut command = Command::new(&program);
        command.arg(verb).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command
            .spawn()
            .context(attempt)
            .hint(|| format!("install it, or take it out of config.json: credsStore or credHelpers name \"{name}\""))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read is judged by how it ends.
            let _ = stdin.write_all(input);
        }
        let mut out = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER_MAX).read_to_end(&mut out).context(attempt)?;
        }
        let status = child.wait().context(attempt)?;
        Ok((status.success(), out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A helper that keeps one entry in a file.
    fn helper(dir: &std::path::Path) -> Helpers {
        use std::os::unix::fs::PermissionsExt as _;
        let script = format!(
            "#!/bin/sh\ncd {} || exit 9\nenv > environment\ncase $1 in\n\
             get) [ -e entry ] || {{ echo 'credentials not found in native keychain'; exit 1; }}; cat entry;;\n\
             store) cat > entry;;\nerase) cat > erased; rm entry;;\n*) exit 3;;\nesac\n",
            dir.display()
        );
        let path = dir.join("docker-credential-test");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Helpers { env: vec![("PATH".into(), format!("{}:/usr/bin:/bin", dir.display()).into())] }
    }

    #[test]
    fn helpers_keep_give_and_forget() {
        let dir = tempfile::tempdir().unwrap();
        let helpers = helper(dir.path());
        assert_eq!(helpers.get("test", "r.io").unwrap(), None);
        let given = Credentials { username: "ada".to_owned(), password: "se cret\"".to_owned() };
        helpers.store("test", "r.io", &given).unwrap();
        assert_eq!(helpers.get("test", "r.io").unwrap(), Some(given));
        helpers.erase("test", "r.io").unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("erased")).unwrap(), "r.io");
        assert_eq!(helpers.get("test", "r.io").unwrap(), None);
        let environment = std::fs::read_to_string(dir.path().join("environment")).unwrap();
        assert!(!environment.contains("CARGO"), "{environment}");
        assert!(helpers.get("gone", "r.io").unwrap_err().hint_text().unwrap().contains("config.json"));
    }

    #[test]
    fn names_have_no_way_out() {
        for name in ["pass", "ecr-login", "a.b_c"] {
            assert!(is_helper_name(name), "{name}");
        }
        for name in ["", "../x", "a/b", "a b", ".x", "x\0", "é"] {
            assert!(!is_helper_name(name), "{name:?}");
        }
    }
}

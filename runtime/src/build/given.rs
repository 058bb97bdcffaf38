//! `--secret` and `--ssh`: what a build is given and no image has.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::container::options::mounts::split_record;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sandbox::plan::Content;

/// Secrets by their ids.
pub type Secrets = BTreeMap<String, Content>;
/// SSH agents by their ids.
pub type Agents = BTreeMap<String, Agent>;

/// What answers for the user's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// An agent that listens here.
    Socket(PathBuf),
    /// An agent that is to be started with these private keys; see [`super::keys`].
    Keys(Vec<PathBuf>),
}

/// Bytes of a secret, as docker has it.
const LARGEST: u64 = 500 << 10;
/// Where the user's agent is.
const SOCKET: &str = "SSH_AUTH_SOCK";

/// The caller's environment, which may be no text.
pub type Lookup<'l> = dyn Fn(&str) -> Option<Vec<u8>> + 'l;

/// Reads `--secret id=NAME[,type=file|env][,src=PATH|,env=VARIABLE]` and the secret. `None`: the environment does not have
/// it, and so no step gets it.
pub fn parse_secret(text: &str, lookup: &Lookup<'_>) -> Result<Option<(String, Content)>> {
    let invalid = |message: String| Error::new(ErrorKind::Invalid, message);
    let (mut id, mut kind, mut source, mut variable) = (String::new(), String::new(), String::new(), String::new());
    for field in split_record(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(invalid(format!("invalid field '{field}' must be a key=value pair")));
        };
        let value = value.to_owned();
        match key.to_ascii_lowercase().as_str() {
            "type" if matches!(value.as_str(), "file" | "env") => kind = value,
            "type" => return Err(invalid(format!("unsupported secret type {value:?}"))),
            "id" => id = value,
            "source" | "src" => source = value,
            "env" => variable = value,
            _ => return Err(invalid(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if id.is_empty() {
        return Err(invalid("secret missing ID".to_owned()));
    }
    if kind == "env" && variable.is_empty() {
        variable = std::mem::take(&mut source);
    }
    if variable.is_empty() && source.is_empty() {
        let of_environment = kind != "file" && lookup(&id).is_some();
        *(if of_environment || kind == "env" { &mut variable } else { &mut source }) = id.clone();
    }
    let content = match variable.as_str() {
        "" => Some(read(Path::new(&source)).context(|| format!("secret {id}"))?),
        variable => lookup(variable).map(Content),
    };
    Ok(content.map(|content| (id, content)))
}

fn read(path: &Path) -> Result<Content> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).context(|| format!("failed to stat {}", path.display()))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).context(|| format!("read {}", path.display()))?;
    match bytes.len() as u64 > LARGEST {
        true => Err(Error::new(ErrorKind::Invalid, format!("secret {} too big. max size 500KB", path.display()))),
        false => Ok(Content(bytes)),
    }
}

/// Reads `--ssh default` and `--ssh NAME[=SOCKET|KEY[,KEY]]`.
pub fn parse_agent(text: &str, lookup: &Lookup<'_>) -> Result<(String, Agent)> {
    let (id, path) = text.split_once('=').map_or((text, None), |(id, path)| (id, Some(path)));
    if id.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("--ssh {text}: it has no name")));
    }
    let paths = match path.filter(|path| !path.is_empty()) {
        Some(paths) => paths.split(',').map(PathBuf::from).collect(),
        None => {
            let socket = lookup(SOCKET).filter(|path| !path.is_empty()).ok_or_else(|| {
                let text = "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set";
                Error::new(ErrorKind::Invalid, text).hint("eval $(ssh-agent); ssh-add KEY")
            })?;
            vec![PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(socket))]
        }
    };
    let mut keys = Vec::new();
    for path in &paths {
        let found = std::fs::metadata(path).context(|| format!("--ssh {id}: {}", path.display()))?;
        let path = std::path::absolute(path).context(|| format!("--ssh {id}"))?;
        if found.file_type().is_socket() {
            return match paths.len() {
                1 => Ok((id.to_owned(), Agent::Socket(path))),
                _ => Err(Error::new(ErrorKind::Invalid, format!("--ssh {id}: only single socket allowed"))),
            };
        }
        if !found.is_file() {
            let text = format!("--ssh {id}: {} is neither a key nor the socket of an agent", path.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        keys.push(path);
    }
    Ok((id.to_owned(), Agent::Keys(keys)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<Option<(String, Content)>> {
        parse_secret(text, &|name| (name == "TOKEN").then(|| b"hunter2".to_vec()))
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("key");
        std::fs::write(&path, "content").expect("a file");
        let path = path.display();
        for (text, id, content) in [
            (format!("id=a,src={path}"), "a", "content"),
            (format!("id=a,source={path},type=file"), "a", "content"),
            (format!("\"id=a\",SRC={path}"), "a", "content"),
            ("id=a,env=TOKEN".to_owned(), "a", "hunter2"),
            ("id=a,type=env,src=TOKEN".to_owned(), "a", "hunter2"),
            ("id=TOKEN".to_owned(), "TOKEN", "hunter2"),
            ("type=env,id=TOKEN".to_owned(), "TOKEN", "hunter2"),
        ] {
            let found = secret(&text).expect("it is read").expect("it is there");
            assert_eq!((found.0.as_str(), found.1.0.as_slice()), (id, content.as_bytes()), "{text}");
            assert!(!format!("{found:?}").contains(content));
        }
        assert!(secret("id=a,env=UNSET").expect("it is read").is_none());
    }

    #[test]
    fn bad_secrets_are_refused() {
        let folder = tempfile::tempdir().expect("a directory");
        let large = folder.path().join("large");
        std::fs::write(&large, vec![b'x'; LARGEST as usize + 1]).expect("a file");
        for (text, message) in [
            ("src=x".to_owned(), "secret missing ID"),
            ("id".to_owned(), "invalid field 'id' must be a key=value pair"),
            ("id=a,type=vault".to_owned(), "unsupported secret type \"vault\""),
            ("id=a,target=/x".to_owned(), "unexpected key 'target' in 'target=/x'"),
            ("id=a,src=/no/such/file".to_owned(), "secret a: failed to stat /no/such/file"),
            (format!("id=a,src={}", large.display()), "too big. max size 500KB"),
        ] {
            let error = secret(&text).expect_err(&text).to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn agents_are_sockets_or_keys() {
        let folder = tempfile::tempdir().expect("a directory");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let key = folder.path().join("id_ed25519");
        std::fs::write(&key, "PRIVATE KEY").expect("a file");
        let set = |name: &str| (name == SOCKET).then(|| socket.as_os_str().as_encoded_bytes().to_vec());
        assert_eq!(
            parse_agent("default", &set).expect("it is there"),
            ("default".to_owned(), Agent::Socket(socket.clone()))
        );
        let given = format!("git={}", socket.display());
        assert_eq!(
            parse_agent(&given, &|_| None).expect("it is there"),
            ("git".to_owned(), Agent::Socket(socket.clone()))
        );
        let keys = parse_agent(&format!("git={0},{0}", key.display()), &|_| None).expect("keys").1;
        assert_eq!(keys, Agent::Keys(vec![key.clone(), key.clone()]));
        for paths in [format!("{},{}", key.display(), socket.display()), folder.path().display().to_string()] {
            assert_eq!(parse_agent(&format!("git={paths}"), &|_| None).expect_err(&paths).kind(), ErrorKind::Invalid);
        }
        let error = parse_agent("default", &|_| None).expect_err("none");
        assert!(error.to_string().contains("make sure SSH_AUTH_SOCK is set"), "{error}");
        assert!(parse_agent("=x", &set).is_err() && parse_agent("a=/no/such", &set).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(id|type|src|env|[a-z]{0,4})?=?[a-zA-Z0-9/,\"= ]{0,20}") {
            let _ = parse_secret(&text, &|_| None);
            let _ = parse_agent(&text, &|_| None);
        }
    }
}

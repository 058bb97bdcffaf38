//! Who is told to a server: the user in the address, else a secret of one of the names that docker has for that.
//!
//! | secret | for |
//! | --- | --- |
//! | `GIT_AUTH_HEADER.<host[:port]>`, `GIT_AUTH_HEADER` | git: what follows `Authorization:` |
//! | `GIT_AUTH_TOKEN.<host[:port]>`, `GIT_AUTH_TOKEN` | git: the password of the user `x-access-token` |
//! | `HTTP_AUTH_TOKEN_<host>` | a file: what follows `Authorization: Bearer` |
//! | `HTTP_AUTH_HEADER_<host>` | a file: what follows `Authorization:` |

use super::Remote;
use super::address::Repository;
use crate::error::{Error, ErrorKind, Result};
use crate::registry::credentials::Credentials;
use crate::registry::url::{Origin, Url};

const GIT_HEADER: &str = "GIT_AUTH_HEADER";
const GIT_TOKEN: &str = "GIT_AUTH_TOKEN";
/// Whose password a token is.
const TOKEN_USER: &str = "x-access-token";

/// What git is to say to the server of this origin, and to no other.
#[derive(Clone)]
pub(super) enum Proof {
    /// Where it is asked.
    User(Origin, Credentials),
    /// With every request, behind `Authorization:`.
    Header(Origin, String),
}

/// Where a repository is.
#[derive(Clone)]
pub(super) struct Place {
    /// As git takes it.
    pub url: String,
    /// What is said there.
    pub proof: Option<Proof>,
}

/// What git asks a server first, below the repository's URL.
const FIRST: &str = "/info/refs?service=git-upload-pack";

impl Proof {
    fn authorization(&self) -> String {
        match self {
            Self::User(_, credentials) => credentials.basic(),
            Self::Header(_, header) => header.clone(),
        }
    }
}

impl Remote {
    /// Does something with a repository; where that fails, at the place that the server leads to only those it knows: git does
    /// not go there, because it does not notice, or because it would take the header with it.
    pub(super) fn or_moved<T>(&self, repository: &Repository, attempt: impl Fn(&Place) -> Result<T>) -> Result<T> {
        let place = self.place(repository)?;
        match attempt(&place) {
            Err(error) if error.kind() == ErrorKind::Io => match self.moved(place) {
                Some(place) => attempt(&place),
                None => Err(error),
            },
            done => done,
        }
    }

    /// Where the server leads to whom it knows, if that is elsewhere.
    fn moved(&self, place: Place) -> Option<Place> {
        let proof = place.proof?;
        let asked = Url::parse(&format!("{}{FIRST}", place.url.trim_end_matches('/'))).ok()?;
        let (answer, found) = self.get(&asked, Some(proof.authorization()), &[]).ok()?;
        let url = format!("{}{}", found.origin, found.rest().strip_suffix(FIRST)?);
        let proof = (found.origin == asked.origin).then_some(proof);
        (answer.status == 200 && found != asked).then_some(Place { url, proof })
    }

    /// Where a repository is, and what git says there.
    pub(super) fn place(&self, repository: &Repository) -> Result<Place> {
        let url = repository.url.clone();
        if let Some((origin, credentials)) = &repository.user {
            return Ok(Place { url, proof: Some(Proof::User(origin.clone(), credentials.clone())) });
        }
        let origin = Url::parse(&url).ok().map(|url| url.origin);
        let proof = origin.map_or(Ok(None), |origin| self.of_secrets(origin))?;
        Ok(Place { url, proof })
    }

    fn of_secrets(&self, origin: Origin) -> Result<Option<Proof>> {
        for end in [format!(".{}", origin.authority()), String::new()] {
            if let Some(header) = self.secret(&format!("{GIT_HEADER}{end}"))? {
                return Ok(Some(Proof::Header(origin, header)));
            }
            if let Some(password) = self.secret(&format!("{GIT_TOKEN}{end}"))? {
                return Ok(Some(Proof::User(origin, Credentials { username: TOKEN_USER.to_owned(), password })));
            }
        }
        Ok(None)
    }

    /// What follows `Authorization:` in a request for a file.
    pub(super) fn authorization(&self, origin: &Origin, user: Option<(String, String)>) -> Result<Option<String>> {
        if let Some((username, password)) = user {
            return Ok(Some(Credentials { username, password }.basic()));
        }
        let host = origin.host.trim_matches(['[', ']']);
        if let Some(token) = self.secret(&format!("HTTP_AUTH_TOKEN_{host}"))? {
            return Ok(Some(format!("Bearer {token}")));
        }
        self.secret(&format!("HTTP_AUTH_HEADER_{host}"))
    }

    /// A secret as one line, without the end of the line; an empty one is none.
    fn secret(&self, name: &str) -> Result<Option<String>> {
        let Some(content) = self.secrets.get(name) else { return Ok(None) };
        let line = std::str::from_utf8(&content.0).map(|text| text.trim_end_matches(['\r', '\n']));
        match line {
            Ok(line) if !line.contains(char::is_control) => Ok((!line.is_empty()).then(|| line.to_owned())),
            _ => Err(Error::new(ErrorKind::Invalid, format!("the secret {name} is not one line of text"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::remote::address::Address;
    use crate::sandbox::plan::Content;

    fn remote(secrets: &[(&str, &str)]) -> Remote {
        let access = Box::new(|| Ok(crate::registry::http::Access::default()));
        let secrets =
            secrets.iter().map(|(name, text)| ((*name).to_owned(), Content(text.as_bytes().to_vec()))).collect();
        Remote::new("/nowhere".into(), Vec::new(), secrets, access)
    }

    fn said(secrets: &[(&str, &str)], address: &str) -> String {
        let Ok(Some(Address::Repository(repository))) = Address::of(address) else { panic!("{address}") };
        match remote(secrets).place(&repository).map(|place| place.proof) {
            Ok(None) => String::new(),
            Ok(Some(Proof::User(origin, user))) => format!("{origin} {}:{}", user.username, user.password),
            Ok(Some(Proof::Header(origin, header))) => format!("{origin} {header}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_nearest_secret_is_used() {
        let all = [
            ("GIT_AUTH_TOKEN", "t"),
            ("GIT_AUTH_HEADER", "Bearer h"),
            ("GIT_AUTH_TOKEN.h:1", "one\n"),
            ("GIT_AUTH_HEADER.two", "basic x"),
            ("GIT_AUTH_TOKEN.two", "two"),
            ("GIT_AUTH_TOKEN.bad", "a\nb"),
        ];
        for (address, wanted) in [
            ("https://h/x.git", "https://h Bearer h"),
            ("http://h:1/x.git", "http://h:1 x-access-token:one"),
            ("https://two/x.git", "https://two basic x"),
            ("https://me:p@two/x.git", "https://two me:p"),
            ("ssh://git@two/x.git", ""),
            ("git@two:x.git", ""),
            ("git://two/x", ""),
            ("https://bad/x.git", "the secret GIT_AUTH_TOKEN.bad is not one line of text"),
        ] {
            assert_eq!(said(&all, address), wanted, "{address}");
        }
        assert_eq!(said(&all[..1], "https://h/x.git"), "https://h x-access-token:t");
        assert_eq!(said(&[("GIT_AUTH_TOKEN", "")], "https://h/x.git"), "");
    }

    #[test]
    fn a_file_has_secrets_by_its_host() {
        let remote =
            remote(&[("HTTP_AUTH_TOKEN_h", "t"), ("HTTP_AUTH_HEADER_h", "Basic x"), ("HTTP_AUTH_HEADER_::1", "b")]);
        let of = |url: &str, user: Option<(String, String)>| {
            remote.authorization(&Url::parse(url).expect(url).origin, user).expect("it is text")
        };
        assert_eq!(of("http://h:1/x", None).as_deref(), Some("Bearer t"));
        assert_eq!(of("http://[::1]/x", None).as_deref(), Some("b"));
        assert_eq!(of("http://other/x", None), None);
        assert_eq!(of("http://h/x", Some(("u".into(), "p".into()))).as_deref(), Some("Basic dTpw"));
    }
}

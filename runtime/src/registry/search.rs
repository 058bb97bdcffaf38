//! Search: what a registry says it has under a word. docker.io and some others (quay.io) answer the question itself, as
//! version 1 of the protocol had it; of the rest, the list of repositories is gone through.

use serde::Deserialize;
use ureq::http::Method;

use super::client::{Client, PAGE_MAX};
use super::url::{Origin, Scheme, Url};
use crate::error::{Error, ErrorKind, Result};
use crate::reference::DEFAULT_REGISTRY;

/// Where docker.io answers; its registry is another server.
const DOCKER_INDEX: &str = "index.docker.io";
const WHAT: &str = "search";

/// One repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Its name, as the registry has it.
    pub name: String,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// How many users like it.
    #[serde(default, rename = "star_count")]
    pub stars: u64,
    /// Whether it is one of the registry's own.
    #[serde(default, rename = "is_official")]
    pub official: bool,
}

#[derive(Deserialize)]
struct Answered {
    results: Vec<Found>,
}

impl Client<'_> {
    /// At most `limit` repositories that have to do with the term, the registry's best first.
    pub fn search(&self, term: &str, limit: usize) -> Result<Vec<Found>> {
        let answered = match term {
            "" => None,
            term => self.ask(term, limit)?,
        };
        match answered {
            Some(found) => Ok(found.into_iter().take(limit).collect()),
            None => {
                let names = self.catalog()?.into_iter().filter(|name| name.contains(term)).take(limit);
                Ok(names.map(|name| Found { name, ..Found::default() }).collect())
            }
        }
    }

    /// The registry's own answer; `None` where it has none. Servers that know no such question answer in many ways, with a
    /// page for people among them.
    fn ask(&self, term: &str, limit: usize) -> Result<Option<Vec<Found>>> {
        let is_hub = self.registry() == DEFAULT_REGISTRY;
        let url = match is_hub {
            true => Url::new(&Origin::new(Scheme::Https, DOCKER_INDEX)?, "/v1/search")?,
            false => self.root("/v1/search")?,
        };
        let answer = self.follow(&Method::GET, &url.with("q", term).with("n", &limit.to_string()), &[])?;
        match answer.status {
            200 => {}
            _ if is_hub => return Err(self.refusal(answer, WHAT)),
            _ => return Ok(None),
        }
        match serde_json::from_slice::<Answered>(&answer.bytes(PAGE_MAX)?) {
            Ok(answered) => Ok(Some(answered.results)),
            Err(error) if is_hub => Err(Error::new(ErrorKind::Invalid, format!("{WHAT}: {DOCKER_INDEX}: {error}"))),
            Err(_) => Ok(None),
        }
    }
}

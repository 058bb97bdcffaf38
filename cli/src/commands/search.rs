//! `search`: what a registry says it has under a word.

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::DEFAULT_REGISTRY;
use lrun_runtime::registry::client::Purpose;
use lrun_runtime::registry::search::Found;

use super::access::{Registries, server};
use super::ps::view;
use crate::args::{Global, SearchArgs};
use crate::ui::filters::search::Query;
use crate::ui::output;
use crate::ui::rows::search::{Entry, MODEL, format};

/// More than so many docker.io does not give.
const HUB_MOST: usize = 100;

/// Runs the command.
pub fn run(global: &Global, args: &SearchArgs) -> Result<u8> {
    let (format, query) = (format(args.format.as_deref())?, Query::parse(&args.filter)?);
    if query.automated {
        output::complain(
            "WARNING: the \"is-automated\" filter is deprecated, and searching for \"is-automated=true\" will not yield any results in future.",
        );
    }
    let found = find(&Registries::open(global)?, &args.term, args.most())?;
    let entry = |found| Entry { found, whole: format.is_whole() };
    let rows: Vec<Entry> = found.into_iter().map(entry).filter(|row| query.shows(row)).collect();
    output::text(&MODEL.render(&format, &rows, &view(!args.no_trunc))?);
    Ok(0)
}

fn find(registries: &Registries, term: &str, most: usize) -> Result<Vec<Found>> {
    if term.contains("://") {
        let message = format!("invalid repository name: repository name ({term}) should not have a scheme");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let searched = registries.settings.registries.unqualified_search.clone();
    let (registry, term) = match term.split_once('/') {
        Some((first, term)) if first == "localhost" || first.contains(['.', ':']) => (server(Some(first))?, term),
        _ => (searched, term),
    };
    if registry == DEFAULT_REGISTRY {
        return on_the_hub(registries, term, most);
    }
    let named = |found: Found| Found { name: format!("{registry}/{}", found.name), ..found };
    match registries.client((&registry, ""), Purpose::Pull)?.search(term, most) {
        Ok(found) => Ok(found.into_iter().map(named).collect()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Permission) => {
            Err(error.hint(format!("{registry} does not list its repositories")))
        }
        Err(error) => Err(error),
    }
}

/// Names of docker.io are short ones.
fn on_the_hub(registries: &Registries, term: &str, most: usize) -> Result<Vec<Found>> {
    if most > HUB_MOST {
        let message = format!("limit {most} is outside the range of [1, {HUB_MOST}]");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let term = term.strip_prefix("library/").unwrap_or(term);
    if term.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "docker.io offers no list of its repositories")
            .hint("name a word that the repositories have to do with"));
    }
    registries.client((DEFAULT_REGISTRY, ""), Purpose::Pull)?.search(term, most)
}

//! `search`: repositories of a registry that lists them.

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::DEFAULT_REGISTRY;
use lrun_runtime::registry::client::Purpose;

use super::access::{Registries, server};
use crate::args::{Global, SearchArgs};
use crate::ui::{escape, output};

/// Runs the command.
pub fn run(global: &Global, args: &SearchArgs) -> Result<u8> {
    let registries = Registries::open(global)?;
    let searched = registries.settings.registries.unqualified_search.clone();
    let (registry, term) = match args.term.split_once('/') {
        Some((first, term)) if first == "localhost" || first.contains(['.', ':']) => (server(Some(first))?, term),
        _ => (searched, args.term.as_str()),
    };
    if registry == DEFAULT_REGISTRY {
        return Err(Error::new(ErrorKind::Unsupported, "docker.io offers no list of its repositories")
            .hint("search at https://hub.docker.com, or another registry: lrun search HOST[:PORT]/TERM"));
    }
    let found = registries.client((&registry, ""), Purpose::Pull)?.catalog().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::Permission => error.hint(format!("{registry} does not list its repositories")),
        _ => error,
    })?;
    let mut text = "NAME\n".to_owned();
    for name in found.iter().filter(|name| name.contains(term)).take(args.limit) {
        text.push_str(&format!("{registry}/{}\n", escape::line(name)));
    }
    output::text(&text);
    Ok(0)
}

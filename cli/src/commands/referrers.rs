//! `manifest referrers`: what a registry has about an image.

use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::{DEFAULT_TAG, Reference};
use lrun_runtime::registry::client::Client;
use lrun_runtime::registry::referrers::Referrer;

use super::access::Registries;
use super::ps::view;
use crate::args::{Global, ReferrersArgs};
use crate::ui::output;
use crate::ui::rows::referrers::{MODEL, format};

/// Runs the command.
pub fn run(global: &Global, args: &ReferrersArgs) -> Result<u8> {
    let format = format(args.format.as_deref())?;
    let (registries, reference) = Registries::open_for(global, &args.name, args.insecure)?;
    let rows = find(&registries, &reference, args.artifact_type.as_deref())?;
    output::text(&MODEL.render(&format, &rows, &view(false))?);
    Ok(0)
}

/// A mirror may have an image and nothing of what is about it: then the next is asked.
fn find(registries: &Registries, reference: &Reference, artifact_type: Option<&str>) -> Result<Vec<Referrer>> {
    let mut outcome = Err(Error::new(ErrorKind::NotFound, format!("no such manifest: {reference}")));
    for client in registries.sources(reference)? {
        let found = subject(&client, reference).and_then(|subject| client.referrers(&subject, artifact_type));
        match found {
            Ok(found) if !found.is_empty() => return Ok(found),
            Err(_) if outcome.is_ok() => {}
            found => outcome = found,
        }
    }
    outcome
}

fn subject(client: &Client<'_>, reference: &Reference) -> Result<Digest> {
    match reference.digest() {
        Some(digest) => Ok(digest.clone()),
        None => Ok(client.manifest(reference.tag().unwrap_or(DEFAULT_TAG))?.digest),
    }
}

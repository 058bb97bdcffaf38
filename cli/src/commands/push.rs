//! `push`: an image goes to a registry.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::reference::{DEFAULT_TAG, Reference};
use lrun_runtime::registry::client::Purpose;
use lrun_runtime::transfer::{Event, Format, Pushed, push};

use super::access::{Registries, transfers};
use super::images::check_platform;
use crate::args::{CompressionFormat, Global, PushArgs};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &PushArgs) -> Result<u8> {
    let reference = Reference::parse(&args.name)?;
    if reference.digest().is_some() {
        return Err(Error::new(ErrorKind::Invalid, "cannot push a digest reference"));
    }
    let registries = Registries::open(global)?;
    let engine = context::settled_engine(global)?;
    let repository = format!("{}/{}", reference.registry(), reference.repository());
    let named = args.name.ends_with(&format!(":{}", reference.tag().unwrap_or_default()));
    if args.all_tags && named {
        return Err(Error::new(ErrorKind::Invalid, "tag can't be used with --all-tags/-a"));
    }
    if !args.all_tags && !named && !args.quiet {
        output::complain(&format!("Using default tag: {DEFAULT_TAG}"));
    }
    if !args.quiet {
        output::complain(&format!("The push refers to repository [{repository}]"));
    }
    if args.all_tags {
        for reference in tags(&engine, &reference)? {
            one(&engine, &registries, &reference, args)?;
        }
        if args.quiet {
            output::line(&repository);
        }
        return Ok(0);
    }
    one(&engine, &registries, &reference, args)?;
    if args.quiet {
        output::line(&reference.to_string());
    }
    Ok(0)
}

fn one(engine: &Engine, registries: &Registries, reference: &Reference, args: &PushArgs) -> Result<()> {
    if args.platform.is_some() {
        let image = engine.store.resolve(&reference.to_string())?;
        check_platform(&image.config, &reference.familiar_with_tag(), args.platform.as_deref())?;
    }
    let format = match args.compression_format {
        CompressionFormat::Gzip => Format::Gzip,
        CompressionFormat::Zstd => Format::Zstd,
    };
    let pushed = send(engine, registries, reference, format, args.quiet)?;
    if !args.quiet {
        output::line(&told(reference, &pushed));
    }
    Ok(())
}

/// What went, in docker's words.
pub fn told(reference: &Reference, pushed: &Pushed) -> String {
    format!("{}: digest: {} size: {}", reference.tag().unwrap_or_default(), pushed.digest, pushed.size)
}

/// Pushes the image that has this name.
pub fn send(
    engine: &Engine,
    registries: &Registries,
    reference: &Reference,
    format: Format,
    quiet: bool,
) -> Result<Pushed> {
    let client = registries.client((reference.registry(), reference.repository()), Purpose::Push)?;
    let shown = transfers(quiet);
    let events = |event: Event<'_>| shown.tell(event);
    push((&engine.store, &engine.map), client, (reference, format), &events)
}

/// Every name of the repository.
fn tags(engine: &Engine, reference: &Reference) -> Result<Vec<Reference>> {
    let images = engine.store.images()?.listed;
    let names = images.into_iter().flat_map(|image| image.references);
    let mut found: Vec<Reference> = names.filter(|name| name.same_repository(reference)).collect();
    found.sort();
    if found.is_empty() {
        let message = format!("An image does not exist locally with the tag: {}", reference.familiar());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(found)
}

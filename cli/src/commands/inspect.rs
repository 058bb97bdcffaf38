//! `inspect`: everything known about containers and images, in docker's JSON.

mod container;
mod image;

use std::io::IsTerminal;

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::lifecycle;
use lrun_runtime::error::{Error, ErrorKind, Result};

use super::images::check_platform;
use crate::args::{Global, InspectArgs, InspectType};
use crate::context;
use crate::ui::inspect::{Format, Object};
use crate::ui::{escape, output};

/// docker's exit code for a format that is no template.
const BAD_TEMPLATE: u8 = 64;

/// Why one name shows nothing.
enum Failure {
    /// Neither a container nor an image.
    NoSuchObject(String),
    Other(Error),
}

/// Runs the command. What was found is printed, then what was not is told of.
pub fn run(global: &Global, args: &InspectArgs) -> Result<u8> {
    let format = match Format::parse(args.format.as_deref()) {
        Ok(format) => format,
        Err(error) => {
            output::error(&error.context("template parsing error"));
            return Ok(BAD_TEMPLATE);
        }
    };
    // A container has its image's.
    let kind = if args.platform.is_some() { Some(args.kind.unwrap_or(InspectType::Image)) } else { args.kind };
    if kind == Some(InspectType::Container) && args.platform.is_some() {
        return Err(Error::new(ErrorKind::Invalid, "--platform is for images"));
    }
    let engine = context::engine(global)?;
    let with_sizes = args.size || format.uses("SizeRw") || format.uses("SizeRootFs");
    let (mut objects, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        match find(&engine, name, kind, (with_sizes, args.platform.as_deref())) {
            Ok(object) => objects.push(object),
            Err(failure) => failures.push(failure),
        }
    }
    let (text, errors) = format.render(&objects, std::io::stdout().is_terminal())?;
    output::text(&text);
    failures.extend(errors.into_iter().map(|error| Failure::Other(error.context("template parsing error"))));
    for failure in &failures {
        match failure {
            // As docker words it; tools look for this line.
            Failure::NoSuchObject(name) => output::complain(&format!("Error: No such object: {}", escape::line(name))),
            Failure::Other(error) => output::error(error),
        }
    }
    Ok(u8::from(!failures.is_empty()))
}

/// lrun has none of this kind.
fn none(kind: &str, name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such {kind}: {name}"))
}

/// A container, else an image, of this name or id; of the wanted type only, if there is one.
fn find(
    engine: &Engine,
    name: &str,
    kind: Option<InspectType>,
    (with_sizes, platform): (bool, Option<&str>),
) -> std::result::Result<Object, Failure> {
    let container = || {
        let record = lifecycle::look(engine, name)?;
        let object = container::object(engine, &record, with_sizes);
        object.map_err(|error| lifecycle::containers(engine).unless_removed(error, &record.id))
    };
    let image = || {
        let found = engine.store.resolve(name)?;
        check_platform(&found.config, name, platform)?;
        image::object(&engine.store, &found)
    };
    match kind {
        Some(InspectType::Container) => container().map_err(Failure::Other),
        Some(InspectType::Image) => image().map_err(Failure::Other),
        Some(InspectType::Network) => Err(Failure::Other(none("network", name))),
        Some(InspectType::Volume) => Err(Failure::Other(none("volume", name))),
        None => match container() {
            Err(error) if error.kind() == ErrorKind::NotFound => match image() {
                // A container may have been meant, whose name is none for an image.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                    Err(Failure::NoSuchObject(name.to_owned()))
                }
                other => other.map_err(Failure::Other),
            },
            other => other.map_err(Failure::Other),
        },
    }
}

//! The contexts of `build`: what `--build-context` names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lrun_runtime::build::context::{Context as Files, Patterns};
use lrun_runtime::build::{Contexts, Named, context_name, dockerfile};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::file;
use lrun_runtime::image::archive::{LoadOptions, Pick, Source, load};
use lrun_runtime::image::store::Image;

const IMAGE: &str = "docker-image://";
const LAYOUT: &str = "oci-layout://";

/// The contexts that have names. What is an image is not looked for yet.
pub fn named(given: &BTreeMap<String, String>) -> Result<Contexts> {
    let mut contexts = Contexts::new();
    for (name, place) in given {
        let named = one(place).context(|| format!("failed to get build context {name}"))?;
        contexts.insert(context_name(name)?, named);
    }
    Ok(contexts)
}

fn one(place: &str) -> Result<Named> {
    if let Some(image) = place.strip_prefix(IMAGE) {
        return Ok(Named::Image(image.to_owned()));
    }
    if place.starts_with(LAYOUT) {
        return Ok(Named::Image(place.to_owned()));
    }
    if place.starts_with("target:") {
        let text = format!("{place}: targets are what bake builds, which lrun does not have");
        return Err(Error::new(ErrorKind::Unsupported, text).hint("build it first, and give docker-image://NAME"));
    }
    let files = Files::open(Path::new(place))?;
    let ignore = files.read(b".dockerignore", dockerfile::SIZE_MAX as u64)?;
    let patterns = ignore.map(|bytes| Patterns::parse(&bytes)).transpose().context(|| "read .dockerignore")?;
    Ok(Named::Files(Arc::new(files.ignoring(patterns.unwrap_or_default()).named(format!("the context {place}")))))
}

/// The image of `oci-layout://DIRECTORY[:TAG][@DIGEST]`, which comes into the store without a name. `None`: it is none.
pub fn of_layout(engine: &Engine, word: &str) -> Option<Result<Image>> {
    let place = word.strip_prefix(LAYOUT)?;
    Some(layout(engine, place).context(|| word.to_owned()))
}

fn layout(engine: &Engine, place: &str) -> Result<Image> {
    let (place, digest) = match place.split_once('@') {
        Some((place, digest)) => (place, Some(Digest::parse(digest)?)),
        None => (place, None),
    };
    let (path, tag) = match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (place, None),
    };
    let source = Source::Directory(file::open_dir(Path::new(path))?);
    let options = LoadOptions { pick: Some(Pick { tag, digest }), ..LoadOptions::default() };
    let loaded = load(&engine.store, &engine.map, source, &options, &mut |_| {}, &mut |path| engine.remove_tree(path))?;
    let none = || Error::new(ErrorKind::NotFound, "the layout has no image");
    engine.store.image(&loaded.images.first().ok_or_else(none)?.id)
}

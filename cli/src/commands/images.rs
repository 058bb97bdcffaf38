//! `images`: lists images.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lrun_runtime::error::{Error, ErrorKind, REPAIR, Result};
use lrun_runtime::image::config::ImageConfig;
use lrun_runtime::image::store::{Damaged, ImageRecord, Listed, Store};
use lrun_runtime::reference::Reference;
use lrun_runtime::registry::platform::Platform;

use super::preferences::Preferences;
use super::ps::view;
use crate::args::{Global, ImagesArgs, time};
use crate::context;
use crate::ui::filters::Filters;
use crate::ui::filters::images::{NAMES, Query};
use crate::ui::rows::images::{Entry, MODEL, format, rows};
use crate::ui::{escape, output};

/// Runs the command. An image whose record is damaged is told of on standard error; the others are listed.
pub fn run(global: &Global, args: &ImagesArgs) -> Result<u8> {
    let mut filters = Filters::parse(&args.filter, &NAMES)?;
    if let Some(pattern) = &args.repository {
        filters.add("reference", pattern);
    }
    let wanted = Preferences::format(global, "imagesFormat", args.format.as_deref(), args.quiet);
    let format = format(wanted.as_deref(), args.quiet, args.digests)?;
    let store = context::engine(global)?.store;
    let with_labels = filters.has("label") || filters.has("label!");
    let mut entries = Vec::new();
    let images = store.images()?;
    for image in images.listed {
        match entry(&store, image, with_labels) {
            Ok(entry) => entries.push(entry),
            // It was removed a moment ago.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let id = |name: &str| store.find(name).ok().map(|found| found.id.to_string());
    let chosen = Query { filters: &filters, all: args.all }
        .select(entries, id, |text| time::parse(text, Timestamp::now(), &context::zone()))?;
    let digests = args.digests || wanted.as_ref().is_some_and(|format| format.contains("{{.Digest}}"));
    output::text(&MODEL.render(&format, &rows(&chosen, digests), &view(!args.no_trunc))?);
    for Damaged { id, error, .. } in images.damaged {
        output::complain(&escape::line(&format!("WARNING: image {} cannot be listed: {error}", id.short())));
        output::complain(&format!("  hint: {REPAIR}, else remove it with \"lrun rmi -f {}\"", id.short()));
    }
    Ok(0)
}

/// Labels are in the image's config, which is read only for a filter.
fn entry(store: &Store, image: Listed, with_labels: bool) -> Result<Entry> {
    let Listed { record, references } = image;
    let labels = match with_labels {
        true => store.image(&record.id)?.config.config.labels,
        false => Default::default(),
    };
    Ok(shown(record, references, labels))
}

/// What a listing shows of an image.
pub(super) fn shown(record: ImageRecord, references: Vec<Reference>, labels: BTreeMap<String, String>) -> Entry {
    Entry {
        id: record.id.to_string(),
        digests: familiar_digests(&record),
        parent: record.parent.map_or_else(String::new, |parent| parent.to_string()),
        tags: references.iter().map(Reference::familiar_with_tag).collect(),
        created: record.created,
        size: record.size,
        labels,
        usage: None,
    }
}

/// Refuses an image that is not for the platform that was asked for; an image here is for one alone.
pub(super) fn check_platform(config: &ImageConfig, name: &str, wanted: Option<&str>) -> Result<()> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(()) };
    let own = Platform::new(&config.os, &config.architecture, &config.variant);
    if Platform::parse(wanted, &own)?.accepts(&own) {
        return Ok(());
    }
    let message = format!("image {name} was found but does not provide the specified platform ({wanted})");
    Err(Error::new(ErrorKind::NotFound, message).hint(format!("it is for {own}")))
}

/// `repository@digest` as people write it.
pub(super) fn familiar_digests(record: &ImageRecord) -> Vec<String> {
    let familiar =
        |name: &String| Reference::parse(name).map_or_else(|_| name.clone(), |name| name.familiar_with_tag());
    record.digest_names().map(familiar).collect()
}

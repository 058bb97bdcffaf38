//! `manifest create`, `annotate`, `push` and `rm`: lists of images for several platforms. The images are at a registry, the
//! list is made here and pushed to the same registry.

use std::collections::BTreeSet;

use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::store::{ImageList, ListEntry};
use lrun_runtime::reference::Reference;
use lrun_runtime::registry::client::{Client, Purpose};
use lrun_runtime::registry::manifest::{self, Document};
use lrun_runtime::registry::platform::Platform;
use lrun_runtime::registry::upload::Mount;

use super::access::Registries;
use super::for_each;
use super::manifest::{described_image, tag_or_digest};
use crate::args::{Global, ListAnnotateArgs, ListCreateArgs, ListPushArgs, ListRemoveArgs};
use crate::context;
use crate::ui::output;

fn no_such_list(list: &Reference) -> Error {
    Error::new(ErrorKind::NotFound, format!("No such manifest: {list}"))
        .hint("a list is made by \"lrun manifest create\"")
}

/// Runs `manifest create`.
pub fn create(global: &Global, args: &ListCreateArgs) -> Result<u8> {
    let (registries, list) = Registries::open_for(global, &args.list, args.insecure)?;
    let store = context::settled_engine(global)?.store;
    let may_change = |there: bool| match there && !args.amend {
        true => {
            let message = "refusing to amend an existing manifest list with no --amend flag";
            Err(Error::new(ErrorKind::Conflict, message).hint("\"lrun manifest rm\" removes the one that is there"))
        }
        false => Ok(()),
    };
    may_change(store.list(&list)?.is_some())?;
    let entries = args.images.iter().map(|word| {
        let image = registries.settings.registries.qualify(word)?;
        if image.registry() != list.registry() {
            let message = "cannot use source images from a different registry than the target image";
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{message}: {} != {}", image.registry(), list.registry()),
            ));
        }
        of_registry(&registries, &image)
    });
    let entries = entries.collect::<Result<Vec<_>>>()?;
    store.change_list(&list, |there| {
        may_change(there.is_some())?;
        let mut changed = there.unwrap_or_else(|| ImageList { name: list.to_string(), entries: Vec::new() });
        entries.into_iter().try_for_each(|entry| changed.add(entry))?;
        Ok(changed)
    })?;
    output::line(&format!("Created manifest list {list}"));
    Ok(0)
}

/// What the list's registry has by this name.
fn of_registry(registries: &Registries, image: &Reference) -> Result<ListEntry> {
    let client = registries.client((image.registry(), image.repository()), Purpose::Pull)?;
    let found = client.manifest(tag_or_digest(image)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => error
            .context(format!("no such manifest: {image}"))
            .hint(format!("a list has images that its registry has: lrun push {}", image.familiar_with_tag())),
        _ => error,
    })?;
    match manifest::parse(&found.bytes, &found.media_type)? {
        Document::Image(parts) => described_image(&client, image, found, &parts),
        Document::Index(_) => Err(Error::new(ErrorKind::Invalid, format!("{image} is a manifest list itself"))
            .hint("name its images by their digests: lrun manifest inspect shows them")),
    }
}

/// Runs `manifest annotate`.
pub fn annotate(global: &Global, args: &ListAnnotateArgs) -> Result<u8> {
    let registries = context::settings()?.registries;
    let (list, image) = (registries.qualify(&args.list)?, registries.qualify(&args.image)?);
    let missing = || {
        let message = format!("manifest for image {} does not exist in {}", args.image, args.list);
        Error::new(ErrorKind::NotFound, message).hint("\"lrun manifest inspect\" shows the images of a list")
    };
    context::settled_engine(global)?.store.change_list(&list, |there| {
        let mut changed = there.ok_or_else(missing)?;
        let entry = changed.entry(&image.to_string()).ok_or_else(missing)?;
        let platform = entry.descriptor.platform.get_or_insert_default();
        let fields = [
            (&args.os, &mut platform.os),
            (&args.arch, &mut platform.architecture),
            (&args.variant, &mut platform.variant),
            (&args.os_version, &mut platform.os_version),
        ];
        for (given, field) in fields {
            if let Some(given) = given.as_ref().filter(|given| !given.is_empty()) {
                field.clone_from(given);
            }
        }
        for feature in &args.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
        if !Platform::is_known(&platform.os, &platform.architecture) {
            let pair = format!("{}/{}", platform.os, platform.architecture);
            let message = format!("manifest entry for image has unsupported os/arch combination: {pair}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(changed)
    })?;
    Ok(0)
}

/// Runs `manifest push`.
pub fn push(global: &Global, args: &ListPushArgs) -> Result<u8> {
    let (registries, name) = Registries::open_for(global, &args.list, args.insecure)?;
    let store = context::settled_engine(global)?.store;
    let list = store.list(&name)?.ok_or_else(|| no_such_list(&name))?;
    for entry in &list.entries {
        let platform = entry.descriptor.platform.as_ref();
        if platform.is_none_or(|platform| platform.os.is_empty() || platform.architecture.is_empty()) {
            let message =
                format!("manifest {} must have an OS and Architecture to be pushed to a registry", entry.name);
            return Err(Error::new(ErrorKind::Invalid, message).hint("lrun manifest annotate --os OS --arch ARCH"));
        }
    }
    let client = registries.client((name.registry(), name.repository()), Purpose::Push)?;
    for entry in &list.entries {
        let image = Reference::parse(&entry.name)?;
        if image.repository() != name.repository() {
            let client = registries.client((name.registry(), name.repository()), Purpose::Push)?;
            take_over(&client.reading_from(&[image.repository().to_owned()]), entry, &image, &name)?;
            let digest = &entry.descriptor.digest;
            let place = format!("{}/{}@{digest}", name.registry(), name.repository());
            output::line(&format!("Pushed ref {place} with digest: {digest}"));
        }
    }
    let (bytes, media_type) = list.index()?;
    client.put_manifest(tag_or_digest(&name), media_type, &bytes)?;
    output::line(Digest::of(&bytes).as_str());
    if args.purge && !store.remove_list(&name, Some(&list))? {
        output::complain(&format!("WARNING: {name} was changed meanwhile, and is kept"));
    }
    Ok(0)
}

/// The list's repository gets an image of another repository.
fn take_over(client: &Client<'_>, entry: &ListEntry, image: &Reference, list: &Reference) -> Result<()> {
    let media_type = &entry.descriptor.media_type;
    let Document::Image(parts) = manifest::parse(&entry.raw, media_type)? else {
        return Err(Error::new(ErrorKind::Corrupt, format!("{image} is no image")));
    };
    let blobs: BTreeSet<&Digest> = parts.layers.iter().chain([&parts.config]).map(|part| &part.digest).collect();
    for blob in blobs {
        if client.blob_size(blob)?.is_some() {
            continue;
        }
        if let Mount::Upload(upload) = client.mount(blob, image.repository())? {
            client.abandon(&upload);
            let message = format!("error mounting {}/{}@{blob} to {list}", image.registry(), image.repository());
            let repository = list.familiar();
            let hint = format!(
                "the registry gives no layers from one repository to another: push the image to {repository}, too"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).hint(hint));
        }
    }
    client.put_manifest(entry.descriptor.digest.as_str(), media_type, &entry.raw)
}

/// Runs `manifest rm`.
pub fn remove(global: &Global, args: &ListRemoveArgs) -> Result<u8> {
    let store = context::settled_engine(global)?.store;
    let registries = context::settings()?.registries;
    for_each(&args.lists, |word| {
        let list = registries.qualify(word)?;
        if store.remove_list(&list, None)? { Ok(()) } else { Err(no_such_list(&list)) }
    })
}

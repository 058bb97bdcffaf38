//! Removing the images that no container was made from.

use super::{ContainerUse, ContainerUses, Options, Plan, Removed};
use crate::error::Result;
use crate::file::Lock;
use crate::image::store::{Found, Listed, Store};

/// Removes the images that no container was made from, that no other image was made from, and that are `wanted`; with
/// `all`, also those with names, and of those that another image was made from the names: they stay as its parents. Layers
/// stay until [`super::collect`].
///
/// Nobody resolves an image meanwhile, so that none goes that a container is just being made from: whoever publishes
/// something is waited for.
pub fn unused_images(
    store: &Store,
    all: bool,
    wanted: &dyn Fn(&Listed) -> Result<bool>,
    uses: &ContainerUses<'_>,
) -> Result<Vec<Removed>> {
    let _lock = Lock::exclusive(&store.root().lock())?;
    let _refs_lock = Lock::exclusive(&store.root().refs_lock())?;
    let mut images = store.images()?.whole()?;
    let used = uses()?;
    let mut lines = Vec::new();
    // The removal of an image may leave its parent without children.
    while let Some(image) = next(&images, &used, all, wanted)? {
        let found = Found { id: image.record.id.clone(), reference: None };
        let plan = Plan::new(&images, &used, "", &found, Options { force: true, no_prune: false })?;
        plan.carry_out(store)?;
        images.retain(|image| !plan.delete.contains(&image.record.id));
        lines.extend(plan.lines);
    }
    for image in images.iter().filter(|image| all && !is_used(&used, image)) {
        if wanted(image)? {
            let plan = Plan::names(&images, &used, &image.record.id);
            plan.carry_out(store)?;
            lines.extend(plan.lines);
        }
    }
    Ok(lines)
}

fn next<'a>(
    images: &'a [Listed],
    used: &[ContainerUse],
    all: bool,
    wanted: &dyn Fn(&Listed) -> Result<bool>,
) -> Result<Option<&'a Listed>> {
    for image in images {
        let id = &image.record.id;
        let has_child = images.iter().any(|other| other.record.parent.as_ref() == Some(id));
        if (all || image.references.is_empty()) && !has_child && !is_used(used, image) && wanted(image)? {
            return Ok(Some(image));
        }
    }
    Ok(None)
}

fn is_used(used: &[ContainerUse], image: &Listed) -> bool {
    used.iter().any(|container| container.image == image.record.id)
}

//! Removing images: what `rmi` may remove is decided by a pure function, then done.

mod collect;
mod unused;

use std::collections::HashSet;
use std::fmt;

pub use collect::{Collected, collect};
pub use unused::unused_images;

use super::config::chain_ids;
use super::store::{Damaged, Found, Listed, Store};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::Lock;
use crate::reference::Reference;

/// A container's claim on images and layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUse {
    /// The container's id.
    pub id: String,
    /// Whether it runs (or is paused).
    pub running: bool,
    /// The image it was made from.
    pub image: Digest,
    /// Every layer it needs, a commit in progress included.
    pub layers: Vec<Digest>,
}

/// Reads the claims of all containers; called under the lock that keeps them true.
pub type ContainerUses<'a> = dyn Fn() -> Result<Vec<ContainerUse>> + 'a;

/// Flags of `rmi`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Remove although it has several names or a stopped container uses it.
    pub force: bool,
    /// Keep parents that no name points to.
    pub no_prune: bool,
}

/// One line of `rmi`'s output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name, in familiar form.
    Untagged(String),
    /// An image by its id, or a layer by its chain id.
    Deleted(Digest),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged(name) => write!(f, "Untagged: {name}"),
            Self::Deleted(digest) => write!(f, "Deleted: {digest}"),
        }
    }
}

/// Removes a name, and its image where nothing else needs it; docker's rules. Layers stay until [`collect`].
pub fn remove_image(store: &Store, name: &str, options: Options, uses: &ContainerUses<'_>) -> Result<Vec<Removed>> {
    let _refs_lock = Lock::exclusive(&store.root().refs_lock())?;
    let found = store.find(name)?;
    let images = store.images()?;
    let plan = match images.damaged.iter().find(|image| image.id == found.id) {
        Some(image) if options.force => Plan::damaged(image, &uses()?)?,
        _ => Plan::new(&images.whole()?, &uses()?, name, &found, options)?,
    };
    for reference in &plan.untag {
        store.remove_ref(reference)?;
    }
    for id in &plan.delete {
        store.remove_record(id)?;
    }
    Ok(plan.lines)
}

/// What is to be removed, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    untag: Vec<Reference>,
    delete: Vec<Digest>,
    lines: Vec<Removed>,
}

/// Why an image cannot be deleted.
struct Obstacle {
    can_be_forced: bool,
    reason: String,
}

struct Planner<'a> {
    images: &'a [Listed],
    uses: &'a [ContainerUse],
    plan: Plan,
}

impl Plan {
    fn new(images: &[Listed], uses: &[ContainerUse], typed: &str, found: &Found, options: Options) -> Result<Self> {
        let mut planner = Planner { images, uses, plan: Self::default() };
        match &found.reference {
            Some(reference) => planner.by_reference(&found.id, reference, typed, options)?,
            None => planner.by_id(&found.id, options)?,
        }
        Ok(planner.plan)
    }

    /// A damaged image goes with all its names; what it was made from and of is not known.
    fn damaged(image: &Damaged, uses: &[ContainerUse]) -> Result<Self> {
        if let Some(user) = uses.iter().find(|user| user.image == image.id) {
            let reason = format!("image is being used by container {}", short(&user.id));
            let message = format!("conflict: unable to delete {} (cannot be forced) - {reason}", image.id.short());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let untagged = image.references.iter().map(|reference| Removed::Untagged(reference.familiar_with_tag()));
        let lines = untagged.chain([Removed::Deleted(image.id.clone())]).collect();
        Ok(Self { untag: image.references.clone(), delete: vec![image.id.clone()], lines })
    }
}

impl<'a> Planner<'a> {
    fn listed(&self, id: &Digest) -> Option<&'a Listed> {
        self.images.iter().find(|image| image.record.id == *id)
    }

    /// Names of the image that the plan leaves so far.
    fn references(&self, id: &Digest) -> Vec<&'a Reference> {
        let all = self.listed(id).map_or(&[][..], |image| &image.references);
        all.iter().filter(|r| !self.plan.untag.contains(r)).collect()
    }

    fn untag(&mut self, reference: &Reference) {
        self.plan.untag.push(reference.clone());
        self.plan.lines.push(Removed::Untagged(reference.familiar_with_tag()));
    }

    fn user(&self, id: &Digest, running: bool) -> Option<&'a ContainerUse> {
        self.uses.iter().find(|u| u.image == *id && u.running == running)
    }

    fn by_reference(&mut self, id: &Digest, reference: &Reference, typed: &str, options: Options) -> Result<()> {
        let last = self.references(id).iter().all(|r| *r == reference);
        let user = self.user(id, true).or_else(|| self.user(id, false));
        if last
            && !options.force
            && let Some(user) = user
        {
            let message = format!(
                "conflict: unable to remove repository reference {typed:?} (must force) - container {} is using its \
                 referenced image {}",
                short(&user.id),
                id.short()
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        match self.references(id).into_iter().find(|r| *r == reference) {
            Some(reference) => self.untag(reference),
            // Found by digest: the names below go with the image.
            None => return self.by_id(id, options),
        }
        if self.references(id).is_empty() && self.obstacle(id, options.force).is_none() && user.is_none() {
            self.delete(id, options);
        }
        Ok(())
    }

    fn by_id(&mut self, id: &Digest, options: Options) -> Result<()> {
        let references = self.references(id);
        let many = references.len() > 1 && !options.force;
        let obstacle = match self.obstacle(id, options.force) {
            None if many => Some(Obstacle {
                can_be_forced: true,
                reason: "image is referenced in multiple repositories".to_owned(),
            }),
            other => other,
        };
        if let Some(Obstacle { can_be_forced, reason }) = obstacle {
            let forced = if can_be_forced { "must be forced" } else { "cannot be forced" };
            let message = format!("conflict: unable to delete {} ({forced}) - {reason}", id.short());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        // A stopped container keeps its image even from -f: only the names go.
        if let Some(user) = self.user(id, false) {
            if references.is_empty() {
                let reason = format!("image is being used by stopped container {}", short(&user.id));
                let message = format!("conflict: unable to delete {} (cannot be forced) - {reason}", id.short());
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            references.into_iter().for_each(|r| self.untag(r));
            return Ok(());
        }
        self.delete(id, options);
        Ok(())
    }

    /// What keeps an image, its names aside.
    fn obstacle(&self, id: &Digest, force: bool) -> Option<Obstacle> {
        let child =
            |image: &&Listed| image.record.parent.as_ref() == Some(id) && !self.plan.delete.contains(&image.record.id);
        if self.images.iter().any(|image| child(&image)) {
            return Some(Obstacle { can_be_forced: false, reason: "image has dependent child images".to_owned() });
        }
        if let Some(user) = self.user(id, true) {
            let reason = format!("image is being used by running container {}", short(&user.id));
            return Some(Obstacle { can_be_forced: false, reason });
        }
        match self.user(id, false) {
            Some(user) if !force => {
                let reason = format!("image is being used by stopped container {}", short(&user.id));
                Some(Obstacle { can_be_forced: true, reason })
            }
            _ => None,
        }
    }

    /// Plans to delete an image that nothing keeps, then its parents that nothing keeps.
    fn delete(&mut self, id: &Digest, options: Options) {
        let mut next = Some(id.clone());
        while let Some(id) = next.take() {
            let Some(image) = self.listed(&id) else { return };
            self.references(&id).into_iter().for_each(|r| self.untag(r));
            for name in &image.record.repo_digests {
                let familiar = Reference::parse(name).map_or_else(|_| name.clone(), |r| r.familiar_with_tag());
                self.plan.lines.push(Removed::Untagged(familiar));
            }
            self.plan.delete.push(id.clone());
            self.plan.lines.push(Removed::Deleted(id.clone()));
            self.delete_layers(image);
            let parent = image.record.parent.as_ref().filter(|_| !options.no_prune);
            next = parent
                .filter(|p| !self.plan.delete.contains(p) && self.references(p).is_empty())
                .filter(|p| self.listed(p).is_some() && self.obstacle(p, false).is_none())
                .cloned();
        }
    }

    /// Reports the layers that the deletion of an image leaves without use, top first.
    fn delete_layers(&mut self, image: &Listed) {
        let kept = self.images.iter().filter(|i| !self.plan.delete.contains(&i.record.id));
        let used: HashSet<&Digest> =
            kept.flat_map(|i| &i.record.layers).chain(self.uses.iter().flat_map(|u| &u.layers)).collect();
        let layers = &image.record.layers;
        for (layer, chain) in layers.iter().zip(chain_ids(layers)).rev() {
            let line = Removed::Deleted(chain);
            if !used.contains(layer) && !self.plan.lines.contains(&line) {
                self.plan.lines.push(line);
            }
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests;

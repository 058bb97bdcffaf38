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
    plan.carry_out(store)?;
    Ok(plan.lines)
}

/// What is to be removed, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Plan {
    untag: Vec<Reference>,
    /// Names by digest of images that stay or are deleted.
    forget: Vec<(Digest, Reference)>,
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

    /// All names of an image that stays.
    fn names(images: &[Listed], uses: &[ContainerUse], id: &Digest) -> Self {
        let mut planner = Planner { images, uses, plan: Self::default() };
        planner.remove_names(id);
        planner.plan
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
        Ok(Self { untag: image.references.clone(), delete: vec![image.id.clone()], lines, ..Self::default() })
    }

    /// Does it. The caller holds `refs.lock`.
    fn carry_out(&self, store: &Store) -> Result<()> {
        for (id, name) in &self.forget {
            if !self.delete.contains(id) {
                store.forget_digest(id, name)?;
            }
        }
        for reference in &self.untag {
            store.remove_ref(reference)?;
        }
        for id in &self.delete {
            store.remove_record(id)?;
        }
        Ok(())
    }
}

impl<'a> Planner<'a> {
    fn listed(&self, id: &Digest) -> Option<&'a Listed> {
        self.images.iter().find(|image| image.record.id == *id)
    }

    /// Tags of the image that the plan leaves so far.
    fn references(&self, id: &Digest) -> Vec<&'a Reference> {
        let all = self.listed(id).map_or(&[][..], |image| &image.references);
        all.iter().filter(|r| !self.plan.untag.contains(r)).collect()
    }

    /// Digests by which registries have the image, those that the plan leaves so far.
    fn digests(&self, id: &Digest) -> Vec<Reference> {
        let record = self.listed(id).map(|image| &image.record);
        let all = record.into_iter().flat_map(|record| record.digest_names());
        let parsed = all.filter_map(|name| Reference::parse(name).ok());
        parsed.filter(|name| !self.plan.forget.iter().any(|(of, gone)| of == id && gone == name)).collect()
    }

    fn is_named(&self, id: &Digest) -> bool {
        !self.references(id).is_empty() || !self.digests(id).is_empty()
    }

    /// Whether the names are all of one repository, with one tag at most. An image without names has not got that.
    fn has_one_name(&self, id: &Digest) -> bool {
        let (tags, digests) = (self.references(id), self.digests(id));
        match (tags.as_slice(), digests.first()) {
            ([], first) => first.is_some_and(|first| digests.iter().all(|name| name.same_repository(first))),
            ([tag], _) => digests.iter().all(|name| name.same_repository(tag)),
            _ => false,
        }
    }

    fn forget(&mut self, id: &Digest, name: Reference) {
        self.plan.lines.push(Removed::Untagged(name.familiar_with_tag()));
        self.plan.forget.push((id.clone(), name));
    }

    fn untag(&mut self, reference: &Reference) {
        self.plan.untag.push(reference.clone());
        self.plan.lines.push(Removed::Untagged(reference.familiar_with_tag()));
    }

    fn user(&self, id: &Digest, running: bool) -> Option<&'a ContainerUse> {
        self.uses.iter().find(|u| u.image == *id && u.running == running)
    }

    fn by_reference(&mut self, id: &Digest, reference: &Reference, typed: &str, options: Options) -> Result<()> {
        let user = self.user(id, true).or_else(|| self.user(id, false));
        if self.has_one_name(id)
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
        self.remove_name(id, reference);
        if !self.is_named(id) && self.obstacle(id, options.force).is_none() && user.is_none() {
            self.delete(id, options);
        }
        Ok(())
    }

    /// Removes one name; with the last tag of a repository also the digests that the image has there.
    fn remove_name(&mut self, id: &Digest, name: &Reference) {
        if name.digest().is_some() {
            let same = |known: &Reference| known.same_repository(name) && known.digest() == name.digest();
            self.digests(id).into_iter().filter(same).for_each(|known| self.forget(id, known));
            return;
        }
        self.references(id).into_iter().filter(|known| *known == name).for_each(|known| self.untag(known));
        if !self.references(id).iter().any(|known| known.same_repository(name)) {
            let there = |known: &Reference| known.same_repository(name);
            self.digests(id).into_iter().filter(there).for_each(|known| self.forget(id, known));
        }
    }

    fn remove_names(&mut self, id: &Digest) {
        self.references(id).into_iter().for_each(|known| self.untag(known));
        self.digests(id).into_iter().for_each(|known| self.forget(id, known));
    }

    fn by_id(&mut self, id: &Digest, options: Options) -> Result<()> {
        let many = self.is_named(id) && !self.has_one_name(id) && !options.force;
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
            if !self.is_named(id) {
                let reason = format!("image is being used by stopped container {}", short(&user.id));
                let message = format!("conflict: unable to delete {} (cannot be forced) - {reason}", id.short());
                let hint = format!("it stays for its container: lrun rm {}", short(&user.id));
                return Err(Error::new(ErrorKind::Conflict, message).hint(hint));
            }
            self.remove_names(id);
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
            self.remove_names(&id);
            self.plan.delete.push(id.clone());
            self.plan.lines.push(Removed::Deleted(id.clone()));
            self.delete_layers(image);
            let parent = image.record.parent.as_ref().filter(|_| !options.no_prune);
            next = parent
                .filter(|p| !self.plan.delete.contains(p) && !self.is_named(p))
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

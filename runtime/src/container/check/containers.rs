//! Containers' records, specs and names.

use oci_spec::runtime::Spec;

use super::Check;
use crate::container::names::{ContainerId, ContainerName};
use crate::container::record::Record;
use crate::error::Result;
use crate::file::{self, Lock, LockState};
use crate::paths::ContainerPaths;

impl Check<'_> {
    pub(super) fn containers(&mut self) -> Result<()> {
        let mut named: Vec<(ContainerName, ContainerId)> = Vec::new();
        for name in file::list_dir(&self.root().containers())? {
            match ContainerId::parse(&name) {
                Ok(id) => named.extend(self.container(&id)?.map(|record| (record.name, id))),
                Err(_) => self.leftover(format!("containers/{name}: is no container")),
            }
        }
        self.names(&named)?;
        self.trash()
    }

    /// What `undelete` needs of removed containers.
    fn trash(&mut self) -> Result<()> {
        for name in file::list_dir(&self.root().trash())? {
            let paths = ContainerPaths::at(self.root().trash().join(&name));
            let place = format!("trash {}", name.rsplit('-').next().and_then(|id| id.get(..12)).unwrap_or(&name));
            let hint = "lrun container prune empties the trash";
            self.sealed::<Record>(&paths.record(), &format!("{place}: record"), hint)?;
            self.sealed::<Spec>(&paths.spec(), &format!("{place}: spec"), hint)?;
        }
        Ok(())
    }

    fn container(&mut self, id: &ContainerId) -> Result<Option<Record>> {
        let paths = self.root().container(id.as_str());
        let hint = format!("its files are in {}; lrun rm -f {} removes it", paths.layer_diff().display(), id.short());
        let record: Option<Record> =
            self.sealed(&paths.record(), &format!("container {}: record", id.short()), &hint)?;
        let words = match &record {
            Some(record) => format!("container {}", record.name),
            None => format!("container {}", id.short()),
        };
        let spec_hint = format!("it cannot be started; lrun commit {} makes an image of its files", id.short());
        self.sealed::<Spec>(&paths.spec(), &format!("{words}: spec"), &spec_hint)?;
        for (path, what) in [(paths.layer_diff(), "its read-write layer"), (paths.lock(), "its lock")] {
            if !file::exists(&path)? {
                self.tell(format!("{words}: {what} is missing"), false, Some(hint.clone()));
            }
        }
        let Some(record) = record else { return Ok(None) };
        if record.id != *id {
            self.tell(format!("{words}: record: is another container's"), false, Some(hint));
        }
        let noted = record.pending_commit.as_ref().map(|note| note.layer.clone());
        for layer in record.layers.iter().cloned() {
            let users = self.users.entry(layer).or_default();
            // An image's name says more.
            if users.is_empty() {
                users.push(words.clone());
            }
        }
        if let Some(noted) = noted.filter(|_| self.options.repair) {
            // A commit that was interrupted is ended when the container is used next.
            self.leftover(format!("{words}: a commit of layer {} was interrupted", noted.short()));
        }
        if Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Held) {
            self.running.extend(record.layers.iter().cloned());
        }
        if !self.blobs.contains_key(&record.image.id) {
            let image = record.image.id.clone();
            self.blob(&image, &format!("{words}: config of its image"))?;
            self.blobs.entry(image).or_default().push(words);
        }
        Ok(Some(record))
    }

    fn names(&mut self, named: &[(ContainerName, ContainerId)]) -> Result<()> {
        let all = super::all_containers(self.engine);
        for (name, id) in named {
            if all.name_target(name)?.as_ref() != Some(id) {
                let mended = self.options.repair && all.restore_name(name, id).is_ok();
                let line = format!("name {name}: does not point to its container {}", id.short());
                let hint = "lrun system check --repair points it there; by its id the container can be used".to_owned();
                self.tell(line, mended, Some(hint));
            }
        }
        if self.options.repair {
            all.drop_stale_names()?;
        }
        for name in file::list_dir(&self.root().names())? {
            if !named.iter().any(|(own, _)| own.as_str() == name) {
                self.leftover(format!("name {name}: no container has it"));
            }
        }
        Ok(())
    }
}

//! Creating a container: the image is resolved, the Spec built, the record written. Runs in the CLI.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oci_spec::runtime::Spec;

use super::engine::Engine;
use super::launch::{Host, container_spec, effective_network, image_facts, verify};
use super::names::{ContainerId, ContainerName};
use super::options::RunOptions;
use super::options::mounts::clean_absolute;
use super::record::{Container, Containers, IMAGE, ImageUse, NameChoice, RECORD_VERSION, REFERENCE, Record, State};
use super::sources;
use super::spec::container_config;
use crate::error::{Error, ErrorKind, Result};
use crate::file::{self, Durability, Lock};
use crate::image::config::{ImageConfig, RunConfig};
use crate::image::store::Image;
use crate::reference::Reference;
use crate::sandbox::lower::MOST_LAYERS;

/// A container that was just made, locked by the caller.
#[derive(Debug)]
pub struct Created {
    /// Its directory and lock.
    pub container: Container,
    /// Its record.
    pub record: Record,
    /// Its Spec.
    pub spec: Spec,
}

/// A container of which everything is decided and nothing is written. The image stays as long as this is held.
#[derive(Debug)]
pub struct Draft<'a> {
    engine: &'a Engine,
    name: NameChoice,
    record: Record,
    spec: Spec,
    platform: [String; 3],
    _using: Lock,
}

impl Draft<'_> {
    /// The same on nothing: its read-write layer is a layer of its own, whatever it is put onto.
    #[must_use]
    pub fn without_layers(mut self) -> Self {
        self.record.layers.clear();
        self.record.image_depth = 0;
        self
    }

    /// The operating system, architecture and variant that the image is for.
    pub fn platform(&self) -> [&str; 3] {
        self.platform.each_ref().map(String::as_str)
    }

    /// Makes the container. It is on disk when this returns, unless it removes itself when it ends.
    pub fn write(self) -> Result<Created> {
        let durability = if self.record.auto_remove { Durability::Relaxed } else { Durability::Flushed };
        self.write_as(durability)
    }

    /// The same, where nobody hears of the container yet.
    pub fn write_relaxed(self) -> Result<Created> {
        self.write_as(Durability::Relaxed)
    }

    fn write_as(mut self, durability: Durability) -> Result<Created> {
        let containers = Containers::new(self.engine.root());
        let bytes = file::to_json(&self.spec)?;
        let container = containers.create(&mut self.record, &bytes, self.name, durability)?;
        Ok(Created { container, record: self.record, spec: self.spec })
    }
}

/// Decides a container: resolves its image, builds its Spec and record. `by_run`: the caller starts it at once.
pub fn draft<'a>(engine: &'a Engine, options: &RunOptions, host: &Host, by_run: bool) -> Result<Draft<'a>> {
    let name = match &options.name {
        Some(name) => NameChoice::Given(ContainerName::parse(name)?),
        None => NameChoice::Generated,
    };
    let using = engine.store.lock_shared()?;
    let image = find_image(engine, &options.image)?;
    let layers = image.record.layers.clone();
    if layers.len() > MOST_LAYERS {
        let message =
            format!("image {} has {} layers; the kernel stacks at most {MOST_LAYERS}", options.image, layers.len());
        return Err(Error::new(ErrorKind::Unsupported, message)
            .hint("make an image with fewer: `lrun commit --squash` merges a container's layers into one"));
    }
    let facts = image_facts(&image.config);
    let config = container_config(options, &facts)?;
    let id = ContainerId::random()?;
    let network = effective_network(&options.network, host)?;
    let mut spec = container_spec(engine, options, &facts, id.as_str(), &network, host)?;
    // Should the record be damaged, the container is found again by these.
    if !options.rm {
        spec.set_annotations(Some(annotations(&image, options)));
    }
    verify(engine, engine.root().container(id.as_str()).path(), options, &spec)?;
    sources::prepare(options)?;
    let placeholder = ContainerName::parse(id.short())?;
    let record = Record {
        version: RECORD_VERSION,
        id,
        name: placeholder,
        created: jiff::Timestamp::now(),
        image: ImageUse { id: image.id.clone(), reference: options.image.clone() },
        command: config.entrypoint.iter().chain(&config.cmd).cloned().collect(),
        state: State::default(),
        labels: config.labels.clone(),
        auto_remove: options.rm,
        by_run,
        ports: exposed_ports(&image.config.config, options),
        volumes: volumes(engine, &image.config.config),
        image_depth: layers.len(),
        layers,
        history: Vec::new(),
        prepared: false,
        pending_commit: None,
        restart_count: 0,
        options: options.to_record()?,
        extra: BTreeMap::new(),
    };
    let ImageConfig { os, architecture, variant, .. } = image.config;
    Ok(Draft { engine, name, record, spec, platform: [os, architecture, variant], _using: using })
}

/// What the spec says of the image; see [`super::check`].
fn annotations(image: &Image, options: &RunOptions) -> HashMap<String, String> {
    [(IMAGE, image.id.to_string()), (REFERENCE, options.image.clone())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// The ports that the image exposes and those that the user does, each once.
fn exposed_ports(image: &RunConfig, options: &RunOptions) -> Vec<String> {
    let all: BTreeSet<&String> = image.exposed_ports.keys().chain(&options.expose).collect();
    all.into_iter().cloned().collect()
}

/// The directories that the image names as volumes. In a build nothing is made for them: the image would have it.
fn volumes(engine: &Engine, image: &RunConfig) -> Vec<String> {
    if engine.root().build().is_some() {
        return Vec::new();
    }
    let clean = image.volumes.keys().filter_map(|path| clean_absolute(&format!("/{path}")));
    clean.filter(|path| path != "/").collect()
}

/// The image to run, which nothing but the store can give.
fn find_image(engine: &Engine, text: &str) -> Result<Image> {
    if let Err(error) = engine.store.find(text)
        && error.kind() == ErrorKind::NotFound
    {
        let name = Reference::parse(text).map_or_else(|_| text.to_owned(), |name| name.familiar_with_tag());
        return Err(Error::new(ErrorKind::NotFound, format!("No such image: {name}"))
            .hint("`lrun images` lists what is there; `lrun import ARCHIVE NAME` makes an image"));
    }
    engine.store.resolve(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::options::Network;
    use crate::idmap::{Extent, IdMap, Mode};
    use crate::image::store::tests::{add_layer, open, scratch};

    #[test]
    fn an_image_of_too_many_layers_is_refused_with_the_way_out() {
        let dir = scratch();
        let extent = vec![Extent { inside: 0, outside: rustix::process::geteuid().as_raw(), count: 1 }];
        let map = IdMap::new(Mode::Single, extent.clone(), extent);
        let engine = Engine { store: open(&dir), map };
        let layer = add_layer(&engine.store, "one for all");
        for (count, name) in [(MOST_LAYERS, "deep"), (MOST_LAYERS + 1, "deeper")] {
            let config =
                serde_json::json!({"config": {}, "rootfs": {"type": "layers", "diff_ids": vec![&layer; count]}});
            let name = Reference::parse(name).unwrap();
            engine.store.publish_image(config.to_string().as_bytes(), None, &[name]).unwrap();
        }
        let host = Host { hostname: "host".to_owned(), pasta: Err(Error::new(ErrorKind::Unsupported, "none")) };
        let options = |image: &str| RunOptions {
            image: image.to_owned(),
            command: vec!["true".to_owned()],
            network: Network::None,
            ..RunOptions::default()
        };
        draft(&engine, &options("deep"), &host, false).unwrap().write().unwrap();
        let error = draft(&engine, &options("deeper"), &host, false).unwrap_err();
        assert_eq!(error.to_string(), "image deeper has 499 layers; the kernel stacks at most 498");
        assert!(error.hint_text().unwrap().contains("lrun commit --squash"));
        let containers = crate::file::list_dir(&engine.root().path().join("containers")).unwrap();
        assert_eq!(containers.len(), 1, "nothing was made for the second");
    }
}

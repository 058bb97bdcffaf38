//! The images that stages are based on and copy from.

use std::collections::BTreeMap;

use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::store::Image;
use lrun_runtime::registry::platform::Platform;

use super::super::pull;
use super::contexts;
use crate::args::{Global, Pulling};

/// Where they come from.
pub struct Bases<'a> {
    /// The settings.
    pub global: &'a Global,
    /// The store.
    pub engine: &'a Engine,
    /// What this machine is.
    pub machine: &'a Platform,
    /// When they are pulled.
    pub pulling: &'a Pulling,
    /// Those that were found.
    pub known: BTreeMap<(String, String), Image>,
}

impl Bases<'_> {
    /// The same image each time that a build asks for it, whatever becomes of the name meanwhile.
    pub fn find_once(&mut self, name: &str, platform: &Platform) -> Result<Image> {
        let word = (name.to_owned(), platform.to_string());
        if let Some(image) = self.known.get(&word) {
            return Ok(image.clone());
        }
        let image = self.find(name, platform)?;
        self.known.insert(word, image.clone());
        Ok(image)
    }

    /// The image of this name for this platform. One for another machine is taken from the store if it is what the name stands
    /// for there; else it is pulled, and the name stays with the image that it stands for.
    fn find(&self, name: &str, platform: &Platform) -> Result<Image> {
        let store = &self.engine.store;
        if let Some(image) = contexts::of_layout(self.engine, name) {
            return image;
        }
        if platform == self.machine {
            let word = pull::ensure(self.global, self.engine, name.to_owned(), self.pulling)?;
            return store.resolve(&word);
        }
        let here = store.resolve(name).ok();
        if let Some(image) = here.filter(|image| is_for(image, platform)) {
            return Ok(image);
        }
        let image = pull::exact(self.global, self.engine, name, platform, self.pulling.quiet)?;
        match is_for(&image, platform) {
            true => Ok(image),
            false => Err(Error::new(ErrorKind::NotFound, format!("image {name} is not for {platform}"))),
        }
    }
}

fn is_for(image: &Image, platform: &Platform) -> bool {
    let config = &image.config;
    platform.accepts(&Platform::new(&config.os, &config.architecture, &config.variant))
}

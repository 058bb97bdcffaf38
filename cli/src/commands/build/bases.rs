//! The images that stages are based on and copy from.

use std::collections::BTreeMap;

use lrun_runtime::container::engine::Engine;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::store::Image;
use lrun_runtime::reference::Lookup;
use lrun_runtime::registry::platform::Platform;

use super::super::pull;
use super::contexts;
use crate::args::{Global, Pulling, When};

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
        let name = &not_by_chance(name);
        if platform == self.machine {
            let word = pull::ensure(self.global, self.engine, name.to_owned(), self.pulling)?;
            return store.resolve(&word);
        }
        let here = if self.pulling.when == When::Always { None } else { store.resolve(name).ok() };
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

/// Digits of an image's id that are taken for one in a Dockerfile: as many as are shown.
const ID_DIGITS: usize = 12;

/// A name of few hex digits (`ada`, a stage that is not there) is a name, and not the image whose id begins so.
fn not_by_chance(name: &str) -> String {
    match Lookup::parse(name) {
        Ok(Lookup { prefix: Some(prefix), reference: Some(reference), .. }) if prefix.len() < ID_DIGITS => {
            reference.familiar_with_tag()
        }
        _ => name.to_owned(),
    }
}

fn is_for(image: &Image, platform: &Platform) -> bool {
    let config = &image.config;
    platform.accepts(&Platform::new(&config.os, &config.architecture, &config.variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hex_digits_are_a_name() {
        for (name, taken) in [
            ("ada", "ada:latest"),
            ("0", "0:latest"),
            ("0123456789ab", "0123456789ab"),
            ("sha256:01", "sha256:01"),
            ("ada:1", "ada:1"),
            ("debian", "debian"),
        ] {
            assert_eq!(not_by_chance(name), taken, "{name}");
        }
    }
}

//! The contexts of `build`: what `--build-context` names, and what is elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use lrun_runtime::build::context::{Context as Files, Patterns};
use lrun_runtime::build::dockerfile::{self, Source};
use lrun_runtime::build::given::Secrets;
use lrun_runtime::build::remote::address::without_user;
use lrun_runtime::build::remote::{Address, Downloaded, Remote};
use lrun_runtime::build::{Contexts, Event, Later, Named, Telling, context_name};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::file::{self, Staging};
use lrun_runtime::image::archive::{LoadOptions, Pick, Source as Images, load};
use lrun_runtime::image::store::Image;

use super::super::access;
use crate::args::BuildArgs;
use crate::context;
use crate::ui::{escape, output};

/// What `git` gets of the environment: where programs are, the way to servers, and whom they trust.
const GIT_ENV: [&str; 15] = [
    "PATH",
    "USER",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];
const IMAGE: &str = "docker-image://";
const LAYOUT: &str = "oci-layout://";
/// docker's way to ask for `.git` in the context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1";

/// The way to what is elsewhere; files go into the build's staging directory.
pub fn elsewhere(staging: &Staging, secrets: &Secrets) -> Result<Remote> {
    let value = |name: &&str| Some((OsString::from(name), context::env_os(name)?));
    let folder = std::path::absolute(staging.path()).context(|| "find the store")?;
    Ok(Remote::new(folder, GIT_ENV.iter().filter_map(value).collect(), secrets.clone(), Box::new(access::servers)))
}

/// What a context is the address of; `None`: it is a path.
pub fn address(context: &Path) -> Result<Option<Address>> {
    match context.to_str() {
        Some(text) if !context.is_dir() => Address::of_context(text),
        _ => Ok(None),
    }
}

/// Whether a Dockerfile is named by a URL, a good one or not.
pub fn is_url(path: &Path) -> bool {
    matches!(path.to_str().map(Address::of), Some(Ok(Some(Address::File(_))) | Err(_)))
}

/// How what is elsewhere comes here.
pub struct Way<'w> {
    /// The store.
    pub engine: &'w Engine,
    /// The way.
    pub remote: &'w Remote,
    /// Is told how far it is.
    pub tell: &'w mut dyn FnMut(Event<'_>),
}

impl Way<'_> {
    /// The Dockerfile and the context that are at an address.
    pub fn context(&mut self, address: &Address, args: &BuildArgs) -> Result<(Source, Files)> {
        let files = match address {
            Address::Repository(repository) => {
                let mut repository = repository.clone();
                if args.build_arg.iter().any(|given| given == KEEP_GIT_DIR) {
                    repository.keep_git_dir = Some(true);
                }
                self.remote.repository(&repository)?
            }
            Address::File(url) => match self.download(url)? {
                Downloaded::Archive(files, warnings) => {
                    for warning in warnings {
                        output::complain(&format!("WARNING: {}", escape::line(&warning)));
                    }
                    files
                }
                Downloaded::File(bytes) => {
                    // Without a context: nothing can be copied.
                    return Ok((Source::new(without_user(url).0, &bytes)?, self.remote.empty()?));
                }
            },
        };
        super::of_files(args, files)
    }

    /// The Dockerfile at a URL.
    pub fn dockerfile(&mut self, url: &Path) -> Result<(String, Vec<u8>)> {
        let url = url.display().to_string();
        Address::of(&url)?;
        let shown = without_user(&url).0;
        match self.download(&url)? {
            Downloaded::File(bytes) => Ok((shown, bytes)),
            Downloaded::Archive(..) => {
                Err(Error::new(ErrorKind::Invalid, format!("{shown} is an archive, no Dockerfile")))
            }
        }
    }

    fn download(&mut self, url: &str) -> Result<Downloaded> {
        let mut progress = Telling::new(self.tell, url);
        let tell = &mut |bytes, total| progress.tell(bytes, total);
        self.remote.context(self.engine.root(), url, dockerfile::SIZE_MAX as u64, tell)
    }
}

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
    if let Some(address) = address(Path::new(place))? {
        return Ok(Named::Later(Arc::new(Later::new(address))));
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
    let source = Images::Directory(file::open_dir(Path::new(path))?);
    let options = LoadOptions { pick: Some(Pick { tag, digest }), ..LoadOptions::default() };
    let loaded = load(&engine.store, &engine.map, source, &options, &mut |_| {}, &mut |path| engine.remove_tree(path))?;
    let none = || Error::new(ErrorKind::NotFound, "the layout has no image");
    engine.store.image(&loaded.images.first().ok_or_else(none)?.id)
}

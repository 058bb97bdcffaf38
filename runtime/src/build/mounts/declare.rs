//! From what `RUN --mount` says to what is mounted, and the part of the cache's key that it makes.
//!
//! docker's rules: a relative target is below the working directory, which also is what is meant without one; a secret is at
//! `/run/secrets/<id>`, an agent at `/run/buildkit/ssh_agent.<n>`; what is not required and not there is not mounted. Of a
//! bind the key has what its files are, of all others only what is written.

use std::sync::Arc;

use super::sources;
use super::{Base, Cache, Declared, Shows, Wanted};
use crate::build::cache::Key;
use crate::build::context::Context;
use crate::build::dockerfile::instruction::{Mount, MountKind, Run, Sharing as Written, last_name};
use crate::build::dockerfile::{Origin, SCRATCH, Word};
use crate::build::driver::{Build, Progress, Stage};
use crate::build::given::Agent;
use crate::build::origin::Place;
use crate::container::cache_mounts::Sharing;
use crate::container::options::mounts::{check_target, clean_absolute};
use crate::container::passing::Variable;
use crate::digest::Digest;
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::idmap::{IdMap, Mode};
use crate::sandbox::plan::{Content, Own};

/// Where an SSH client looks for its agent.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// What a bind or a cache is from.
enum Found {
    /// Files; `None`: those of the build's context.
    Files(Option<Arc<Context>>),
    /// An image, and its layers.
    Image(Digest, Vec<Digest>),
    /// Nothing.
    Scratch,
}

impl Build<'_> {
    /// What the mounts of a RUN come to; adds to the key what its result depends on.
    pub(in crate::build) fn declared(&mut self, stage: &mut Stage<'_>, run: &Run, key: &mut Key) -> Progress<Declared> {
        let mut declared = Declared::default();
        for (mount, flag) in run.mounts.iter().zip(&run.mount_flags) {
            key.add("mount", written(mount).as_bytes());
            self.declare(stage, mount, (key, &mut declared)).map_err(|error| placed(stage, flag, error))?;
        }
        Ok(declared)
    }

    fn declare(&mut self, stage: &Stage<'_>, mount: &Mount, (key, declared): (&mut Key, &mut Declared)) -> Result<()> {
        let shows = match mount.kind {
            MountKind::Bind => {
                let from = self.mounted_from(mount)?;
                self.bind(mount, from, key)?
            }
            MountKind::Cache => {
                let from = self.mounted_from(mount)?;
                Shows::Cache(Box::new(self.cache(mount, from, key)?))
            }
            MountKind::Tmpfs => Shows::Memory(mount.size),
            MountKind::Secret => return self.secret(stage, mount, declared),
            MountKind::Ssh => return self.agent(stage, mount, declared),
        };
        let target = target(stage, mount, None)?;
        declared.mounts.push(Wanted { target, read_only: mount.read_only, shows });
        Ok(())
    }

    fn mounted_from(&mut self, mount: &Mount) -> Result<Found> {
        let Some(from) = &mount.from else {
            return Ok(if mount.kind == MountKind::Bind { Found::Files(None) } else { Found::Scratch });
        };
        let origin = self.file.mount_from(&from.text);
        if matches!(origin, Origin::Other(SCRATCH)) && self.named(origin).is_none() {
            return Ok(Found::Scratch);
        }
        Ok(match self.place(origin).context(|| format!("from={from}"))? {
            Place::Files(context) => Found::Files(Some(context)),
            Place::Image(image) => {
                let layers = self.steps.engine.store.image_record(&image)?.layers;
                Found::Image(image, layers)
            }
        })
    }

    fn bind(&mut self, mount: &Mount, from: Found, key: &mut Key) -> Result<Shows> {
        let path = inside(mount)?;
        let layers = match from {
            Found::Files(named) => {
                let context = named.as_deref().unwrap_or(self.context);
                let mut selection = context.select_path(path.as_bytes())?;
                let digest = context.digest(&mut selection, &sources::placed(), &mut self.hashes)?;
                key.add("files", digest.as_str().as_bytes());
                return Ok(Shows::Files(digest, named, Box::new(selection)));
            }
            Found::Scratch if path == "/" => Vec::new(),
            Found::Scratch => return Err(Error::new(ErrorKind::NotFound, format!("there is no {path}"))),
            Found::Image(image, layers) if path != "/" => {
                key.add("files", sources::digest(self, &image, &path)?.as_str().as_bytes());
                layers
            }
            Found::Image(_, layers) => layers,
        };
        if path == "/" {
            layers.iter().for_each(|layer| key.add("below", layer.as_str().as_bytes()));
        }
        Ok(Shows::Layers(layers, path))
    }

    fn cache(&mut self, mount: &Mount, from: Found, key: &mut Key) -> Result<Cache> {
        let path = inside(mount)?;
        let id = mount.id.clone().unwrap_or_else(|| clean(mount.target.as_deref().unwrap_or_default()));
        let mut parts = vec![("id", id.clone())];
        let (whole, bare) = (path == "/", matches!(from, Found::Scratch));
        let given = mount.mode.is_some() || mount.uid.is_some() || mount.gid.is_some();
        // Those that are made otherwise are others, as in docker. With a source they say nothing of the cache itself.
        if given && whole {
            parts.push(("own", format!("{:?} {:?} {:?}", mount.mode, mount.uid, mount.gid)));
        }
        let (base, path) = match from {
            Found::Scratch => (None, if whole { String::new() } else { path }),
            Found::Image(image, layers) => {
                parts.extend(layers.iter().map(|layer| ("below", layer.to_string())));
                parts.push(("source", path.clone()));
                (Some(Base::Image(image, path)), String::new())
            }
            Found::Files(named) => {
                let context = named.as_deref().unwrap_or(self.context);
                let mut selection = context.select_path(path.as_bytes())?;
                let digest = context.digest(&mut selection, &sources::placed(), &mut self.hashes)?;
                parts.push(("files", digest.to_string()));
                (Some(Base::Files(named, Box::new(selection), path.clone())), String::new())
            }
        };
        let mut own_key = Key::default();
        for (what, value) in &parts {
            own_key.add(what, value.as_bytes());
            key.add(what, value.as_bytes());
        }
        Ok(Cache {
            key: own_key.finish().0,
            id,
            sharing: match mount.sharing {
                None | Some(Written::Shared) => Sharing::Shared,
                Some(Written::Private) => Sharing::Private,
                Some(Written::Locked) => Sharing::Locked,
            },
            path,
            base,
            // A source of an image or context is there already.
            own: match given && (whole || bare) {
                true => Some(own(mount, 0o755, &self.steps.engine.map)?),
                false => None,
            },
        })
    }

    fn secret(&self, stage: &Stage<'_>, mount: &Mount, declared: &mut Declared) -> Result<()> {
        let id = mount.secret_id();
        let Some(secret) = self.options.secrets.get(&id) else {
            if !mount.required {
                return Ok(());
            }
            let text = format!("secret {id}: not found");
            return Err(Error::new(ErrorKind::NotFound, text).hint(format!("--secret id={id},src=FILE gives it")));
        };
        if let Some(name) = &mount.env {
            let name = if name.is_empty() { id.clone() } else { name.clone() };
            let value = String::from_utf8(secret.0.clone()).ok().filter(|value| !value.contains('\0'));
            let text = || format!("secret {id}: it is no text, and cannot be a variable");
            let value = value.ok_or_else(|| Error::new(ErrorKind::Invalid, text()))?;
            declared.env.push(Variable { name, value });
            if mount.target.is_none() {
                return Ok(());
            }
        }
        let target = target(stage, mount, Some(format!("/run/secrets/{}", last_name(&id))))?;
        let own = own(mount, 0o400, &self.steps.engine.map)?;
        let shows = Shows::File(Content(secret.0.clone()), own, false);
        declared.mounts.push(Wanted { target, read_only: true, shows });
        Ok(())
    }

    fn agent(&self, stage: &Stage<'_>, mount: &Mount, declared: &mut Declared) -> Result<()> {
        let id = mount.agent_id();
        let Some(Agent::Socket(agent)) = self.options.agents.get(id) else {
            if !mount.required {
                return Ok(());
            }
            let text = format!("no SSH key {id:?} forwarded from the client");
            return Err(Error::new(ErrorKind::NotFound, text).hint(format!("--ssh {id} gives it")));
        };
        let number = declared.mounts.iter().filter(|wanted| matches!(wanted.shows, Shows::Agent(..))).count();
        let target = target(stage, mount, Some(format!("/run/buildkit/ssh_agent.{number}")))?;
        let own = own(mount, 0o600, &self.steps.engine.map)?;
        if number == 0 && stage.lookup(AGENT_VARIABLE).is_none() {
            declared.env.push(Variable { name: AGENT_VARIABLE.to_owned(), value: target.clone() });
        }
        declared.mounts.push(Wanted { target, read_only: true, shows: Shows::Agent(agent.clone(), own) });
        Ok(())
    }
}

/// An error, where the mount is written.
fn placed(stage: &Stage<'_>, flag: &Word, error: Error) -> Error {
    let placed = stage.source.error(flag.at, format!("--mount: {error}")).with_kind(error.kind());
    match error.hint_text() {
        Some(hint) => placed.hint(hint),
        None => placed,
    }
}

/// A mount as it is written, for the key.
fn written(mount: &Mount) -> String {
    let from = mount.from.as_ref().map(|from: &Word| from.text.as_str());
    let Mount { kind, source, target, read_only, size, id, sharing, required, env, mode, uid, gid, .. } = mount;
    format!(
        "{} from {from:?} source {source:?} target {target:?} read-only {read_only} size {size} id {id:?} \
         sharing {sharing:?} required {required} env {env:?} mode {mode:?} uid {uid:?} gid {gid:?}",
        kind.name()
    )
}

/// Where a mount goes. `default`: where without a target, instead of the working directory.
fn target(stage: &Stage<'_>, mount: &Mount, default: Option<String>) -> Result<String> {
    let target = mount.target.clone().or(default).unwrap_or_else(|| ".".to_owned());
    check_target(&stage.state.absolute(&target))
}

/// The source of a bind as an absolute path inside what it is from.
fn inside(mount: &Mount) -> Result<String> {
    let source = mount.source.as_deref().unwrap_or("/");
    let invalid = || Error::new(ErrorKind::Invalid, format!("source={source}: no path"));
    clean_absolute(&format!("/{source}")).ok_or_else(invalid)
}

/// A path cleaned by its letters, as it stands for the id of a cache.
fn clean(path: &str) -> String {
    let clean = clean_absolute(&format!("/{path}")).unwrap_or_default();
    if path.starts_with('/') { clean } else { clean.trim_start_matches('/').to_owned() }
}

/// The mode and owner that a mount asks for.
fn own(mount: &Mount, mode: u32, map: &IdMap) -> Result<Own> {
    let (uid, gid) = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
    // With a single id all files are its, and every user of a container is that.
    let owner = (map.mode != Mode::Single).then_some((uid, gid));
    if owner.is_some() && !(map.has_uid(uid) && map.has_gid(gid)) {
        let text = format!("uid={uid} and gid={gid} are not both among the ids that a container has");
        return Err(Error::new(ErrorKind::Unsupported, text).hint("`lrun info` shows the id mapping"));
    }
    Ok(Own { mode: mount.mode.unwrap_or(mode) & 0o7777, owner })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_and_caches() {
        for (path, name) in [("/run/secrets/key", "key"), ("key", "key"), ("a/b/", "b"), ("", ""), ("/", "")] {
            assert_eq!(last_name(path), name, "{path}");
        }
        for (path, id) in [("/a/../b/", "/b"), ("a/./b", "a/b"), ("../../x", "x"), ("", "")] {
            assert_eq!(clean(path), id, "{path}");
        }
    }

    #[test]
    fn a_source_stays_inside() {
        for (source, path) in [(None, "/"), (Some("../../etc"), "/etc"), (Some("/a//b/."), "/a/b")] {
            let mount = Mount { source: source.map(str::to_owned), ..Mount::default() };
            assert_eq!(inside(&mount).expect("a path"), path);
        }
    }
}

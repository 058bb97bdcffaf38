//! `pull`: an image comes from a registry; and what `run` and `create` pull by themselves.

use lrun_runtime::container::check::Source;
use lrun_runtime::container::engine::Engine;
use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::store::Image;
use lrun_runtime::reference::{DEFAULT_TAG, Reference};
use lrun_runtime::registry::client::Purpose;
use lrun_runtime::registry::platform::Platform;
use lrun_runtime::transfer::{Parts, PullOptions, Pulled, pull};

use super::access::{Registries, own_platform, transfers};
use super::images;
use crate::args::{Global, PullArgs, Pulling, When};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &PullArgs) -> Result<u8> {
    let registries = Registries::open(global)?;
    let reference = registries.settings.registries.qualify(&args.name)?;
    let named =
        args.name.contains('@') || reference.familiar_with_tag() == args.name || reference.to_string() == args.name;
    let engine = context::settled_engine(global)?;
    let options = options(args.platform.as_deref())?;
    if args.all_tags {
        return all(&engine, &registries, &reference, &options, (args.quiet, named));
    }
    if !named && reference.tag() == Some(DEFAULT_TAG) && !args.quiet && !args.name.ends_with(":latest") {
        output::complain(&format!("Using default tag: {DEFAULT_TAG}"));
    }
    let pulled = one(&engine, &registries, &reference, &options, args.quiet)?;
    tell(&reference, &pulled, args.quiet, &output::line);
    output::line(&reference.to_string());
    Ok(0)
}

/// `-a`.
fn all(
    engine: &Engine,
    registries: &Registries,
    reference: &Reference,
    options: &PullOptions,
    (quiet, named): (bool, bool),
) -> Result<u8> {
    if named && (reference.digest().is_some() || reference.tag() != Some(DEFAULT_TAG)) {
        return Err(Error::new(ErrorKind::Invalid, "tag can't be used with --all-tags/-a"));
    }
    let name = (reference.registry(), reference.repository());
    for tag in registries.client(name, Purpose::Pull)?.tags()? {
        let reference = reference.with_tag(&tag)?;
        let pulled = one(engine, registries, &reference, options, quiet)?;
        tell(&reference, &pulled, quiet, &output::line);
    }
    output::line(&format!("{}/{}", name.0, name.1));
    Ok(0)
}

fn options(platform: Option<&str>) -> Result<PullOptions> {
    let own = own_platform()?;
    let given = platform.filter(|platform| !platform.is_empty());
    let platform = given.map_or_else(|| Ok(own.clone()), |text| Platform::parse(text, &own))?;
    Ok(PullOptions { platform, explicit: given.is_some() })
}

/// What came, in docker's words; `say` takes a line. Of `pull` it is the result, of other commands a message.
fn tell(reference: &Reference, pulled: &Pulled, quiet: bool, say: &dyn Fn(&str)) {
    if quiet {
        return;
    }
    say(&format!("Digest: {}", pulled.digest));
    let what = if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    say(&format!("Status: {what} {}", reference.familiar_with_tag()));
}

fn one(
    engine: &Engine,
    registries: &Registries,
    reference: &Reference,
    options: &PullOptions,
    quiet: bool,
) -> Result<Pulled> {
    let shown = transfers(quiet);
    let clients = registries.sources(reference)?;
    let events = |event: lrun_runtime::transfer::Event<'_>| shown.tell(event);
    pull((&engine.store, &engine.map), &clients, reference, options, &events, &mut |path| engine.remove_tree(path))
}

/// Pulls what of an image is damaged or missing here, for a repair.
pub fn again(global: &Global, engine: &Engine, source: &Source) -> Result<()> {
    let registries = Registries::open(global)?;
    let reference = &source.reference;
    output::complain(&format!("Asking {} for {reference}", reference.registry()));
    let own = own_platform()?;
    let platform = source.platform.as_ref().map(|(os, machine, variant)| Platform::new(os, machine, variant));
    let options = PullOptions { platform: platform.unwrap_or(own), explicit: false };
    one(engine, &registries, reference, &options, true).map(drop)
}

/// Pulls the image of this name for a platform. The name stays with the image that it stands for here.
pub fn exact(global: &Global, engine: &Engine, name: &str, platform: &Platform, quiet: bool) -> Result<Image> {
    let registries = Registries::open(global)?;
    let reference = registries.settings.registries.qualify(name)?;
    let options = PullOptions { platform: platform.clone(), explicit: true };
    let shown = transfers(quiet);
    let events = |event: lrun_runtime::transfer::Event<'_>| shown.tell(event);
    let found = Parts::find(registries.sources(&reference)?, &reference, &options, &events)?;
    let named = format!("{}/{}@{}", reference.registry(), reference.repository(), found.manifest());
    let reference = Reference::parse(&named)?;
    let pulled = one(engine, &registries, &reference, &options, quiet)?;
    tell(&reference, &pulled, quiet, &output::complain);
    engine.store.image(&pulled.id)
}

/// Pulls what `run` or `create` needs. Gives the word by which the image is found in the store.
pub fn ensure(global: &Global, engine: &Engine, image: String, pulling: &Pulling) -> Result<String> {
    let wanted = pulling.platform.as_deref().filter(|platform| !platform.is_empty());
    // One for another machine is not what was asked for.
    let fits = |id: &Digest| match wanted {
        None => Ok(()),
        Some(_) => images::check_platform(&engine.store.image(id)?.config, &image, wanted),
    };
    let (here, unfit) = match engine.store.find(&image) {
        Ok(found) => fits(&found.id).map_or_else(|error| (false, Some(error)), |()| (true, None)),
        Err(error) if error.kind() == ErrorKind::NotFound => (false, None),
        Err(error) => return Err(error),
    };
    // The usual case: nothing else is looked at.
    if pulling.when == When::Never || here && pulling.when == When::Missing {
        return unfit.map_or(Ok(image), Err);
    }
    // An id is no name of a registry's.
    let Ok(plain) = Reference::parse(&image) else { return unfit.map_or(Ok(image), Err) };
    let registries = Registries::open(global)?;
    let reference = registries.settings.registries.qualify(&image)?;
    let word = if reference == plain { image.clone() } else { reference.familiar_with_tag() };
    let here = here || engine.store.find(&word).is_ok_and(|found| fits(&found.id).is_ok());
    if here && pulling.when == When::Missing {
        return Ok(word);
    }
    if !here && !pulling.quiet {
        output::complain(&format!("Unable to find image '{}' locally", reference.familiar_with_tag()));
    }
    let options = options(pulling.platform.as_deref())?;
    match one(engine, &registries, &reference, &options, pulling.quiet) {
        Ok(pulled) => {
            tell(&reference, &pulled, pulling.quiet, &output::complain);
            Ok(word)
        }
        Err(error) if here && pulling.when == When::Newer => {
            tracing::info!(%error, "the image that is here is used");
            Ok(word)
        }
        Err(error) if here && error.hint_text().is_none() => {
            Err(error.hint("the image that is here is used without --pull, or with --pull missing"))
        }
        Err(error) => Err(error),
    }
}

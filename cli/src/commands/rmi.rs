//! `rmi`: removes names of images, and images that have none left.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::lifecycle::containers;
use lrun_runtime::container::trash;
use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::remove::{Options, collect, remove_image};
use lrun_runtime::reference::Reference;

use super::images::check_platform;
use crate::args::{Global, RmiArgs};
use crate::context;
use crate::ui::output;

/// Runs the command. With `--force` an image that does not exist is told of, but is no failure, as in docker.
pub fn run(global: &Global, args: &RmiArgs) -> Result<u8> {
    let engine = context::settled_engine(global)?;
    let options = Options { force: args.force, no_prune: args.no_prune };
    let mut code = 0;
    let names = if args.all { all(&engine)? } else { args.images.clone() };
    for name in &names {
        if let Err(error) = remove(&engine, name, options, args.platform.as_deref()) {
            if (args.ignore || args.all) && error.kind() == ErrorKind::NotFound {
                continue;
            }
            output::error(&error);
            if !(args.force && error.kind() == ErrorKind::NotFound) {
                code = 1;
            }
        }
    }
    // What somebody's work in progress keeps from being collected, the next collection takes.
    let collected = collect(&engine.store, &|| containers(&engine).uses(), &mut |path| engine.remove_tree(path));
    // Removed containers that stood on what is gone cannot come back.
    match collected.and_then(|_| trash::follow(&engine)) {
        // What was in the way has been told already.
        Err(_) if code != 0 => Ok(code),
        other => other.map(|_| code),
    }
}

/// Every name of every image, and the id of those without one; what was made of an image comes before it.
fn all(engine: &Engine) -> Result<Vec<String>> {
    let mut images = engine.store.images()?.listed;
    images.sort_by_key(|image| std::cmp::Reverse(image.record.created));
    let names = images.into_iter().flat_map(|image| match image.references.is_empty() {
        true => vec![image.record.id.to_string()],
        false => image.references.iter().map(Reference::familiar_with_tag).collect(),
    });
    Ok(names.collect())
}

fn remove(engine: &Engine, name: &str, options: Options, platform: Option<&str>) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "image name cannot be blank"));
    }
    if platform.is_some() {
        check_platform(&engine.store.resolve(name)?.config, name, platform)?;
    }
    for line in remove_image(&engine.store, name, options, &|| containers(engine).uses())? {
        output::line(&line.to_string());
    }
    Ok(())
}

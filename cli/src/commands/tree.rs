//! `image tree`: which layers are shared by whom.

use std::collections::{BTreeSet, HashMap};

use lrun_runtime::digest::Digest;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};
use lrun_runtime::image::store::no_such_image;

use crate::args::{Global, TreeArgs};
use crate::context;
use crate::ui::output;
use crate::ui::tree::{Named, Stack, forest, json, text};

/// Runs the command.
pub fn run(global: &Global, args: &TreeArgs) -> Result<u8> {
    let as_json = match args.format.as_deref().unwrap_or("") {
        "" | "table" => false,
        "json" => true,
        other => {
            let text = format!("--format {other}: a tree is table or json");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    };
    let store = context::engine(global)?.store;
    let named = args.images.iter().map(|name| Ok((store.find(name)?.id, name))).collect::<Result<Vec<_>>>()?;
    let wanted: BTreeSet<&Digest> = named.iter().map(|(id, _)| id).collect();
    let images = store.images()?.whole()?;
    let mut used: HashMap<&Digest, usize> = HashMap::new();
    for image in &images {
        for layer in image.record.layers.iter().collect::<BTreeSet<_>>() {
            *used.entry(layer).or_default() += 1;
        }
    }
    let mut stacks: Vec<Stack> = Vec::new();
    // The oldest first: what others were made of.
    for image in images.iter().rev().filter(|image| wanted.is_empty() || wanted.contains(&image.record.id)) {
        let layer = |layer: &Digest| -> Result<(String, u64, usize)> {
            let size = store.layer_meta(layer).context(|| format!("layer {layer}"))?.content;
            Ok((layer.to_string(), size, used.get(layer).copied().unwrap_or_default()))
        };
        let layers = image.record.layers.iter().map(layer).collect::<Result<_>>();
        let layers = match layers {
            Err(_) if store.is_gone(&image.record.id) => continue,
            other => other?,
        };
        let names = image.references.iter().map(|name| name.familiar_with_tag()).collect();
        stacks.push((Named { id: image.record.id.to_string(), names }, layers));
    }
    if let Some((_, name)) = named.iter().find(|(id, _)| store.is_gone(id)) {
        return Err(no_such_image(name));
    }
    let roots = forest(stacks);
    match as_json {
        true => output::line(&json(&roots).to_string()),
        false => output::text(&text(&roots)),
    }
    Ok(0)
}

//! `image tree`: which layers images share. Images stand at their topmost layer, layers below those that they carry.

use serde_json::{Value as Json, json};

use crate::ui::{escape, units};

/// A layer on top of those it stands below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its digest, `sha256:…`.
    pub layer: String,
    /// Bytes of its files.
    pub size: u64,
    /// How many images have this layer, wherever it stands in them.
    pub used_by: usize,
    /// The images that end here.
    pub images: Vec<Named>,
    /// What stands on it.
    pub above: Vec<Node>,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its full id.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
}

/// An image and its layers, bottom first, each with its size and how many images have it.
pub type Stack = (Named, Vec<(String, u64, usize)>);

/// The trees of these images; those that begin with the same layers share them.
pub fn forest(stacks: Vec<Stack>) -> Vec<Node> {
    let mut roots = Vec::new();
    for (image, layers) in stacks {
        add(&mut roots, image, &layers);
    }
    roots
}

fn add(nodes: &mut Vec<Node>, image: Named, layers: &[(String, u64, usize)]) {
    let Some(((layer, size, used_by), rest)) = layers.split_first() else { return };
    let at = nodes.iter().position(|node| node.layer == *layer).unwrap_or_else(|| {
        nodes.push(Node { layer: layer.clone(), size: *size, used_by: *used_by, ..Node::default() });
        nodes.len() - 1
    });
    let Some(node) = nodes.get_mut(at) else { return };
    match rest {
        [] => node.images.push(image),
        rest => add(&mut node.above, image, rest),
    }
}

fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// The text for people.
pub fn text(roots: &[Node]) -> String {
    let mut lines = Vec::new();
    for root in roots {
        line(root, "", "", &mut lines);
    }
    let widest = lines.iter().map(|(layer, ..)| layer.chars().count()).max().unwrap_or(0).max(5);
    let mut out = format!("{:widest$}  {:>8}  {:>7}  IMAGES\n", "LAYER", "SIZE", "USED BY");
    for (layer, size, used_by, images) in lines {
        let line = format!("{layer:widest$}  {size:>8}  {used_by:>7}  {images}");
        out.push_str(&format!("{}\n", escape::line(line.trim_end())));
    }
    out
}

type Line = (String, String, usize, String);

fn line(node: &Node, first: &str, rest: &str, lines: &mut Vec<Line>) {
    let names = |image: &Named| match image.names.as_slice() {
        [] => format!("<none> ({})", short(&image.id)),
        names => names.join(", "),
    };
    let images: Vec<String> = node.images.iter().map(names).collect();
    let layer = format!("{first}{}", short(&node.layer));
    lines.push((layer, units::human_size(node.size), node.used_by, images.join(", ")));
    for (n, above) in node.above.iter().enumerate() {
        let last = n + 1 == node.above.len();
        let (branch, trunk) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        line(above, &format!("{rest}{branch}"), &format!("{rest}{trunk}"), lines);
    }
}

/// For `--format json`.
pub fn json(roots: &[Node]) -> Json {
    let object = |node: &Node| {
        json!({
            "Layer": node.layer,
            "Size": node.size,
            "UsedBy": node.used_by,
            "Images": node.images.iter().map(|image| json!({"Id": image.id, "Names": image.names})).collect::<Vec<_>>(),
            "Above": json(&node.above),
        })
    };
    roots.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks() -> Vec<Stack> {
        let image = |id: &str, names: &[&str]| Named {
            id: format!("sha256:{}", id.repeat(64)),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let layer = |digit: &str, size: u64, used: usize| (format!("sha256:{}", digit.repeat(64)), size, used);
        let base = layer("a", 170_000_000, 3);
        vec![
            (image("1", &["stage0:latest"]), vec![base.clone()]),
            (image("2", &["made:1", "made:2"]), vec![base.clone(), layer("b", 500, 1), layer("c", 0, 1)]),
            (image("3", &[]), vec![base, layer("d", 2_000, 1)]),
            (image("4", &["own\u{1b}"]), vec![layer("e", 1, 1)]),
            (image("5", &["empty"]), vec![]),
        ]
    }

    #[test]
    fn layers_carry_what_stands_on_them() {
        insta::assert_snapshot!(text(&forest(stacks())), @r"
        LAYER                   SIZE  USED BY  IMAGES
        aaaaaaaaaaaa           170MB        3  stage0:latest
        ├─ bbbbbbbbbbbb         500B        1
        │  └─ cccccccccccc        0B        1  made:1, made:2
        └─ dddddddddddd          2kB        1  <none> (333333333333)
        eeeeeeeeeeee              1B        1  own\x1b
        ");
        let json = json(&forest(stacks()));
        assert_eq!(json[0]["Above"][0]["Above"][0]["Images"][0]["Names"][1], "made:2");
        assert_eq!((&json[1]["UsedBy"], json.as_array().map(Vec::len)), (&json!(1), Some(2)));
    }
}

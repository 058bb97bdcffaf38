//! What can be had of a record that is damaged beyond its checksum's help: each field by itself, and what the container's
//! other files say. The user's files are in the read-write layer; a record makes them reachable again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{ImageUse, LOST, RECORD_VERSION, Record, State, Status};
use crate::container::names::{ContainerId, ContainerName};
use crate::container::options::RunOptions;
use crate::digest::Digest;

/// What is known of a container beside its record.
pub struct Evidence<'a> {
    /// Its id.
    pub id: ContainerId,
    /// Its name, where one points to it; else one that is free.
    pub name: Result<ContainerName, ContainerName>,
    /// Its image, as its spec says.
    pub image: Option<ImageUse>,
    /// Its command, as its spec says.
    pub command: Vec<String>,
    /// When its files were made.
    pub created: Timestamp,
    /// The layers that commits made of it, and how many layers were below each.
    pub commits: Vec<(usize, Digest)>,
    /// The layers of an image that is here.
    pub layers_of: &'a dyn Fn(&Digest) -> Option<Vec<Digest>>,
    /// Whether a layer is here.
    pub has_layer: &'a dyn Fn(&Digest) -> bool,
}

/// A record from what is left of its bytes; `None`: what the container was made from is not known. It says that the
/// container ended, unless the bytes say what became of it.
pub fn salvage(bytes: &[u8], evidence: Evidence<'_>) -> Option<Record> {
    let Evidence { id, name, image, command, created, commits, layers_of, has_layer } = evidence;
    let is_here = |image: &ImageUse| layers_of(&image.id).is_some();
    let image = field::<ImageUse>(bytes, "image").filter(is_here).or(image.filter(is_here))?;
    let of_image = layers_of(&image.id)?;
    let layers: Option<Vec<Digest>> = field(bytes, "layers");
    let layers = layers.filter(|layers| layers.starts_with(&of_image) && layers.iter().all(has_layer));
    let name = match name {
        Ok(name) => name,
        Err(free) => field(bytes, "name").unwrap_or(free),
    };
    let created = field(bytes, "created").unwrap_or(created);
    let options = field::<RunOptions>(bytes, "options").unwrap_or_default();
    Some(Record {
        version: RECORD_VERSION,
        id,
        name,
        created,
        image,
        command: field(bytes, "command").unwrap_or(command),
        state: field(bytes, "state").unwrap_or_else(|| ended(created)),
        labels: field(bytes, "labels").unwrap_or_default(),
        // It is kept in any case.
        auto_remove: false,
        by_run: false,
        ports: field(bytes, "ports").unwrap_or_default(),
        volumes: field(bytes, "volumes").unwrap_or_default(),
        image_depth: of_image.len(),
        history: layers.as_ref().and_then(|_| field(bytes, "history")).unwrap_or_default(),
        layers: layers.unwrap_or_else(|| with_commits(of_image, &commits)),
        // There may be something in the read-write layer.
        prepared: true,
        pending_commit: field(bytes, "pending_commit"),
        restart_count: field(bytes, "restart_count").unwrap_or_default(),
        options: options.to_record().ok()?,
        extra: BTreeMap::new(),
    })
}

/// An image's layers, and above them those that were committed one after the other.
fn with_commits(mut layers: Vec<Digest>, commits: &[(usize, Digest)]) -> Vec<Digest> {
    while let Some((_, next)) = commits.iter().find(|(below, _)| *below == layers.len()) {
        layers.push(next.clone());
    }
    layers
}

fn ended(created: Timestamp) -> State {
    State {
        status: Status::Exited,
        exit_code: LOST,
        error: "its record was damaged".to_owned(),
        started: Some(created),
        finished: Some(created),
        ..State::default()
    }
}

/// The first value behind this key that is one of the wanted type, wherever in the bytes it is.
fn field<T: DeserializeOwned>(bytes: &[u8], key: &str) -> Option<T> {
    let key = format!("\"{key}\":").into_bytes();
    let starts =
        bytes.windows(key.len()).enumerate().filter(|(_, window)| *window == key).map(|(at, _)| at + key.len());
    starts.filter_map(|start| serde_json::Deserializer::from_slice(bytes.get(start..)?).into_iter().next()?.ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::tests::record;
    use crate::file;

    fn layer(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn salvaged(bytes: &[u8], of: &Record, spec: bool) -> Option<Record> {
        let image = spec.then(|| of.image.clone());
        let (id, free) = (of.id.clone(), ContainerName::parse("free").unwrap());
        let layers_of = |image: &Digest| (*image == of.image.id).then(|| vec![layer("base")]);
        let (created, command) = (Timestamp::UNIX_EPOCH, vec!["spec".to_owned()]);
        let has_layer = |digest: &Digest| of.layers.contains(digest);
        salvage(
            bytes,
            Evidence {
                id,
                name: Err(free),
                image,
                command,
                created,
                commits: vec![(1, layer("commit"))],
                layers_of: &layers_of,
                has_layer: &has_layer,
            },
        )
    }

    fn sample() -> Record {
        let mut sample = Record { name: ContainerName::parse("some").unwrap(), ..record() };
        (sample.layers, sample.image_depth) = (vec![layer("base"), layer("commit")], 1);
        sample.options = RunOptions::default().to_record().unwrap();
        sample
    }

    #[test]
    fn whatever_range_is_lost_the_container_keeps_its_files_and_stands_on_its_layers() {
        let sample = sample();
        let whole = file::to_json(&sample).unwrap();
        let mut complete = 0;
        for length in [2, 20, 200] {
            for at in (0..whole.len()).step_by(7) {
                let mut bytes = whole.clone();
                let end = (at + length).min(bytes.len());
                bytes[at..end].fill(0);
                let found = salvaged(&bytes, &sample, true).unwrap();
                assert_eq!((&found.id, &found.image.id), (&sample.id, &sample.image.id), "{at}");
                assert_eq!(found.layers, sample.layers, "{at}");
                assert!(found.has_layer() && !found.auto_remove, "{at}");
                assert!(["some", "free"].contains(&found.name.as_str()), "{at}: {found:?}");
                complete += usize::from(found.options == sample.options && found.name == sample.name);
            }
        }
        assert!(complete > 50, "{complete} had everything");
    }

    #[test]
    fn nothing_is_made_up() {
        let sample = sample();
        let found = salvaged(b"", &sample, true).unwrap();
        assert_eq!((found.name.as_str(), &found.command[..]), ("free", &["spec".to_owned()][..]));
        assert_eq!((found.state.status, &found.layers), (Status::Exited, &sample.layers));
        assert_eq!(salvaged(b"", &sample, false), None);
        let whole = file::to_json(&sample).unwrap();
        assert_eq!(salvaged(&whole, &sample, false).unwrap().state, sample.state);
    }
}

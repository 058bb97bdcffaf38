//! An image in docker's shape.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::Object;
use crate::ui::rows::info::DRIVER;
use crate::ui::units;

/// Fields that docker's JSON leaves out when they are empty.
const OMIT: [&str; 17] = [
    "/Created",
    "/Variant",
    "/OsVersion",
    "/Descriptor",
    "/Config/User",
    "/Config/ExposedPorts",
    "/Config/Env",
    "/Config/Entrypoint",
    "/Config/Cmd",
    "/Config/Volumes",
    "/Config/WorkingDir",
    "/Config/Labels",
    "/Config/StopSignal",
    "/Config/ArgsEscaped",
    "/Config/Healthcheck",
    "/Config/OnBuild",
    "/Config/Shell",
];

/// What inspect tells of an image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The full id, `sha256:…`.
    pub id: String,
    /// Its names with tags in their short form.
    pub tags: Vec<String>,
    /// Its names with manifest digests.
    pub digests: Vec<String>,
    /// The full id of the image it was made from; empty where there is none.
    pub parent: String,
    /// The message of its last history entry.
    pub comment: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The docker that made it, as its configuration says.
    pub docker_version: String,
    /// Its author.
    pub author: String,
    /// The object `config` of its OCI configuration, as stored.
    pub config: Json,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v8`, …; empty where there is none.
    pub variant: String,
    /// `linux`.
    pub os: String,
    /// Of an image for another system than Linux.
    pub os_version: String,
    /// Bytes of all its layers.
    pub size: u64,
    /// Directories of its file system, `LowerDir`, `UpperDir`.
    pub directories: BTreeMap<String, String>,
    /// The diff IDs of its layers, lowest first.
    pub layers: Vec<String>,
    /// When a name was last given to it.
    pub tagged: Option<Timestamp>,
    /// What registries have it by: media type, digest and size of its manifest.
    pub descriptor: Option<(String, String, u64)>,
}

impl Image {
    /// The object that inspect prints.
    pub fn object(&self) -> Object {
        let full = json!({
            "Id": self.id,
            "RepoTags": self.tags,
            "RepoDigests": self.digests,
            "Parent": self.parent,
            "Comment": self.comment,
            "Created": self.created.map_or_else(String::new, |created| units::rfc3339(Some(created))),
            "DockerVersion": self.docker_version,
            "Author": self.author,
            "Config": self.config(),
            "Architecture": self.architecture,
            "Variant": self.variant,
            "Os": self.os,
            "OsVersion": self.os_version,
            "Size": self.size,
            "GraphDriver": {"Data": self.directories, "Name": DRIVER},
            "RootFS": {"Type": "layers", "Layers": self.layers},
            "Metadata": {"LastTagTime": units::rfc3339(self.tagged)},
            "Descriptor": self.descriptor.as_ref().map(|(media_type, digest, size)| {
                json!({"mediaType": media_type, "digest": digest, "size": size})
            }),
        });
        Object::new(full, &OMIT)
    }

    /// docker's fields in docker's order, then those that the configuration has beside them.
    fn config(&self) -> Json {
        const FIELDS: [(&str, Json); 13] = [
            ("User", Json::String(String::new())),
            ("ExposedPorts", Json::Null),
            ("Env", Json::Null),
            ("Entrypoint", Json::Null),
            ("Cmd", Json::Null),
            ("Volumes", Json::Null),
            ("WorkingDir", Json::String(String::new())),
            ("Labels", Json::Null),
            ("StopSignal", Json::String(String::new())),
            ("ArgsEscaped", Json::Bool(false)),
            ("Healthcheck", Json::Null),
            ("OnBuild", Json::Null),
            ("Shell", Json::Null),
        ];
        let mut fields: Map<String, Json> = FIELDS.into_iter().map(|(name, empty)| (name.to_owned(), empty)).collect();
        if let Json::Object(stored) = &self.config {
            fields.extend(stored.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Json::Object(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::inspect::Format;

    fn image() -> Image {
        Image {
            id: "sha256:ab".to_owned(),
            tags: vec!["stage0:latest".to_owned()],
            created: "2026-01-02T15:00:00.5Z".parse().ok(),
            config: json!({"Cmd": ["bash"], "X-Own": 1, "Env": ["A=1"], "Labels": {}}),
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            size: 170_000_000,
            layers: vec!["sha256:cd".to_owned()],
            ..Image::default()
        }
    }

    #[test]
    fn the_shape_that_tools_read() {
        let format = Format::parse(None).unwrap();
        insta::assert_snapshot!(format.render(&[image().object()], false).unwrap().0, @r#"
        [
            {
                "Id": "sha256:ab",
                "RepoTags": [
                    "stage0:latest"
                ],
                "RepoDigests": [],
                "Parent": "",
                "Comment": "",
                "Created": "2026-01-02T15:00:00.5Z",
                "DockerVersion": "",
                "Author": "",
                "Config": {
                    "Env": [
                        "A=1"
                    ],
                    "Cmd": [
                        "bash"
                    ],
                    "X-Own": 1
                },
                "Architecture": "amd64",
                "Os": "linux",
                "Size": 170000000,
                "GraphDriver": {
                    "Data": {},
                    "Name": "overlay"
                },
                "RootFS": {
                    "Type": "layers",
                    "Layers": [
                        "sha256:cd"
                    ]
                },
                "Metadata": {
                    "LastTagTime": "0001-01-01T00:00:00Z"
                }
            }
        ]
        "#);
    }

    #[test]
    fn templates_may_name_what_the_json_leaves_out() {
        for (format, output) in [
            ("{{.Config.User}}|{{.Config.Entrypoint}}|{{.Config.Labels}}|{{.Config.Volumes}}", "|[]|map[]|map[]\n"),
            ("{{json .Config.Cmd}} {{json .Config.Entrypoint}}", "[\"bash\"] null\n"),
            (r#"{{index .Config.Labels "none"}}{{index .RepoTags 0}}"#, "stage0:latest\n"),
            ("{{len .RootFS.Layers}}{{range .RootFS.Layers}} {{.}}{{end}}", "1 sha256:cd\n"),
        ] {
            let format = Format::parse(Some(format)).unwrap();
            assert_eq!(format.render(&[image().object()], false).unwrap().0, output);
        }
    }
}

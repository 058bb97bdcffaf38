//! The text and the JSON of `version`, in docker's shape: lrun is its own server.

use serde_json::{Value as Json, json};

use crate::ui::escape;

/// The version of docker's interface whose words and shapes lrun's are: that of docker 29.8. Tools ask for it before they
/// use what came with it; there is no socket behind it.
pub const API_VERSION: &str = "1.56";
/// The oldest that docker 29.8 still serves.
const OLDEST_API: &str = "1.40";

/// What runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// lrun's version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub build: &'static str,
    /// The machine's architecture in Go's words, as in `amd64`.
    pub architecture: String,
    /// The kernel's release.
    pub kernel: String,
    /// pasta's version, where it is installed.
    pub pasta: Option<String>,
}

impl Version {
    /// The text for people.
    pub fn to_text(&self) -> String {
        let Self { version, build, architecture, kernel, pasta } = self;
        let pasta = pasta.as_deref().unwrap_or("not installed");
        let lines = [
            "Client:".to_owned(),
            format!(" Version:           {version}"),
            format!(" API version:       {API_VERSION}"),
            format!(" Git commit:        {build}"),
            format!(" OS/Arch:           linux/{architecture}"),
            String::new(),
            "Server:".to_owned(),
            " Engine:".to_owned(),
            format!("  Version:          {version}"),
            format!("  API version:      {API_VERSION} (minimum version {OLDEST_API})"),
            format!("  Git commit:       {build}"),
            format!("  OS/Arch:          linux/{architecture}"),
            format!("  Kernel Version:   {kernel}"),
            " pasta:".to_owned(),
            format!("  Version:          {pasta}"),
        ];
        lines.iter().map(|line| format!("{}\n", escape::line(line))).collect()
    }

    /// The object for `--format`: as templates name its fields, and as it is in JSON.
    pub fn to_json(&self) -> (Json, Json) {
        (self.object("APIVersion"), self.object("ApiVersion"))
    }

    /// Without what docker tells of Go and of the day when it was built: there is no Go, and a build is to be reproducible.
    fn object(&self, api: &str) -> Json {
        let Self { version, build, architecture, kernel, pasta } = self;
        let details = json!({
            "ApiVersion": API_VERSION,
            "Arch": architecture,
            "GitCommit": build,
            "KernelVersion": kernel,
            "MinAPIVersion": OLDEST_API,
            "Os": "linux",
        });
        let mut components = vec![json!({"Name": "Engine", "Version": version, "Details": details})];
        components.extend(pasta.iter().map(|pasta| json!({"Name": "pasta", "Version": pasta, "Details": {}})));
        json!({
            "Client": {
                "Version": version,
                api: API_VERSION,
                "DefaultAPIVersion": API_VERSION,
                "GitCommit": build,
                "GoVersion": "",
                "Os": "linux",
                "Arch": architecture,
                "BuildTime": "",
                "Context": "default",
            },
            "Server": {
                "Platform": {"Name": "lrun"},
                "Version": version,
                api: API_VERSION,
                "MinAPIVersion": OLDEST_API,
                "Os": "linux",
                "Arch": architecture,
                "Components": components,
                "GitCommit": build,
                "GoVersion": "",
                "KernelVersion": kernel,
                "Experimental": false,
                "BuildTime": "",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version {
            version: "0.1.0",
            build: "0123456789",
            architecture: "amd64".to_owned(),
            kernel: "6.18.1".to_owned(),
            pasta: Some("0.0~git20250503\u{1b}c".to_owned()),
        }
    }

    #[test]
    fn text_has_a_client_and_a_server() {
        insta::assert_snapshot!(version().to_text(), @r"
        Client:
         Version:           0.1.0
         API version:       1.56
         Git commit:        0123456789
         OS/Arch:           linux/amd64

        Server:
         Engine:
          Version:          0.1.0
          API version:      1.56 (minimum version 1.40)
          Git commit:       0123456789
          OS/Arch:          linux/amd64
          Kernel Version:   6.18.1
         pasta:
          Version:          0.0~git20250503\x1bc
        ");
        let without = Version { pasta: None, ..version() };
        assert!(without.to_text().ends_with(" pasta:\n  Version:          not installed\n"));
    }

    #[test]
    fn json_has_dockers_names() {
        let (fields, json) = version().to_json();
        for side in ["Client", "Server"] {
            assert_eq!((&fields[side]["APIVersion"], &json[side]["ApiVersion"]), (&json!("1.56"), &json!("1.56")));
            assert_eq!((fields[side].get("ApiVersion"), json[side].get("APIVersion")), (None, None));
        }
        assert_eq!((&json["Client"]["Version"], &json["Server"]["Version"]), (&json!("0.1.0"), &json!("0.1.0")));
        assert_eq!(json["Server"]["Components"].as_array().map(Vec::len), Some(2));
    }
}

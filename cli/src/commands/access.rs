//! How registries are reached from here: settings, certificates, proxies and credentials, from the files and variables
//! that docker and podman use, too.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use lrun_runtime::error::{Error, ErrorKind, Result};
use lrun_runtime::image::import::architecture;
use lrun_runtime::reference::{DEFAULT_REGISTRY, Reference};
use lrun_runtime::registry::client::{Client, Purpose};
use lrun_runtime::registry::credentials::{AuthFile, Credentials};
use lrun_runtime::registry::helper::Helpers;
use lrun_runtime::registry::http::{Access, Http};
use lrun_runtime::registry::platform::Platform;
use lrun_runtime::registry::proxy::Proxies;
use lrun_runtime::settings::Settings;

use crate::args::{Global, VERSION};
use crate::context::{config_folder, env, env_os, home, settings};
use crate::ui::progress::Style;
use crate::ui::transfer::Transfers;
use crate::ui::{escape, output};

/// What credential helpers get of the environment: where they are, and how they find the user's keyring.
const HELPER_ENV: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GPG_TTY",
    "GNUPGHOME",
];

/// Everything that is needed to speak to registries.
pub struct Registries {
    /// The user's settings.
    pub settings: Settings,
    http: Http,
    /// `--config`.
    config: Option<PathBuf>,
}

impl Registries {
    /// Reads the settings. Nothing is connected to yet.
    pub fn open(global: &Global) -> Result<Self> {
        let settings = settings()?;
        let http = Http::new(access(&settings));
        Ok(Self { settings, http, config: global.config.clone() })
    }

    /// The same for what a word names. `insecure`: its registry is spoken to over plain HTTP, as if the settings said so.
    pub fn open_for(global: &Global, word: &str, insecure: bool) -> Result<(Self, Reference)> {
        let mut registries = Self::open(global)?;
        let reference = registries.settings.registries.qualify(word)?;
        if insecure {
            registries.settings.registries.insecure.push(reference.registry().to_owned());
        }
        Ok((registries, reference))
    }

    /// A client of one registry, with these credentials.
    pub fn client_with(
        &self,
        (registry, repository): (&str, &str),
        credentials: Option<Credentials>,
        purpose: Purpose,
    ) -> Result<Client<'_>> {
        let plain = self.settings.registries.is_insecure(registry);
        Client::new(&self.http, (registry, repository), plain, credentials, purpose)
    }

    /// A client of a repository, as the user whose credentials are kept for it.
    pub fn client(&self, (registry, repository): (&str, &str), purpose: Purpose) -> Result<Client<'_>> {
        let credentials = match credentials(self.config.as_deref(), registry, repository) {
            // The settings are often copied from a machine that has the helper; many images are everybody's. A directory of
            // PATH that cannot be read is a lack of permission.
            Err(error)
                if purpose == Purpose::Pull && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Permission) =>
            {
                output::complain(&escape::line(&format!("WARNING: {registry} is asked without credentials: {error}")));
                None
            }
            found => found?,
        };
        self.client_with((registry, repository), credentials, purpose)
    }

    /// Those that an image is pulled from: mirrors first, then its registry.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<Client<'_>>> {
        let mirrors = self.settings.registries.mirrors.get(reference.registry()).map_or(&[][..], Vec::as_slice);
        let names = mirrors.iter().map(String::as_str).chain([reference.registry()]);
        names.map(|registry| self.client((registry, reference.repository()), Purpose::Pull)).collect()
    }
}

/// How servers are reached that are no registries. Nothing is connected to yet.
pub fn servers() -> Result<Access> {
    Ok(access(&settings()?))
}

fn access(settings: &Settings) -> Access {
    lrun_runtime::sys::net::plain_host_lookup();
    Access {
        bundle: env("SSL_CERT_FILE").map(PathBuf::from),
        certs: settings.registries.certs.clone().unwrap_or_else(certs),
        proxies: proxies(),
        user_agent: format!("lrun/{VERSION}"),
    }
}

fn certs() -> Vec<PathBuf> {
    let own = config_folder();
    let own = own.iter().flat_map(|folder| [folder.join("lrun/certs.d"), folder.join("containers/certs.d")]);
    own.chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
}

/// As curl and others read them: small letters first.
fn proxies() -> Proxies {
    let either = |name: &str| env(&name.to_lowercase()).or_else(|| env(name));
    let all = either("ALL_PROXY");
    let none = either("NO_PROXY").unwrap_or_default();
    Proxies {
        http: either("HTTP_PROXY").or_else(|| all.clone()),
        https: either("HTTPS_PROXY").or(all),
        none: none.split(',').map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect(),
    }
}

/// How credential helpers are started.
pub fn helpers() -> Helpers {
    let value = |name: &str| Some((OsString::from(name), env_os(name)?));
    Helpers { env: HELPER_ENV.iter().filter_map(|name| value(name)).collect() }
}

/// The file that credentials are kept in. `config`: the directory of docker's flag `--config`.
pub fn auth_file(config: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = config {
        return Ok(folder.join("config.json"));
    }
    if let Some(path) = env("REGISTRY_AUTH_FILE") {
        return Ok(PathBuf::from(path));
    }
    docker_folder(None).map(|folder| folder.join("config.json")).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "there is no home directory for credentials: HOME is not set")
            .hint("set DOCKER_CONFIG to a directory")
    })
}

/// The directory of docker's settings. `config`: as for [`auth_file`].
pub fn docker_folder(config: Option<&Path>) -> Option<PathBuf> {
    let own = || home().map(|home| home.join(".docker"));
    config.map(Path::to_owned).or_else(|| env("DOCKER_CONFIG").map(PathBuf::from)).or_else(own)
}

/// The credentials that are kept for a repository: docker's, then podman's.
pub fn credentials(config: Option<&Path>, registry: &str, repository: &str) -> Result<Option<Credentials>> {
    let mut files: Vec<PathBuf> = auth_file(config).into_iter().collect();
    if config.is_none() && env("REGISTRY_AUTH_FILE").is_none() {
        files.extend(env("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("containers/auth.json")));
    }
    for path in files {
        if let Some(found) = AuthFile::read(&path)?.get(registry, repository, &helpers())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A registry as people write it for `login`: `https://host/v1/`, `host:port`, nothing for docker's.
pub fn server(given: Option<&str>) -> Result<String> {
    let given = given.unwrap_or(DEFAULT_REGISTRY);
    let host = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://")).unwrap_or(given);
    let host = host.split('/').next().unwrap_or_default();
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { host };
    match Reference::parse(&format!("{host}/x")) {
        Ok(reference) if reference.registry() == host => Ok(host.to_owned()),
        _ => Err(Error::new(ErrorKind::Invalid, format!("\"{given}\" is no registry: host or host:port is expected"))),
    }
}

/// What this machine runs.
pub fn own_platform() -> Result<Platform> {
    Ok(Platform::new("linux", architecture()?, ""))
}

/// Layers on standard error.
pub fn transfers(quiet: bool) -> Transfers<std::io::Stderr> {
    let (mut style, mut rows) = (Style::Plain, 24);
    if std::io::stderr().is_terminal() {
        let size = rustix::termios::tcgetwinsize(std::io::stderr()).map_or((80, 24), |size| (size.ws_col, size.ws_row));
        // Some terminals do not know their size.
        let known = |size: u16, otherwise: u16| usize::from(if size == 0 { otherwise } else { size });
        style = Style::Terminal { columns: known(size.0, 80).max(20) };
        rows = known(size.1, 24).max(3);
    }
    Transfers::new(std::io::stderr(), if quiet { Style::Quiet } else { style }, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_as_people_write_them() {
        for (given, name) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("http://reg:5000"), "reg:5000"),
            (Some("r.io/v2/"), "r.io"),
            (Some("localhost"), "localhost"),
        ] {
            assert_eq!(server(given).unwrap(), name);
        }
        for wrong in ["", "word", "user@r.io", "r.io:port"] {
            assert!(server(Some(wrong)).is_err(), "{wrong}");
        }
    }
}

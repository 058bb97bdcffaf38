//! `builder` and `buildx`: what tools ask before they build. There is one builder, and it needs no care.

use std::io::IsTerminal;

use jiff::Timestamp;
use lrun_runtime::error::{Error, ErrorKind, Result};
use serde_json::{Value as Json, json};

use super::access::own_platform;
use super::df;
use crate::args::{BuilderCreateArgs, BuilderLsArgs, BuilderNameArgs, Global, VERSION};
use crate::context;
use crate::ui::inspect::{Format, Object};
use crate::ui::{output, units};

/// The builder's name.
const NAME: &str = "default";
/// What its images are to tools: in the store of the command that built them.
const DRIVER: &str = "docker";
/// The version of buildx whose commands and flags these are.
const BUILDX: &str = "0.29.1";

/// `buildx version`, in buildx's words: tools read the first number in it.
pub fn version() -> u8 {
    output::line(&format!("github.com/docker/buildx v{BUILDX} lrun-{VERSION}"));
    0
}

/// `buildx ls`.
pub fn ls(args: &BuilderLsArgs) -> Result<u8> {
    let platform = own_platform()?.to_string();
    match args.format.as_deref() {
        None | Some("" | "table") => {
            let row = |cells: [&str; 5]| {
                let [name, driver, status, version, platforms] = cells;
                output::line(format!("{name:<14}{driver:<18}{status:<10}{version:<14}{platforms}").trim_end());
            };
            row(["NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS"]);
            row([&format!("{NAME}*"), DRIVER, "", "", ""]);
            let version = format!("lrun {VERSION}");
            row([&format!(" \\_ {NAME}"), &format!(" \\_ {NAME}"), "running", &version, &platform]);
        }
        format => {
            let node = json!({
                "Name": NAME, "Endpoint": NAME, "Status": "running", "Version": format!("lrun {VERSION}"),
                "Platforms": [platform],
            });
            let builder: Json =
                json!({"Name": NAME, "Driver": DRIVER, "Current": true, "Dynamic": false, "Nodes": [node]});
            let shown = Format::parse(format)?.render_one(&Object::whole(builder), std::io::stdout().is_terminal())?;
            output::text(&shown);
        }
    }
    Ok(0)
}

/// `buildx inspect`.
pub fn inspect(args: &BuilderNameArgs) -> Result<u8> {
    known(args)?;
    let platform = own_platform()?;
    output::text(&format!(
        "Name:          {NAME}\nDriver:        {DRIVER}\n\nNodes:\nName:             {NAME}\nEndpoint:         {NAME}\n\
         Status:           running\nBuildKit version: lrun {VERSION}\nPlatforms:        {platform}\n"
    ));
    Ok(0)
}

/// `buildx use`: it is used.
pub fn choose(args: &BuilderNameArgs) -> Result<u8> {
    known(args).map(|()| 0)
}

/// `buildx rm`.
pub fn rm(args: &BuilderNameArgs) -> Result<u8> {
    known(args)?;
    Err(Error::new(ErrorKind::Unsupported, format!("{NAME} builder cannot be removed")))
}

/// `buildx du`: what builds left, newest first.
pub fn du(global: &Global) -> Result<u8> {
    let left = df::left(&context::engine(global)?)?;
    let now = Timestamp::now();
    output::line(&format!("{:<66}{:<12}{:<12}LAST ACCESSED", "ID", "RECLAIMABLE", "SIZE"));
    let mut total = 0;
    for entry in &left {
        let used = entry.used.map(|used| units::ago(used, now)).unwrap_or_default();
        output::line(&format!("{:<66}{:<12}{:<12}{used}", entry.id, "true", units::human_sum(entry.bytes)));
        total += entry.bytes;
    }
    let total = units::human_sum(total);
    output::line(&format!("Reclaimable:\t{total}\nTotal:\t\t{total}"));
    Ok(0)
}

/// `buildx create`.
pub fn create(args: &BuilderCreateArgs) -> Result<u8> {
    let wanted = args.name.as_deref().or(args.driver.as_deref()).unwrap_or("create");
    let text = format!("{wanted}: lrun builds by itself, so that there is one builder, {NAME}");
    Err(Error::new(ErrorKind::Unsupported, text).hint("leave it out: `lrun build` and `lrun buildx build` need none"))
}

fn known(args: &BuilderNameArgs) -> Result<()> {
    match args.name.as_deref() {
        None | Some("" | NAME) => Ok(()),
        Some(name) => Err(Error::new(ErrorKind::NotFound, format!("no builder {name:?} found"))),
    }
}

//! `builder` and `buildx`: what tools ask before they build. There is one builder, and it needs no care.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use lrun_runtime::error::{Error, ErrorKind, Result};
use serde_json::{Value as Json, json};

use super::access::own_platform;
use super::df::{self, STEP};
use super::prune::query;
use super::ps::view;
use crate::args::{BuilderCreateArgs, BuilderDuArgs, BuilderLsArgs, BuilderNameArgs, Global, VERSION};
use crate::context;
use crate::ui::filters::prune::BUILDER_NAMES;
use crate::ui::inspect::{Format, Object};
use crate::ui::rows::build_cache::{self, USAGE};
use crate::ui::{output, rows, units};

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

/// `buildx ls`: a row of the builder, and one of what it has in it.
pub fn ls(args: &BuilderLsArgs) -> Result<u8> {
    let platform = own_platform()?.to_string();
    let version = format!("lrun {VERSION}");
    let mut node = json!({
        "Name": NAME, "Endpoint": NAME, "Status": "running", "Version": version, "Platforms": [platform],
    });
    let builder = json!({"Name": NAME, "Driver": DRIVER, "Current": true, "Dynamic": false, "Nodes": [node]});
    match args.format.as_deref() {
        None | Some("" | "table") => {
            let row = |cells: [&str; 5]| {
                let [name, driver, status, version, platforms] = cells;
                output::line(format!("{name:<14}{driver:<18}{status:<10}{version:<14}{platforms}").trim_end());
            };
            row(["NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS"]);
            row([&format!("{NAME}*"), DRIVER, "", "", ""]);
            row([&format!(" \\_ {NAME}"), &format!(" \\_ {NAME}"), "running", &version, &platform]);
        }
        Some("json") => show("json", [builder])?,
        Some(template) => {
            let empty = json!({"LastActivity": "", "Error": "", "Status": "", "Buildkit": "", "Platforms": ""});
            let row = |endpoint: &str| {
                let mut row = empty.clone();
                (row["Name"], row["DriverEndpoint"], row["Builder"]) = (NAME.into(), endpoint.into(), builder.clone());
                row
            };
            let (first, mut second) = (row(DRIVER), row(NAME));
            second["Status"] = node["Status"].take();
            (second["Buildkit"], second["Platforms"]) = (version.into(), platform.into());
            show(template, [first, second])?;
        }
    }
    Ok(0)
}

/// Prints each by the template, in which `\t` and `\n` are a tab and a newline.
fn show(template: &str, rows: impl IntoIterator<Item = Json>) -> Result<()> {
    let template = template.replace("\\t", "\t").replace("\\n", "\n");
    let (format, terminal) = (Format::parse(Some(&template))?, std::io::stdout().is_terminal());
    for row in rows {
        output::text(&format.render_one(&Object::whole(row), terminal)?);
    }
    Ok(())
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
pub fn du(global: &Global, args: &BuilderDuArgs) -> Result<u8> {
    if args.verbose && args.format.as_ref().is_some_and(|format| !format.is_empty()) {
        return Err(Error::new(ErrorKind::Invalid, "--format and --verbose cannot be used together"));
    }
    let query = query(&args.filter, &BUILDER_NAMES)?;
    let kinds = query.kinds()?;
    let mut left = df::left(&context::engine(global)?)?;
    left.retain(|entry| match entry.kind {
        STEP => kinds.steps,
        _ => kinds.mounts,
    });
    left.retain(|entry| query.takes(entry.used, &BTreeMap::new()));
    let format = args.format.as_deref().unwrap_or_default();
    match format {
        _ if args.verbose || format == "pretty" => {
            left.iter().for_each(|entry| output::text(&build_cache::pretty(entry)))
        }
        "" | "table" => {
            output::text(&USAGE.render(&rows::Format::parse(build_cache::USAGE_TABLE, "")?, &left, &view(true))?)
        }
        _ if format.starts_with("table") => {
            output::text(&USAGE.render(&rows::Format::parse(format, "")?, &left, &view(true))?);
            return Ok(0);
        }
        _ => {
            show(format, left.iter().map(build_cache::object))?;
            return Ok(0);
        }
    }
    if args.filter.is_empty() {
        let total = units::human_sum(left.iter().map(|entry| entry.bytes).sum());
        output::line(&format!("Reclaimable:\t{total}\nTotal:\t\t{total}"));
    }
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

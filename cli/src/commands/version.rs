//! `version`: which lrun this is, and what it uses.

use std::io::IsTerminal;

use lrun_runtime::container::facts;
use lrun_runtime::error::Result;
use lrun_runtime::image::import::architecture;

use crate::args::{BUILD, Global, SystemArgs};
use crate::context;
use crate::ui::inspect::{Format, Object};
use crate::ui::output;
use crate::ui::rows::version::Version;

/// Runs the command. It needs no store.
pub fn run(_: &Global, args: &SystemArgs) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let uname = rustix::system::uname();
    let version = Version {
        version: context::version_told(),
        build: BUILD,
        architecture: architecture()?.to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        pasta: facts::pasta_version(),
    };
    match format {
        Format::Indented => output::text(&version.to_text()),
        format => {
            let (fields, json) = version.to_json();
            output::text(&format.render_one(&Object::named(fields, json), std::io::stdout().is_terminal())?);
        }
    }
    Ok(0)
}

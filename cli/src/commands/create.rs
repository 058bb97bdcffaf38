//! `create`: everything of `run` but the start.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use lrun_runtime::container::create::create;
use lrun_runtime::container::names::ContainerId;
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};

use crate::args::{CreateArgs, Global};
use crate::context;
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: CreateArgs) -> Result<u8> {
    let options = args.into_options(&context::env_exact, &context::cwd()?)?;
    let engine = context::engine(global)?;
    let cidfile = reserve_cidfile(options.cidfile.as_deref())?;
    let created = create(&engine, &options, &context::host())?;
    write_cidfile(cidfile, &created.record.id)?;
    output::line(created.record.id.as_str());
    Ok(0)
}

/// Makes the file that gets the id before anything else is done: an existing one stops the command.
pub fn reserve_cidfile(path: Option<&Path>) -> Result<Option<(File, std::path::PathBuf)>> {
    let Some(path) = path else { return Ok(None) };
    match File::create_new(path) {
        Ok(file) => Ok(Some((file, path.to_owned()))),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ),
        )),
        Err(error) => Err(Error::from(error).context(format!("create the container ID file {}", path.display()))),
    }
}

/// Writes the id, without a newline as docker does.
pub fn write_cidfile(file: Option<(File, std::path::PathBuf)>, id: &ContainerId) -> Result<()> {
    let Some((mut file, path)) = file else { return Ok(()) };
    file.write_all(id.as_str().as_bytes()).context(|| format!("write the container ID file {}", path.display()))
}

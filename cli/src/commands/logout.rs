//! `logout`: a registry's user and password are forgotten.

use lrun_runtime::error::Result;
use lrun_runtime::registry::credentials::AuthFile;

use super::access::{auth_file, helpers, server};
use crate::args::{Global, LogoutArgs};
use crate::ui::output;

/// Runs the command.
pub fn run(global: &Global, args: &LogoutArgs) -> Result<u8> {
    let server = server(args.server.as_deref())?;
    match AuthFile::read(&auth_file(global.config.as_deref())?)?.erase(&server, &helpers())? {
        true => output::line(&format!("Removing login credentials for {server}")),
        false => output::line(&format!("Not logged in to {server}")),
    }
    Ok(0)
}

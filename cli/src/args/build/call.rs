//! `--check` and `--call`: what a build does instead of building.

use clap::Args;
use lrun_runtime::error::{Error, ErrorKind, Result};

/// The flags.
#[derive(Clone, Debug, Args)]
pub struct CallFlags {
    /// Check how the Dockerfile is written, and build nothing
    #[arg(long)]
    pub check: bool,
    /// What to do: build; check, which is --check; outline, which shows what can be given to the target; or targets, which
    /// lists them; with ,format=json as JSON
    #[arg(long, value_name = "METHOD", default_value = "build", hide_default_value = true)]
    pub call: String,
}

/// What is done instead of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The checks.
    #[default]
    Check,
    /// What can be given to the target.
    Outline,
    /// The targets.
    Targets,
}

/// What `--check` and `--call` ask for instead of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub method: Method,
    /// What is found is told as JSON.
    pub json: bool,
    /// Warnings do not count for the exit code.
    pub ignore_status: bool,
}

impl CallFlags {
    /// What to do instead of building. An error is wrong usage.
    pub fn parse(&self) -> Result<Option<Call>> {
        let invalid = |what: String| Error::new(ErrorKind::Invalid, format!("--call {}: {what}", self.call));
        let (mut call, mut method) = (Call::default(), None);
        for field in self.call.split(',') {
            match field.split_once('=') {
                Some(("format", format)) => {
                    call.json = match format {
                        "json" => true,
                        "text" | "default" => false,
                        other => return Err(invalid(format!("format is text or json, not {other}"))),
                    }
                }
                Some(("ignorestatus", value)) => {
                    let value = value.parse().map_err(|_| invalid(format!("ignorestatus is no boolean: {value}")))?;
                    call.ignore_status = value;
                }
                None if method.is_none() => method = Some(field),
                _ => return Err(invalid(format!("invalid field: {field}"))),
            }
        }
        match method {
            Some("check" | "lint") => Ok(Some(call)),
            Some("outline") => Ok(Some(Call { method: Method::Outline, ..call })),
            Some("targets") => Ok(Some(Call { method: Method::Targets, ..call })),
            Some("build" | "") | None => Ok(self.check.then_some(call)),
            Some(other) => {
                let text = format!("--call {other}: this version of lrun knows build, check, outline and targets");
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }
}

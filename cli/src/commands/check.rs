//! `system check`: reads the whole store again, and mends what can be mended.

use lrun_runtime::container::check::{CheckOptions, Finding, Outcome, Source, check};
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::probe;
use lrun_runtime::error::{ErrorKind, REPAIR, Result};
use lrun_runtime::image::store::{mend_directories, mend_format, renew_format};

use super::pull;
use crate::args::{CheckArgs, Global};
use crate::context;
use crate::ui::{escape, output};

/// Runs the command. One line for each finding; the code is 1 if something is wrong and not mended.
pub fn run(global: &Global, args: &CheckArgs) -> Result<u8> {
    let Some(engine) = open(global, args.repair)? else { return Ok(1) };
    let options = CheckOptions { quick: args.quick, repair: args.repair };
    let mut code = 0;
    let mut hints: Vec<String> = Vec::new();
    let mut pull_again = |source: &Source| pull::again(global, &engine, source);
    check(&engine, options, &mut pull_again, &mut |Finding { line, outcome, hint }| {
        let line = escape::line(&line);
        match outcome {
            Outcome::Wrong => {
                code = 1;
                output::line(&line);
            }
            Outcome::Mended => output::line(&format!("{line} (mended)")),
            Outcome::Leftover => output::line(&format!("leftover: {line}")),
        }
        hints.extend(hint.filter(|hint| !hints.contains(hint)));
    })?;
    for hint in hints {
        output::complain(&format!("  hint: {hint}"));
    }
    Ok(code)
}

/// Opens the store. Without its `format` and its directories nothing of it can be read: what is wrong with them are the
/// first findings.
fn open(global: &Global, repair: bool) -> Result<Option<Engine>> {
    let mut error = match context::engine(global) {
        Err(error) if error.kind() == ErrorKind::Corrupt => error,
        other => return other.map(Some),
    };
    let map = context::id_map(global)?;
    let path = context::store_path(global, &map)?;
    let made = if repair { mend_directories(&path)? } else { Vec::new() };
    if !made.is_empty() {
        output::line(&escape::line(&format!("store {}: it lost {} (mended)", path.display(), made.join(", "))));
        error = match context::engine(global) {
            Err(error) if error.kind() == ErrorKind::Corrupt => error,
            other => return other.map(Some),
        };
    }
    let mended = repair && (mend_format(&path)? || renew_format(&path, map.mode, &|path| probe::probe(&map, path))?);
    output::line(&format!("{}{}", escape::line(&error.to_string()), if mended { " (mended)" } else { "" }));
    if mended {
        return context::engine(global).map(Some);
    }
    let hint = match repair {
        true => "the store was made with another id mapping: see lrun --idmap",
        false => REPAIR,
    };
    output::complain(&format!("  hint: {hint}"));
    Ok(None)
}

//! What a `run` waits for longest is begun before its command line has been read.
//!
//! Mapping the ids of a container's monitor takes two programs and a third of the whole time until the container runs;
//! reading the flags and finding the image is done meanwhile. Nothing is begun that is not undone by itself: a monitor
//! without a container ends.

use std::ffi::OsString;

use lrun_runtime::container::caller;
use lrun_runtime::container::launch::{Begun, begin_monitor};
use lrun_runtime::idmap::{IdMap, Mode};

use crate::args::Global;
use crate::context;

/// How ids are mapped, and the process of a monitor that has no container yet.
pub struct Early {
    /// The mapping.
    pub map: IdMap,
    /// The monitor's process.
    pub monitor: Begun,
}

/// Begins a `run` where that is what the command line's first word says: then there are no global options. Nothing where
/// there is no store yet, or where mapping ids takes no time. What fails here will fail again, and is told of then.
pub fn begin(argv: &[OsString]) -> Option<Early> {
    if argv.get(1)? != "run" || caller::may_raise() {
        return None;
    }
    let global = Global::default();
    let map = context::id_map(&global).ok().filter(|map| map.mode == Mode::Subids)?;
    let there = context::store_path(&global, &map).ok()?.join("format").exists();
    let monitor = there.then(|| begin_monitor(&map).ok()).flatten()?;
    Some(Early { map, monitor })
}

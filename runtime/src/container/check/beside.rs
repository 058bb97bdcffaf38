//! What lies beside containers' records: logs, and locks, which are empty files.

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::Check;
use crate::error::{Context as _, Result};
use crate::file::{self, Lock, LockState, Staging};
use crate::paths::ContainerPaths;
use crate::stdio::log;

/// Bytes of a lock that are looked at.
const MOST: usize = 4096;
/// Mode of a lock.
const MODE: u32 = 0o600;

impl Check<'_> {
    /// The store's own locks.
    pub(super) fn locks(&mut self) -> Result<()> {
        let root = self.root();
        for (path, name) in [(root.lock(), "lock"), (root.refs_lock(), "refs.lock"), (root.names_lock(), "names.lock")]
        {
            self.lock_file(&path, name)?;
        }
        Ok(())
    }

    /// The log and the locks of a container, removed or not.
    pub(super) fn beside(&mut self, paths: &ContainerPaths, words: &str) -> Result<()> {
        for (path, name) in [
            (paths.lock(), "lock"),
            (paths.restart_lock(), "restart.lock"),
            (paths.pause_lock(), "pause.lock"),
            (paths.record_lock(), "record.lock"),
        ] {
            self.lock_file(&path, &format!("{words}: {name}"))?;
        }
        let running = || Lock::probe(&paths.lock()).is_ok_and(|state| state == LockState::Held);
        let look = |live| file::open_dir(paths.path()).and_then(|directory| log::damage(directory, live));
        let live = running();
        let mut found = look(live);
        if !live && !matches!(found, Ok(0)) && running() {
            // It was started meanwhile.
            found = look(true);
        }
        let what = match found {
            Ok(0) => return Ok(()),
            Ok(bytes) => format!("{bytes} bytes are damaged"),
            Err(_) if !file::exists(paths.path())? => return Ok(()),
            Err(error) => format!("cannot be read: {}", error.of_the_thing()?),
        };
        let hint = "nothing can mend a log; `lrun logs` shows what can be read of it".to_owned();
        self.tell(format!("{words}: log: {what}"), false, Some(hint));
        Ok(())
    }

    fn lock_file(&mut self, path: &Path, place: &str) -> Result<()> {
        let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
        let mode = meta.permissions().mode() & 0o7777;
        let what = match (meta.is_file(), meta.len()) {
            (false, _) => "is no file".to_owned(),
            (true, 0) if mode == MODE => return Ok(()),
            _ if mode != MODE => format!("its mode is {mode:o}, not {MODE:o}"),
            // Of a container whose creation was interrupted at its very end, or was an older lrun's.
            (true, _) if file::read_small(path, MOST).is_ok_and(|content| Staging::is_mark(&content)) => return Ok(()),
            (true, bytes) => format!("has {bytes} bytes, a lock has none"),
        };
        let mended = self.options.repair && meta.is_file();
        if mended {
            let context = || format!("mend {}", path.display());
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).context(context)?;
            let mut options = std::fs::OpenOptions::new();
            options
                .write(true)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
                .context(context)?
                .set_len(0)
                .context(context)?;
        }
        self.tell(format!("{place}: {what}"), mended, None);
        Ok(())
    }
}

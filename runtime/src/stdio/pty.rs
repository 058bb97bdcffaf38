//! A terminal that nobody looks at, and the process that keeps it: forked by the CLI, on the host, as the user.

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Context, Result};
use crate::sys::fd::{close_from, place};
use crate::sys::process::{Fork, exit_now, fork_into};

/// Keeps a terminal for programs whose user has left: without its master they would be hung up, and without a reader
/// they would stop when its buffer is full. A process of its own reads until no program has it open any more. The caller
/// has one thread.
pub fn keep(master: OwnedFd) -> Result<()> {
    let (kept, tell) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
    match fork_into(0).context(|| "keep the terminal")? {
        Fork::Parent { .. } => {
            drop(tell);
            // Until it has a session of its own, the end of this process could hang it up. End of file is as good as a byte.
            let _ = retry_on_intr(|| rustix::io::read(&kept, &mut [0]));
            Ok(())
        }
        Fork::Child => {
            let _ = rustix::process::setsid();
            if place(master.as_fd(), 0).is_ok() && close_from(1).is_ok() {
                std::mem::forget(master);
                let _ = rustix::io::ioctl_fionbio(rustix::stdio::stdin(), false);
                let mut buffer = [0; 4096];
                // EIO: the other side is closed.
                while matches!(rustix::io::read(rustix::stdio::stdin(), &mut buffer), Ok(1..) | Err(Errno::INTR)) {}
            }
            exit_now(0)
        }
    }
}

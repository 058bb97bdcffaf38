//! Whether a log is as it was written.

use std::os::fd::AsFd;

use super::reader::{LogFile, LogReader, Step};
use super::{HEADER, frame_start};
use crate::error::Result;

/// Bytes of the log in this container's directory that lie in frames, or in parts of blocks, that are not as they were
/// written. `live`: a writer is at work, and what it may be writing does not count. What a crash tore does not, either.
pub fn damage(dir: impl AsFd, live: bool) -> Result<u64> {
    let mut reader = LogReader::open(dir)?;
    let files = reader.files();
    let newest = files.len().saturating_sub(1);
    files.iter_mut().enumerate().map(|(number, file)| of_file(file, number < newest || !live)).sum()
}

fn of_file(file: &mut LogFile, last: bool) -> Result<u64> {
    let (mut damaged, mut again) = (0, None);
    loop {
        let before = file.offset();
        let at = frame_start(before);
        if at > before && again != Some(at) && !file.is_zero(before, at)? {
            damaged += at - before;
        }
        let unsound = match file.step(last)? {
            Step::Frame(frame) if frame.is_sound() => continue,
            Step::Frame(frame) => Some(u64::from(frame.header.length)),
            // A header that a crash tore.
            Step::Damaged(bytes) if bytes < HEADER as u64 => continue,
            Step::Damaged(bytes) => {
                damaged += bytes;
                continue;
            }
            Step::End => None,
        };
        if unsound.is_none() && (last || file.may_begin(at)?) {
            return Ok(damaged);
        }
        // A writer on a full disk may just have been shortening it.
        if again != Some(at) {
            again = Some(at);
            file.read_again(at);
            continue;
        }
        match unsound {
            Some(bytes) => damaged += bytes,
            None => return Ok(damaged + file.size()?.saturating_sub(at)),
        }
    }
}

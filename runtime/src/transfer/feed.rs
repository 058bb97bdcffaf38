//! The pipe to or from a helper: layers one after the other, each ended by a mark that says that all of it came and is
//! what its digest says. A pipe that ends without the mark was given up.
//!
//! ```text
//! 'L' number      a layer begins; it goes into the directory of this number
//! 'D' length      so many bytes of it follow
//! 'E' 0           it is whole, and verified
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, openat};

use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::idmap::IdMap;
use crate::idmap::helper::Work;
use crate::image::compress::{Compression, Growth, Windows, decompress_within};
use crate::image::unpack::{Flusher, Limits, Unpacked, unpack};

const LAYER: u8 = b'L';
const DATA: u8 = b'D';
const END: u8 = b'E';

/// The end that is written to.
pub(super) struct Feeder(pub(super) File);

impl Feeder {
    fn mark(&mut self, kind: u8, number: u32) -> io::Result<()> {
        let mut mark = [kind, 0, 0, 0, 0];
        mark[1..].copy_from_slice(&number.to_le_bytes());
        self.0.write_all(&mark)
    }

    /// A layer begins.
    pub(super) fn begin(&mut self, number: u32) -> io::Result<()> {
        self.mark(LAYER, number)
    }

    /// A piece of it.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mark(DATA, u32::try_from(bytes.len()).map_err(io::Error::other)?)?;
        self.0.write_all(bytes)
    }

    /// It is whole.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.mark(END, 0)
    }
}

/// The end that is read from: the bytes of one layer until its mark.
#[derive(Clone)]
pub(super) struct Feed(Arc<Mutex<State>>);

struct State {
    pipe: File,
    /// Bytes that are left of the current piece.
    left: u32,
    /// No layer is being read.
    ended: bool,
}

impl State {
    fn mark(&mut self) -> io::Result<Option<(u8, u32)>> {
        let mut mark = [0; 5];
        if self.pipe.read(&mut mark[..1])? == 0 {
            return Ok(None);
        }
        self.pipe.read_exact(&mut mark[1..])?;
        Ok(Some((mark[0], u32::from_le_bytes([mark[1], mark[2], mark[3], mark[4]]))))
    }
}

fn given_up() -> io::Error {
    Error::new(ErrorKind::Io, "the layer was given up").into()
}

impl Feed {
    pub(super) fn new(pipe: File) -> Self {
        Self(Arc::new(Mutex::new(State { pipe, left: 0, ended: true })))
    }

    /// Waits for the next layer: its number.
    pub(super) fn next(&self) -> Result<Option<u32>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.mark()? {
            Some((LAYER, number)) => {
                (state.left, state.ended) = (0, false);
                Ok(Some(number))
            }
            None => Ok(None),
            Some(_) => Err(given_up().into()),
        }
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while state.left == 0 && !state.ended {
            match state.mark()? {
                Some((DATA, length)) => state.left = length,
                Some((END, _)) => state.ended = true,
                _ => return Err(given_up()),
            }
        }
        if state.ended || into.is_empty() {
            return Ok(0);
        }
        let most = into.len().min(state.left as usize);
        let got = state.pipe.read(&mut into[..most])?;
        if got == 0 {
            return Err(given_up());
        }
        state.left -= got as u32;
        Ok(got)
    }
}

/// The work of a helper: unpacks what comes, each layer into the directory of its number, and answers each with what came
/// out. Ends with the pipe, or with the first layer that cannot be unpacked.
pub(super) fn unpack_all(work: &Work, pipe: File, map: &IdMap) -> Result<()> {
    let (feed, growth) = (Feed::new(pipe), Growth::default());
    while let Some(number) = feed.next()? {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let layer =
            openat(&work.root, number.to_string(), flags, Mode::empty()).context(|| "open the layer's directory")?;
        let unpacked = unpack_one(&feed, &growth, &layer, map)?;
        work.answer(&unpacked)?;
    }
    Ok(())
}

fn unpack_one(feed: &Feed, growth: &Growth, layer: impl AsFd, map: &IdMap) -> Result<(Compression, Unpacked)> {
    let source = growth.source(feed.clone());
    let (mut tar, compression) = decompress_within(Box::new(source), Windows::PULLED, growth)?;
    tracing::debug!(compression = compression.name(), "layer");
    let mut flusher = Flusher::new(layer.as_fd())?;
    let mut passed = |now| flusher.passed(now);
    let unpacked = unpack(&mut tar, layer.as_fd(), map, &Limits::of_known(), &mut passed)?;
    // What follows the archive is checked, too; then what follows the compressed data, which a decoder leaves.
    io::copy(&mut tar, &mut io::sink())?;
    io::copy(&mut feed.clone(), &mut io::sink())?;
    flusher.finish(unpacked.entries).context(|| "write the layer to disk")?;
    Ok((compression, unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Feeder, Feed) {
        let (out, into) = rustix::pipe::pipe().unwrap();
        (Feeder(File::from(into)), Feed::new(File::from(out)))
    }

    #[test]
    fn layers_come_one_after_the_other() {
        let (mut feeder, mut feed) = pipe();
        for (number, pieces) in [(3, &["ab", "", "c"][..]), (7, &[]), (9, &["z"])] {
            feeder.begin(number).unwrap();
            pieces.iter().for_each(|piece| feeder.data(piece.as_bytes()).unwrap());
            feeder.end().unwrap();
            assert_eq!(feed.next().unwrap(), Some(number));
            assert_eq!(io::read_to_string(&mut feed).unwrap(), pieces.concat());
        }
        drop(feeder);
        assert_eq!(feed.next().unwrap(), None);
    }

    #[test]
    fn a_layer_that_was_given_up_never_looks_whole() {
        for pieces in [&[][..], &["ab"]] {
            let (mut feeder, mut feed) = pipe();
            feeder.begin(0).unwrap();
            pieces.iter().for_each(|piece| feeder.data(piece.as_bytes()).unwrap());
            drop(feeder);
            feed.next().unwrap();
            assert!(io::read_to_string(&mut feed).unwrap_err().to_string().contains("given up"));
        }
    }
}

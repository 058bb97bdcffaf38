//! The limit on what decoders make out of few bytes.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much may be made of how little, before it is taken for a bomb.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// Bytes out of one that was read. gzip makes 1032 at most, so what it made is never refused; the other formats have
    /// hardly any bound of their own.
    pub most: u64,
    /// Bytes that may come out whatever the ratio: a large file of zeros is no attack.
    pub free: u64,
}

impl Default for Ratio {
    fn default() -> Self {
        Self { most: 2048, free: 16 << 30 }
    }
}

/// What has been read of an archive and what all its decoders have made of that, those of archives inside it included.
/// Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    read: Arc<AtomicU64>,
    made: Arc<AtomicU64>,
    ratio: Ratio,
}

impl Growth {
    /// Nothing yet, with another limit.
    pub fn within(ratio: Ratio) -> Self {
        Self { ratio, ..Self::default() }
    }

    /// A reader of the archive as it is kept, whose bytes are counted. A decoder may read them in advance.
    pub fn source<R>(&self, inner: R) -> Counted<R> {
        Counted { inner, read: Arc::clone(&self.read) }
    }

    /// Bytes that have been read of the sources.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// A decoder has made so many more bytes; the limit that they are beyond, in words.
    pub(super) fn made(&self, bytes: u64) -> Result<(), String> {
        let Ratio { most, free } = self.ratio;
        let made = self.made.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if made <= free || made / most <= self.read() {
            return Ok(());
        }
        Err(format!("{made} bytes out of {}, more than {most} times as many, the limit beyond {free}", self.read()))
    }
}

/// A reader whose bytes are counted.
pub struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(into)?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

//! Small tar archives made byte by byte, also wrong ones.

/// One entry as its header will say it, whether it makes sense or not.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Path, at most 100 bytes.
    pub name: &'a [u8],
    /// `b'0'` file, `b'1'` hard link, `b'2'` symbolic link, `b'5'` directory, `b'x'` PAX header… (POSIX ustar).
    pub kind: u8,
    /// Target of a link, at most 100 bytes.
    pub link: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Content.
    pub data: &'a [u8],
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self { name: b"", kind: b'0', link: b"", mode: 0o644, uid: 0, gid: 0, data: b"" }
    }
}

/// An archive under construction.
#[derive(Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is added comes after the entries of this archive.
    pub fn on(archive: &[u8]) -> Self {
        let end = archive.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Self { bytes: archive[..end.next_multiple_of(512)].to_vec() }
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, entry: Entry<'_>) -> Self {
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, entry.name);
        put(100, format!("{:07o}\0", entry.mode).as_bytes());
        put(108, format!("{:07o}\0", entry.uid).as_bytes());
        put(116, format!("{:07o}\0", entry.gid).as_bytes());
        put(124, format!("{:011o}\0", entry.data.len()).as_bytes());
        put(136, format!("{:011o}\0", 1_700_000_000).as_bytes());
        put(148, b"        ");
        put(156, &[entry.kind]);
        put(157, entry.link);
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(entry.data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a directory of root.
    #[must_use]
    pub fn dir(self, name: &str) -> Self {
        self.entry(Entry { name: name.as_bytes(), kind: b'5', mode: 0o755, ..Entry::default() })
    }

    /// Adds a file of root, 0644.
    #[must_use]
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(Entry { name: name.as_bytes(), data, ..Entry::default() })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(Entry {
            name: name.as_bytes(),
            kind: b'2',
            link: target.as_bytes(),
            mode: 0o777,
            ..Entry::default()
        })
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(Entry { name: name.as_bytes(), kind: b'1', link: target.as_bytes(), ..Entry::default() })
    }

    /// Adds a PAX header with these records for the next entry.
    #[must_use]
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = 1 + key.len() + 1 + value.len() + 1;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.entry(Entry { name: b"PaxHeaders/x", kind: b'x', data: &data, ..Entry::default() })
    }

    /// The archive with its two closing blocks.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }

    /// The archive cut off, without closing blocks.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn gnu_tar_reads_it() {
        let tar = Tar::new().dir("d/").file("d/f", b"hello\n").symlink("l", "d/f").pax(&[("path", b"long/name")]);
        let tar = tar.file("short", b"x").finish();
        let mut child =
            Command::new("tar").arg("-tf").arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&tar).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "d/\nd/f\nl\nlong/name\n");
    }
}

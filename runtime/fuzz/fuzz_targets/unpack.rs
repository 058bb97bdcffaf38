//! A whole archive: unpacked into a directory of its own, beside which nothing may change; what is taken is rebuilt to
//! the last byte. Every run makes files: point `TMPDIR` at a tmpfs.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use lrun_runtime::digest::Digest;
use lrun_runtime::idmap::{Extent, IdMap, Mode};
use lrun_runtime::image::index::rebuild;
use lrun_runtime::image::unpack::{Limits, unpack};

fn own_ids() -> IdMap {
    let extent = |id: u32| vec![Extent { inside: id, outside: id, count: 1 }];
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    IdMap::new(Mode::Single, extent(uid), extent(gid))
}

fuzz_target!(|data: &[u8]| {
    let parent = tempfile::tempdir().expect("a directory");
    let layer = parent.path().join("layer");
    std::fs::create_dir(&layer).expect("a directory");
    let directory = File::open(&layer).expect("a directory");
    // A hole of a terabyte takes no space, but no time is spent on writing gigabytes either.
    let limits = Limits { bytes: 1 << 30, entries: 1000, ..Limits::default() };
    let unpacked = unpack(&mut { data }, directory.as_fd(), &own_ids(), &limits, &mut |_| {});
    if let Ok(unpacked) = unpacked {
        assert_eq!(unpacked.diff_id, Digest::of(data));
        let index = File::open(layer.join("index")).expect("an index");
        let mut tar = Vec::new();
        rebuild(&index, directory.as_fd(), &mut tar).expect("an archive that was taken can be rebuilt");
        assert!(tar == data);
    }
    assert_eq!(std::fs::read_dir(parent.path()).expect("a directory").count(), 1, "something appeared beside");
});

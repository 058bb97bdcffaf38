//! Archives of every program that makes them: what was imported goes out again byte for byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use lrun_tests::{Lrun, images, long, skip};

use crate::made::{digest, hex};

/// The ways in which a program makes an archive `a.tar` of the folder `t`, or of `s`, which the oldest formats can hold.
const WAYS: [(&str, &[&str]); 7] = [
    (
        "tar",
        &[
            "tar --format=gnu -C t -cf a.tar .",
            "tar --format=gnu -S -C t -cf a.tar .",
            "tar --format=oldgnu -S -C t -cf a.tar .",
            "tar --format=pax --xattrs -S -C t -cf a.tar .",
            "tar --format=pax --sparse-version=0.0 -S -C t -cf a.tar .",
            "tar --format=pax --sparse-version=0.1 -S -C t -cf a.tar .",
            "tar --format=pax --pax-option=comment=hi -C s -cf a.tar .",
            "tar --format=ustar -C s -cf a.tar .",
            "tar --format=v7 -C s -cf a.tar .",
            "tar -b1 -C s -cf a.tar .",
            // A repeat that shadows what was before, what follows the end, and no end at all.
            "tar -C s -cf a.tar . && echo 2 > s/d/f && tar -C s -rf a.tar ./d/f",
            "tar -C s -cf a.tar . && printf 'what follows' >> a.tar",
            "tar -b1 -C s -cf b . && head -c -1024 b > a.tar",
        ],
    ),
    (
        "bsdtar",
        &[
            "bsdtar --format=pax -C t -cf a.tar .",
            "bsdtar --format=paxr -C t -cf a.tar .",
            "bsdtar --format=gnutar -C t -cf a.tar .",
            "bsdtar --format=ustar -C s -cf a.tar .",
            "bsdtar --format=v7 -C s -cf a.tar .",
        ],
    ),
    ("busybox", &["busybox tar -C s -cf a.tar ."]),
    (
        "cpio",
        &["cd s && find . | cpio -o -H ustar --quiet > ../a.tar", "cd s && find . | cpio -o -H tar --quiet > ../a.tar"],
    ),
    (
        "python3",
        &[
            "python3 -c 'import tarfile as t; t.open(\"a.tar\", \"w\", format=t.USTAR_FORMAT).add(\"s\", \".\")'",
            "python3 -c 'import tarfile as t; t.open(\"a.tar\", \"w\", format=t.GNU_FORMAT).add(\"t\", \".\")'",
            "python3 -c 'import tarfile as t; t.open(\"a.tar\", \"w\", format=t.PAX_FORMAT).add(\"t\", \".\")'",
        ],
    ),
    (
        "git",
        &["git init -q g && cd g && cp ../s/d/f . && git add f && git -c user.name=n -c user.email=e commit -qm m \
               && git archive HEAD > ../a.tar"],
    ),
    // Go's archive/tar, as docker, podman and buildah have it: its one layer is the one blob that is compressed.
    (
        "umoci",
        &["rm -rf l && umoci init --layout l && umoci new --image l:none && umoci unpack --rootless --image l:none b \
               && { python3 -c 'import os; os.setxattr(\"t/d/f\", \"user.x\", b\"1\")' || :; } && cp -a t/. b/rootfs && umoci repack --image l:all b \
               && for f in l/blobs/sha256/*; do ! gzip -dc $f > b.tar || mv b.tar a.tar; done"],
    ),
];

/// `s`: what every format can hold; `t`: the same with long names, holes, odd names and times.
const TREES: &str = "
    mkdir -p s/d && echo 1 > s/d/f && ln s/d/f s/g && ln -s f s/d/l && truncate -s 1M s/hole
    long=$(printf 'n%.0s' $(seq 120)) && cp -a s t && mkdir -p t/$long/$long && echo 2 > t/$long/$long/f
    ln t/$long/$long/f t/linked && ln -s $long$long \"t/long link\" && printf x | dd of=t/hole bs=1 seek=500000 conv=notrunc
    printf x > \"$(printf 't/\\303\\251 \\\\ \\nx')\" && chmod 4755 t/d/f
    touch -d '1960-01-01 00:00:00.123456789' t/old && touch -d 2200-01-01 t/new && mkfifo t/fifo";

#[track_caller]
fn comes_back(lrun: &Lrun, archive: &Path, way: &str) {
    // With one id there is a warning about those of others.
    let output = lrun.run(&["import", archive.to_str().expect("UTF-8")]);
    assert_eq!(output.code, 0, "{way}: {}", output.stderr);
    let id = output.stdout.trim().to_owned();
    let bytes = fs::read(archive).expect("an archive");
    assert_eq!(lrun.inspect(&id, "{{index .RootFS.Layers 0}}"), digest(&bytes), "{way}");
    lrun.ok(&["save", "--format", "oci-dir", "-o", "out", &id]);
    let out = lrun.folder().join("out");
    assert!(fs::read(out.join("blobs/sha256").join(hex(&bytes))).expect("the layer") == bytes, "{way}");
    fs::remove_dir_all(out).expect("remove a folder");
    lrun.ok(&["rmi", &id]);
}

#[test]
fn every_programs_archives_come_back_exactly() {
    let lrun = Lrun::new();
    let shell = |script: &str| {
        let status = Command::new("sh").args(["-ec", script]).current_dir(lrun.folder()).output().expect("sh");
        assert!(status.status.success(), "{script}: {}", String::from_utf8_lossy(&status.stderr));
    };
    shell(TREES);
    let mut absent = Vec::new();
    for (program, ways) in WAYS {
        if Command::new(program).arg("--help").output().is_err() {
            absent.push(program);
            continue;
        }
        for way in ways {
            shell(&format!("rm -rf a.tar b g; {way}"));
            comes_back(&lrun, &lrun.folder().join("a.tar"), way);
        }
    }
    if long() {
        comes_back(&lrun, &images("stage0.tar"), "mmdebstrap");
    }
    if !absent.is_empty() {
        skip!("not installed: {}", absent.join(", "));
    }
}

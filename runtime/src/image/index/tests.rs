//! Records written and read back, and every kind of damage.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::image::tar::archive::Archive;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        bytes().prop_map(Record::Head),
        bytes().prop_map(Record::Raw),
        Just(Record::Other),
        bytes().prop_map(Record::Implicit),
        (0..1u64 << 62, bytes()).prop_map(|(number, path)| Record::Kept { number, path }),
        (any::<bool>(), proptest::option::of(bytes())).prop_map(|(content, path)| Record::Entry { content, path }),
    ]
}

fn write(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for record in records {
        match record {
            Record::Head(bytes) => writer.head(bytes),
            Record::Raw(bytes) => writer.raw(bytes),
            Record::Implicit(path) => writer.implicit(path),
            Record::Kept { number, path } => writer.kept(*number, path),
            Record::Entry { content, path } => writer.entry(*content, path.as_deref()),
            Record::Other => writer.other(),
            Record::Content(_) => writer.content_end(),
        }
        .unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<Record>> {
    let mut reader = Reader::new(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    Ok(records)
}

/// What an index file is around its records.
fn framed(records: &[u8]) -> Vec<u8> {
    [MAGIC, &zstd::encode_all(records, 1).unwrap()].concat()
}

#[test]
fn damage_is_named() {
    let head = |length: &[u8]| framed(&[&[HEAD], length, b"x"].concat());
    let cases = [
        (b"".to_vec(), "too short"),
        (b"lrun-index 2\n".to_vec(), "unknown format"),
        (MAGIC.to_vec(), "cut off"),
        ([MAGIC, b"no zstd"].concat(), "cut off"),
        (framed(b""), "cut off"),
        (framed(&[0]), "unknown record"),
        (framed(&[99]), "unknown record"),
        (framed(&[ENTRY, HAS_PATH]), "cut off"),
        (framed(&[CONTENT, 1, 2, 3]), "cut off"),
        (head(&[2]), "cut off"),
        (head(&[0x81, 0x80, 0x80, 0x80, 0x01]), "length out of range"),
        (head(&[0xff; 9]), "number out of range"),
        (head(&[0xff; 20]), "number out of range"),
    ];
    for (bytes, wanted) in cases {
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.to_string(), format!("the layer index is damaged ({wanted})"), "{bytes:?}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert_eq!(read(&framed(&[END])).unwrap(), []);
    // What follows the end is not looked at.
    assert_eq!(read(&framed(&[END, 99])).unwrap(), []);
}

/// A piece that says it is large takes no memory before its bytes are there.
#[test]
fn lengths_are_not_believed() {
    let mut most = Vec::new();
    let mut number = MAX_PIECE;
    while number >= 0x80 {
        most.push(number as u8 | 0x80);
        number >>= 7;
    }
    most.push(number as u8);
    let mut reader = Reader::new(Cursor::new(framed(&[&[RAW], most.as_slice(), b"abc"].concat()))).unwrap();
    assert_eq!(reader.next().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn entries_need_headers_and_digests() {
    let read = |bytes: Vec<u8>| Entries::new(Cursor::new(bytes)).unwrap().collect::<Result<Vec<_>>>();
    let head = Archive::default().file("f", "1").0;
    let write = |steps: &dyn Fn(&mut Writer<Vec<u8>>)| {
        let mut writer = Writer::new(Vec::new()).unwrap();
        steps(&mut writer);
        writer.finish().unwrap()
    };
    let good = write(&|writer| {
        // A header may come in pieces, as it lay in the chunks of the stream.
        writer.head(&head[..100]).unwrap();
        writer.head(&head[100..512]).unwrap();
        writer.entry(true, Some(b"g")).unwrap();
        writer.content(b"1");
        writer.content_end().unwrap();
        writer.raw(&head[512..]).unwrap();
        writer.implicit(b"d").unwrap();
        writer.kept(7, b"g").unwrap();
    });
    let entries = read(good).unwrap();
    let found: Vec<_> = entries.iter().map(|e| (e.head.path.as_slice(), e.place.as_deref(), e.implicit)).collect();
    assert_eq!(found, [(&b"f"[..], Some(&b"g"[..]), false), (b"d", None, true)]);
    assert_eq!(entries[0].digest, Some(*blake3::hash(b"1").as_bytes()));
    let no_digest = write(&|writer| {
        writer.head(&head[..512]).unwrap();
        writer.entry(true, None).unwrap();
        writer.other().unwrap();
    });
    assert_eq!(read(no_digest).unwrap_err().kind(), ErrorKind::Corrupt);
    for bytes in [&b""[..], &head[..500], &head[..511], &[0; 512], b"x"] {
        let bytes = write(&|writer| {
            writer.head(bytes).unwrap();
            writer.entry(false, None).unwrap();
        });
        let error = read(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_reader_that_fails_is_no_damage() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::Error::from_raw_os_error(libc::EIO)),
                got => Ok(got),
            }
        }
    }
    let whole = write(&[Record::Raw(vec![7; 300_000])]);
    let cut = whole[..whole.len() / 2].to_vec();
    let mut reader = Reader::new(Failing(Cursor::new(cut))).unwrap();
    let error = std::iter::from_fn(|| reader.next().transpose()).find_map(Result::err).unwrap();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Io, Some(libc::EIO)));
}

proptest! {
    #[test]
    fn records_are_read_back(wanted in proptest::collection::vec(records(), 0..20)) {
        prop_assert_eq!(read(&write(&wanted)).unwrap(), wanted);
    }

    #[test]
    fn damage_is_corruption_never_a_panic(
        wanted in proptest::collection::vec(records(), 0..20),
        cut in any::<proptest::sample::Index>(),
    ) {
        let bytes = write(&wanted);
        let error = read(&bytes[..cut.index(bytes.len())]).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), inside: bool) {
        let file = if inside { framed(&bytes) } else { [MAGIC, bytes.as_slice()].concat() };
        let _ = read(&file);
        if let Ok(entries) = Entries::new(Cursor::new(file)) {
            entries.for_each(drop);
        }
    }
}

//! The log written, rotated, damaged, followed and shown.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const OUT: Stream = Stream::Stdout;
const ERR: Stream = Stream::Stderr;

/// What `show` gave.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    out: String,
    err: String,
    notices: Vec<Notice>,
}

fn shown_while(dir: &Path, view: View, alive: &mut dyn FnMut() -> bool) -> Shown {
    let dir = File::open(dir).unwrap();
    let (mut out, mut err, mut notices) = (Vec::new(), Vec::new(), Vec::new());
    show(&dir, &view, alive, &mut |notice| notices.push(notice), &mut out, &mut err).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Shown { out: text(out), err: text(err), notices }
}

fn shown(dir: &Path, view: View) -> Shown {
    shown_while(dir, view, &mut || false)
}

fn writer(dir: &Path, max_size: u64, max_file: u32) -> LogWriter {
    LogWriter::open(File::open(dir).unwrap(), LogOptions { max_size, max_file }).unwrap()
}

/// A log of these frames, one second each from 1 s on.
fn written(frames: &[(Stream, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut bytes, mut position) = (Vec::new(), 0);
    for (n, (stream, text)) in frames.iter().enumerate() {
        let (length, time) = (text.len() as u32, (n as u64 + 1) * 1_000_000_000);
        bytes.extend(Header { kind: Kind::Output(*stream), begins: false, sum: 0, length, time, position }.encode());
        bytes.extend(text.as_bytes());
        position += u64::from(length);
    }
    std::fs::write(dir.path().join(NAME), bytes).unwrap();
    dir
}

fn sec(seconds: u64) -> Option<u64> {
    Some(seconds * 1_000_000_000)
}

#[test]
fn headers_round_trip_and_a_flipped_bit_shows() {
    for (kind, begins) in
        [(Kind::Output(Stream::Stdout), true), (Kind::Output(Stream::Stderr), false), (Kind::Dropped, false)]
    {
        let header = Header { kind, begins, sum: 9, length: 77, time: u64::MAX - 5, position: 1 << 40 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..HEADER * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&broken), None, "bit {bit}");
        }
    }
    assert_eq!(Header::decode(&[0; HEADER]), None);
    assert_eq!(Header::decode(&MAGIC), None);
}

#[test]
fn frames_stay_inside_blocks() {
    assert_eq!(frame_start(0), 0);
    assert_eq!(frame_start(BLOCK - MIN_FRAME), BLOCK - MIN_FRAME);
    assert_eq!(frame_start(BLOCK - MIN_FRAME + 1), BLOCK);
    assert_eq!(frame_start(BLOCK), BLOCK);
}

#[test]
fn both_streams_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), u64::MAX, 1);
    log.write(OUT, b"out\n");
    log.write(ERR, b"err\n");
    log.write(OUT, b"no end");
    let all = shown(dir.path(), View::default());
    assert_eq!((all.out.as_str(), all.err.as_str(), all.notices), ("out\nno end", "err\n", vec![]));
    assert_eq!(shown(tempfile::tempdir().unwrap().path(), View::default()), Shown::default(), "no log is an empty one");
}

/// stdout and stderr may be the same file, as with `2>&1`.
#[test]
fn both_streams_keep_their_order_in_one_place() {
    let dir = written(&[(OUT, "1\n"), (ERR, "2\n"), (ERR, "3\n"), (OUT, "4\n"), (ERR, "5\n")]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || std::io::BufWriter::new(File::options().append(true).open(file.path()).unwrap());
    let log = File::open(dir.path()).unwrap();
    show(&log, &View::default(), &mut || false, &mut |_| {}, &mut open(), &mut open()).unwrap();
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "1\n2\n3\n4\n5\n");
}

#[test]
fn times_and_details_stand_before_each_line() {
    let dir = written(&[(OUT, "a\nb"), (ERR, "e\n"), (OUT, "c\n\n")]);
    let (t1, t2, t3) = ("1970-01-01T00:00:01", "1970-01-01T00:00:02", "1970-01-01T00:00:03");
    let timed = shown(dir.path(), View { timestamps: true, ..View::default() });
    let nine = ".000000000Z";
    assert_eq!(timed.out, format!("{t1}{nine} a\n{t1}{nine} bc\n{t3}{nine} \n"));
    assert_eq!(timed.err, format!("{t2}{nine} e\n"));
    assert_eq!(shown(dir.path(), View { details: true, ..View::default() }).out, " a\n bc\n \n");
    let both = shown(dir.path(), View { details: true, timestamps: true, ..View::default() });
    assert_eq!(both.err, format!("{t2}{nine}  e\n"));
    // In one place no line is in the midst of another; one that never ends comes last.
    let dir = written(&[(OUT, "b"), (ERR, "e\n"), (OUT, "c\nd"), (ERR, "f\n")]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || File::options().append(true).open(file.path()).unwrap();
    let view = View { timestamps: true, ..View::default() };
    show(File::open(dir.path()).unwrap(), &view, &mut || false, &mut |_| {}, &mut open(), &mut open()).unwrap();
    let t4 = "1970-01-01T00:00:04";
    let lines = [(t2, "e\n"), (t1, "bc\n"), (t4, "f\n"), (t3, "d")].map(|(time, line)| format!("{time}{nine} {line}"));
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), lines.concat());
}

#[test]
fn a_part_by_time_is_made_of_whole_lines() {
    let dir = written(&[(OUT, "one\ntw"), (ERR, "err\n"), (OUT, "o\nthree\n"), (OUT, "four\n")]);
    let part = |since, until| {
        let shown = shown(dir.path(), View { since, until, ..View::default() });
        (shown.out, shown.err)
    };
    assert_eq!(part(sec(2), None), ("three\nfour\n".into(), "err\n".into()));
    assert_eq!(part(None, sec(1)), ("one\ntwo\n".into(), String::new()));
    assert_eq!(part(sec(2), sec(3)), ("three\n".into(), "err\n".into()));
    assert_eq!(part(sec(9), None), (String::new(), String::new()));
}

#[test]
fn the_tail_counts_the_lines_of_both_streams() {
    let dir = written(&[(OUT, "o1\no2\n"), (ERR, "e1\n"), (OUT, "o3\no4"), (ERR, "e2\n")]);
    for (lines, out, err) in [
        (0, "", ""),
        (1, "", "e2\n"),
        (2, "o4", "e2\n"),
        (3, "o3\no4", "e2\n"),
        (4, "o3\no4", "e1\ne2\n"),
        (6, "o1\no2\no3\no4", "e1\ne2\n"),
        (99, "o1\no2\no3\no4", "e1\ne2\n"),
    ] {
        let tail = shown(dir.path(), View { tail: Some(lines), ..View::default() });
        assert_eq!((tail.out.as_str(), tail.err.as_str()), (out, err), "{lines}");
    }
}

#[test]
fn what_was_rotated_away_is_said_unless_it_was_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 4096, 2);
    for n in 0..2000 {
        log.write(OUT, format!("line {n}\n").as_bytes());
    }
    let all = shown(dir.path(), View::default());
    assert!(all.out.ends_with("line 1998\nline 1999\n"), "{}", all.out);
    let [Notice::Rotated(gone)] = all.notices[..] else { panic!("{:?}", all.notices) };
    let total: usize = (0..2000).map(|n| format!("line {n}\n").len()).sum();
    assert_eq!(gone as usize + all.out.len(), total);
    let recent = shown(dir.path(), View { since: Some(u64::MAX), ..View::default() });
    assert_eq!((recent.out.as_str(), recent.notices), ("", vec![]));
    assert_eq!(shown(dir.path(), View { tail: Some(3), ..View::default() }).notices, []);
    assert!(std::fs::read_dir(dir.path()).unwrap().count() <= 2);
}

/// A rotation between two lines costs no line of the file that is left.
#[test]
fn the_first_line_of_a_file_is_whole_where_a_line_ended_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 100, 2);
    let lines: Vec<String> = (0..9).map(|n| format!("line {n} {}\n", "x".repeat(100 - HEADER - 8))).collect();
    for line in &lines {
        log.write(OUT, line.as_bytes());
    }
    let gone = (lines.len() - 2) * lines[0].len();
    let wanted = Shown { out: lines[7..].concat(), notices: vec![Notice::Rotated(gone as u64)], ..Shown::default() };
    assert_eq!(shown(dir.path(), View::default()), wanted);
}

#[test]
fn a_restart_goes_on_where_the_log_ended_also_after_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = String::new();
    for n in 0..50 {
        let mut log = writer(dir.path(), 4096, 1000);
        let text = format!("{n}{}\n", "x".repeat(n * 20));
        log.write(OUT, text.as_bytes());
        expected.push_str(&text);
    }
    assert_eq!(shown(dir.path(), View::default()), Shown { out: expected, ..Shown::default() });
}

#[test]
fn a_torn_or_damaged_frame_costs_no_more_than_the_rest_of_its_block() {
    let dir = written(&[(OUT, "first\n"), (OUT, "torn by a crash\n")]);
    let path = dir.path().join(NAME);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    assert_eq!(shown(dir.path(), View::default()).out, "first\ntorn b");
    writer(dir.path(), u64::MAX, 1).write(OUT, b" and on\n");
    assert_eq!(shown(dir.path(), View::default()), Shown { out: "first\ntorn b and on\n".into(), ..Shown::default() });

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER + 6] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = shown(dir.path(), View::default());
    assert_eq!(damaged.out, "first\n");
    assert!(matches!(damaged.notices[..], [Notice::Damaged(_)]), "{:?}", damaged.notices);
}

#[test]
fn a_follower_gets_every_byte_across_rotations_and_stays_until_the_writer_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut expected = String::new();
    let got = std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut alive = || !done.load(std::sync::atomic::Ordering::SeqCst);
            shown_while(dir.path(), View { follow: true, ..View::default() }, &mut alive)
        });
        let mut log = writer(dir.path(), 8192, 1000);
        for n in 0..20_000 {
            let text = format!("line {n}\n");
            log.write(OUT, text.as_bytes());
            expected.push_str(&text);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        follower.join().unwrap()
    });
    assert_eq!(got.notices, []);
    assert!(got.out == expected, "{} of {} bytes", got.out.len(), expected.len());
}

#[test]
fn without_following_a_fast_writer_is_not_read_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), 4096, 3);
    log.write(OUT, b"before\n");
    let mut more = || {
        (0..500).for_each(|n| log.write(OUT, format!("after {n}\n").as_bytes()));
        true
    };
    let got = shown_while(dir.path(), View::default(), &mut more);
    assert_eq!(got, Shown { out: "before\n".into(), ..Shown::default() });
}

/// What is written while the last lines are looked for must not move the search beyond the end that was fixed before.
#[test]
fn the_tail_of_a_log_that_grows_ends_where_the_reading_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = writer(dir.path(), u64::MAX, 1);
    log.write(OUT, b"one\ntwo\n");
    let mut reader = LogReader::open(File::open(dir.path()).unwrap()).unwrap();
    reader.end_here().unwrap();
    log.write(OUT, b"three\n");
    let from = view::start_of_tail(&mut reader, 1).unwrap();
    assert_eq!(from[0], 4);
    let Some(Item::Output(frame)) = reader.next(true).unwrap() else { panic!("no frame") };
    assert_eq!(frame.data, b"one\ntwo\n");
    assert_eq!(reader.next(true).unwrap(), None);
}

#[test]
fn output_taken_from_a_pipe_is_logged_like_written_output() {
    let dir = tempfile::tempdir().unwrap();
    let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
    let (read, write) = rustix::pipe::pipe_with(flags).unwrap();
    let mut log = writer(dir.path(), 64 * 1024, 1000);
    let mut expected = Vec::<u8>::new();
    for n in 0..100u32 {
        let text = n.to_le_bytes().repeat(1000);
        rustix::io::write(&write, &text).unwrap();
        expected.extend(&text);
        let mut left = text.len();
        while left > 0 {
            let Taken::Bytes(taken) = log.take(OUT, read.as_fd(), left).unwrap() else {
                panic!("the pipe is not empty")
            };
            left -= taken;
        }
    }
    assert_eq!(log.take(OUT, read.as_fd(), 10).unwrap(), Taken::Empty);
    drop(write);
    assert_eq!(log.take(OUT, read.as_fd(), 10).unwrap(), Taken::Ended);
    let mut reader = LogReader::open(File::open(dir.path()).unwrap()).unwrap();
    let mut got = Vec::new();
    while let Some(item) = reader.next(false).unwrap() {
        let Item::Output(frame) = item else { panic!("{item:?}") };
        got.extend_from_slice(frame.data);
    }
    assert!(got == expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the sizes of pieces and files: every byte of each stream, in order.
    #[test]
    fn every_byte_is_kept(
        pieces in proptest::collection::vec((any::<bool>(), 1usize..20_000), 1..60),
        max_size in 4096u64..600_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = [String::new(), String::new()];
        let mut log = writer(dir.path(), max_size, 1000);
        for (n, (err, length)) in pieces.iter().enumerate() {
            let text: String = format!("{n},").chars().cycle().take(*length).collect();
            log.write(Stream::ALL[usize::from(*err)], text.as_bytes());
            expected[usize::from(*err)].push_str(&text);
        }
        let got = shown(dir.path(), View::default());
        prop_assert_eq!(&got.notices, &vec![]);
        prop_assert!([got.out, got.err] == expected);
    }
}

proptest! {
    /// Bytes that no writer wrote end in an error or in less output, never in a panic or without end.
    #[test]
    fn no_bytes_panic(
        junk in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        tail in proptest::option::of(0u64..5),
    ) {
        let dir = written(&[(OUT, "one\ntwo\n"), (ERR, "three\n"), (OUT, "four")]);
        let path = dir.path().join(NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend(junk);
        std::fs::write(&path, bytes).unwrap();
        shown(dir.path(), View { tail, ..View::default() });
    }
}

/// Bytes of every kind of a log of two files, one of two blocks; what a writer or a crash leaves is no damage.
#[test]
fn every_changed_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let damage = |live| damage(File::open(dir.path()).unwrap(), live).unwrap();
    assert_eq!(damage(false), 0);
    let mut writer = writer(dir.path(), BLOCK + 5000, 2);
    // The first block has a rest without a frame.
    writer.write(OUT, &vec![b'x'; BLOCK as usize - 2 * HEADER - 7 - 40]);
    writer.write(ERR, b"1234567");
    for line in 0..200u32 {
        writer.write(OUT, format!("line {}\n", line * 37).as_bytes());
    }
    writer.finish();
    assert_eq!(damage(false), 0);
    for name in ["log", "log.1"] {
        let path = dir.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        let all = (0..whole.len())
            .filter(|at| *at < 80 || at % 20011 == 0 || (BLOCK as usize - 60..BLOCK as usize + 60).contains(at));
        for at in all {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            std::fs::write(&path, changed).unwrap();
            assert!(damage(false) > 0 && damage(true) > 0, "byte {at} of {name}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(damage(false), 0);
    }
    std::fs::remove_file(dir.path().join("log.1")).unwrap();
    let path = dir.path().join("log");
    let whole = std::fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(3) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!((damage(false), damage(true)), (0, 0), "cut at {cut}");
    }
}

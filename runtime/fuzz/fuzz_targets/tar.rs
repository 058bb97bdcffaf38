//! Headers of archives: gathered and decoded without making anything. What is decoded is within its limits, and is read
//! back from the form in which lrun writes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::error;

#[allow(dead_code, reason = "a module of the library, which uses more of it")]
#[path = "../../src/image/tar/mod.rs"]
mod tar;

use tar::gather::{Gathered, gather};
use tar::parse::parse;
use tar::{Kind, Limits, header, padding};

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let mut rest = data;
    let mut blocks = Vec::new();
    while let Ok(found @ (Gathered::Entry | Gathered::Global)) = gather(&mut rest, &mut blocks, &limits) {
        if found == Gathered::Global {
            continue;
        }
        let Ok(head) = parse(&mut blocks, &limits) else { break };
        assert!(head.path.split(|b| *b == b'/').all(|name| name != b".." && name != b"." && name.len() <= 255));
        assert!(!head.path.contains(&0) && !head.link.contains(&0) && head.path.len() <= limits.path);
        assert!(head.xattrs.iter().all(|(name, _)| !name.starts_with(b"user.overlay.")));
        let segments = head.segments.iter().flatten();
        assert!(segments.clone().map(|segment| segment.length).sum::<u64>() == head.stored || head.segments.is_none());
        assert!(segments.into_iter().all(|segment| segment.offset + segment.length <= head.size));
        assert!(head.kind == Kind::File || (head.stored, head.size) == (0, 0));
        let skip = head.stored.saturating_add(padding(head.stored) as u64);
        rest = rest.get(usize::try_from(skip).unwrap_or(usize::MAX)..).unwrap_or_default();
        if head.segments.is_none() {
            let mut canonical = Vec::new();
            header::write(&head, &mut canonical);
            let mut source = canonical.as_slice();
            assert_eq!(gather(&mut source, &mut blocks, &limits).expect("lrun's own header"), Gathered::Entry);
            assert_eq!(parse(&mut blocks, &limits).expect("lrun's own header"), head);
        }
    }
});

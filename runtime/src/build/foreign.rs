//! Whether this machine runs programs of another architecture: by an emulator that is registered with binfmt_misc.
//!
//! Documentation/admin-guide/binfmt-misc.rst. What counts is an entry that takes such programs and whose emulator was opened when
//! it was registered (`F`): a container does not have that file.

use std::path::Path;

use crate::image::config::ImageConfig;
use crate::registry::platform::Platform;

const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Architectures in Go's words: ELF class, byte order (1: little) and machine.
const MACHINES: [(&str, u8, u8, u16); 11] = [
    ("386", 1, 1, 3),
    ("amd64", 2, 1, 62),
    ("arm", 1, 1, 40),
    ("arm64", 2, 1, 183),
    ("loong64", 2, 1, 258),
    ("mips64", 2, 2, 8),
    ("mips64le", 2, 1, 8),
    ("ppc64", 2, 2, 21),
    ("ppc64le", 2, 1, 21),
    ("riscv64", 2, 1, 243),
    ("s390x", 2, 2, 22),
];

/// What helps where it does not.
pub(super) const HINT: &str = "install an emulator, such as Debian's qemu-user-static, which registers itself";

/// Why this machine cannot run the programs of an image; `None`: it can.
pub(super) fn refusal(machine: &Platform, image: &ImageConfig) -> Option<String> {
    let wanted = Platform::new(&image.os, &image.architecture, &image.variant);
    (!runs(machine, &wanted)).then(|| {
        format!("RUN needs to run programs for {wanted}, and this machine, {machine}, has no emulator for them")
    })
}

/// Whether `machine` runs programs for `wanted`.
fn runs(machine: &Platform, wanted: &Platform) -> bool {
    let native = wanted.architecture.is_empty() || machine.architecture == wanted.architecture;
    native
        || (machine.architecture.as_str(), wanted.architecture.as_str()) == ("amd64", "386")
        || emulated(Path::new(REGISTERED), &wanted.architecture)
}

fn emulated(registered: &Path, architecture: &str) -> bool {
    let Some(program) = program(architecture) else { return false };
    let Ok(entries) = std::fs::read_dir(registered) else { return false };
    entries.flatten().any(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| takes(&text, &program)))
}

/// How a program for this architecture begins.
fn program(architecture: &str) -> Option<[u8; 20]> {
    let (_, class, order, machine) = MACHINES.into_iter().find(|(name, ..)| *name == architecture)?;
    let number = |number: u16| if order == 1 { number.to_le_bytes() } else { number.to_be_bytes() };
    let mut head = [0; 20];
    head[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order, 1]);
    // An executable.
    head[16..18].copy_from_slice(&number(2));
    head[18..].copy_from_slice(&number(machine));
    Some(head)
}

/// Whether an entry, as the kernel shows it, takes a program that begins so, also in a container.
fn takes(entry: &str, program: &[u8]) -> bool {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bytes = |name: &str| field(name).and_then(unhex);
    let Some(magic) = bytes("magic ") else { return false };
    let mask = bytes("mask ").unwrap_or_else(|| vec![0xff; magic.len()]);
    let offset = field("offset ").and_then(|offset| offset.parse::<usize>().ok()).unwrap_or(0);
    let enabled = entry.lines().next() == Some("enabled") && field("flags:").is_some_and(|flags| flags.contains('F'));
    let Some(head) = program.get(offset..).and_then(|head| head.get(..magic.len())) else { return false };
    enabled && head.iter().zip(&magic).zip(&mask).all(|((byte, magic), mask)| byte & mask == magic & mask)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n\
                         magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn an_entry_takes_programs_of_its_architecture() {
        let program = |name| program(name).unwrap();
        assert!(takes(ARM64, &program("arm64")));
        for other in ["amd64", "arm", "s390x"] {
            assert!(!takes(ARM64, &program(other)), "{other}");
        }
        for useless in
            [ARM64.replace("enabled", "disabled"), ARM64.replace("POCF", "OC"), ARM64.replace("magic", "magi")]
        {
            assert!(!takes(&useless, &program("arm64")), "{useless}");
        }
        assert!(!takes("enabled\ninterpreter /usr/bin/python\nflags: F\nextension .py\n", &program("arm64")));
    }

    #[test]
    fn a_machine_runs_its_own_programs() {
        let platform = |name| Platform::new("linux", name, "");
        assert!(runs(&platform("amd64"), &platform("amd64")) && runs(&platform("amd64"), &platform("386")));
        assert!(!runs(&platform("amd64"), &platform("no-such-machine")));
        assert!(!emulated(Path::new("/no/such/directory"), "arm64"));
    }

    proptest! {
        #[test]
        fn no_entry_panics(text in "(enabled\n)?(flags: F\n)?(offset [0-9]{0,30}\n)?(magic [0-9a-fé]{0,9}\n)?.{0,20}") {
            takes(&text, &program("arm64").unwrap());
        }
    }
}

//! Power cuts: the store's file system is shut down after lrun has acknowledged something, or at any moment, and mounted
//! again; of btrfs its disk as it was at that moment. What was acknowledged is there; what was not is there whole or not at all. `power_cuts.py` does it, for it takes
//! a system call that needs `unsafe`; see its page. Root only. A sample by default, 100 cuts of each file system with
//! `LRUN_TEST_LONG`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lrun_tests::{Lrun, Mode, images, long, mode, record_skip, victim};

fn cuts(file_system: &str, sample: usize) {
    let Some(user) = victim().filter(|_| mode() == Mode::Root) else {
        return record_skip("only root can mount and shut down a file system");
    };
    let mkfs = format!("mkfs.{file_system}");
    if !Command::new("sh")
        .args(["-c", &format!("command -v {mkfs}")])
        .output()
        .is_ok_and(|found| found.status.success())
    {
        return record_skip(&format!("{mkfs} is not installed"));
    }
    let lrun = Lrun::new();
    std::fs::set_permissions(lrun.folder(), PermissionsExt::from_mode(0o755)).expect("chmod");
    let script = lrun.file("power_cuts.py", include_str!("power_cuts.py"));
    let folder = lrun.folder().join("cuts");
    std::fs::create_dir(&folder).expect("a folder");
    let count = if long() { 100 } else { sample };
    let archives = images("busybox.tar");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let script = text(&script);
    let wrapper = [&["unshare"][..], &namespaces, &["python3", &script]].concat();
    let (folder, archives) = (text(&folder), text(archives.parent().expect("a folder")));
    let args = [&user, &folder, &archives, file_system, &count.to_string(), "20"];
    let output = lrun.spawn_in(&wrapper, &args).wait_for(Duration::from_secs(60 + 20 * count as u64));
    println!("{}{}", output.stdout, output.stderr);
    if output.code == 3 {
        return record_skip(&format!("this kernel cannot cut {file_system} off: {}", output.stdout.trim_end()));
    }
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.ends_with(&format!("cuts {count} lost 0\n")), "{}", output.stdout);
}

#[test]
fn of_ext4() {
    cuts("ext4", 24);
}

#[test]
fn of_xfs() {
    cuts("xfs", 12);
}

#[test]
fn of_btrfs() {
    cuts("btrfs", 12);
}

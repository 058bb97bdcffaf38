//! Notes which commit the binary is built from, for `lrun --version`: `LRUN_BUILD` where the builder sets it, else what
//! git says, else `unknown`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LRUN_BUILD");
    // The log of HEAD changes with every commit, checkout and rebase.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let given = std::env::var("LRUN_BUILD").ok().filter(|build| !build.is_empty());
    let build = given.or_else(|| git(&["rev-parse", "--short=10", "HEAD"]));
    println!("cargo:rustc-env=LRUN_BUILD={}", build.as_deref().unwrap_or("unknown"));
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

//! `build --push`, and caches in a registry.

use std::fs;

use lrun_tests::Lrun;
use lrun_tests::build::{build, build_ok, cached, context};

use crate::docker::Registry;

/// One machine pushes what it built and its steps; another takes them from there.
#[test]
fn an_image_and_its_steps_go_to_a_registry() {
    needs_registry!();
    let lrun = Lrun::with_busybox();
    let registry = Registry::used_by(&lrun);
    let (name, cache) = (format!("{}/a/app:1", registry.name), format!("{}/a/cache", registry.name));
    lrun.ok(&["tag", "busybox", &format!("{}/busybox", registry.name)]);
    lrun.ok(&["push", "-q", &format!("{}/busybox", registry.name)]);
    let dockerfile = format!(
        "FROM {0}/busybox AS work\nRUN cat /proc/sys/kernel/random/uuid > /work\nFROM {0}/busybox\nENV A=1\n\
         RUN cat /proc/sys/kernel/random/uuid > /own\nCOPY --from=work /work /\n",
        registry.name
    );
    let folder = context(&lrun, "context", &dockerfile, &[]);
    let metadata = lrun.folder().join("metadata");
    let to = format!("type=registry,ref={cache},mode=max");
    let flags = ["--push", "-t", &name, "--cache-to", &to, "--metadata-file", metadata.to_str().expect("UTF-8")];
    let output = build_ok(&lrun, &folder, &flags);
    assert!(output.stdout.is_empty() && output.stderr.contains("Pushed 1: digest: sha256:"), "{}", output.stderr);
    let digest = lrun.inspect(&name, "{{index .RepoDigests 0}}");
    let digest = digest.rsplit('@').next().expect("a digest");
    assert!(fs::read_to_string(metadata).expect("it is there").contains(digest));
    // The cache has no name here.
    assert!(!lrun.ok(&["images", "--format", "{{.Repository}}"]).contains("/cache"));

    let other = Lrun::new();
    registry.trusted_by(&other);
    registry.login(&other);
    for from in [cache.clone(), format!("type=registry,ref={cache}")] {
        let output = build_ok(&other, &folder, &["-t", "again", "--cache-from", &from]);
        assert_eq!(cached(&output), 4, "{}", output.stderr);
        assert_eq!(other.inspect("again", "{{.Id}}"), lrun.inspect(&name, "{{.Id}}"));
        other.ok(&["rmi", "again"]);
        other.ok(&["system", "prune", "-af"]);
        other.ok(&["builder", "prune", "-af"]);
    }
    // An image without a cache, and one that is not there, are told of.
    for from in [name.as_str(), &format!("{}/nothing", registry.name)] {
        let output = build_ok(&other, &folder, &["--cache-from", from]);
        assert!(output.stderr.contains("WARNING: --cache-from "), "{}", output.stderr);
    }
    // What is here does not count where the registry is to be asked.
    let local = format!("{}/a/local", registry.name);
    lrun.ok(&["tag", "busybox", &local]);
    let only_here = context(&lrun, "only-here", &format!("FROM {local}\nENV A=1\n"), &[]);
    build_ok(&lrun, &only_here, &[]);
    let refused = build(&lrun, &only_here, &["--pull"]);
    assert!(refused.code == 1 && refused.stderr.contains("manifest unknown"), "{}", refused.stderr);
    lrun.ok(&["push", "-q", &local]);
    build_ok(&lrun, &only_here, &["--pull"]);
    // It carries its own steps.
    let carrier = format!("{}/a/carrier", registry.name);
    let output = format!("type=image,name={carrier},push=true");
    build_ok(&lrun, &folder, &["-o", &output, "--cache-to", "type=inline"]);
    other.ok(&["system", "prune", "-af"]);
    other.ok(&["builder", "prune", "-af"]);
    // The other stage is made anew, so what is copied from it is another file.
    assert_eq!(cached(&build_ok(&other, &folder, &["--cache-from", &carrier])), 2);
    let refused = build(&lrun, &folder, &["--cache-to", "type=registry,ref=127.0.0.1:1/x"]);
    assert!(refused.code == 1 && refused.stderr.contains("--cache-to 127.0.0.1:1/x"), "{}", refused.stderr);
}

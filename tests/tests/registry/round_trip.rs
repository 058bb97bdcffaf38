//! A whole image there and back: every digest on the way is compared, and other programs read the same.

use std::fs;
use std::process::Command;

use lrun_tests::{Lrun, Mode, images, long, mode, skip};

use crate::docker::{Registry, has, pushed, run};

/// `sha256:` and the digest of a file or of bytes, by sha256sum.
fn sha256(of: &std::path::Path) -> String {
    let said = String::from_utf8(run(Command::new("sha256sum").arg(of))).expect("UTF-8");
    format!("sha256:{}", said.split(' ').next().expect("a digest"))
}

const LAYERS: &str = "{{json .RootFS.Layers}}";
const CREDENTIALS: &str = "ada:secret";

/// Debian's root file system, in one mapping; with the others it is busybox unless everything is asked for.
#[test]
fn an_image_goes_to_a_registry_and_is_the_same_wherever_it_is_read() {
    needs_registry!();
    let archive = if mode() == Mode::Subids || long() { "stage0.tar" } else { "busybox.tar" };
    let lrun = Lrun::new();
    let registry = Registry::used_by(&lrun);
    let name = format!("{}/base:1", registry.name);
    lrun.import(archive, &name);
    let (id, layers) = (lrun.inspect(&name, "{{.Id}}"), lrun.inspect(&name, LAYERS));
    assert_eq!(layers, format!("[\"{}\"]", sha256(&images(archive))));
    // Not the sizes of directories and how much of a disk files take: these are the file system's.
    let script = "cat /etc/passwd; find /bin/ /var/lib -exec stat -c '%N %f %u %g %y' {} +; \
                  find /bin/ /var/lib -type f -exec sha256sum {} +";
    let listing = ["run", "--rm", "--network", "none", &name, "sh", "-c", script];
    let listed = lrun.ok(&listing);
    assert!(listed.lines().count() > 10, "{listed}");

    let (digest, _) = pushed(&lrun, &name);
    lrun.ok(&["rmi", &name]);
    assert_eq!(lrun.ok(&["images", "-aq"]), "");
    let kept = fs::read_dir(lrun.store().join("layers")).expect("layers").count();
    assert_eq!(kept, 0, "nothing is left to be taken for what comes");
    let output = lrun.run(&["pull", &name]);
    assert_eq!(output.code, 0, "{output:?}");
    let said = output.stdout;
    assert!(said.contains(&format!("Digest: {digest}\n")), "{said}");
    assert_eq!((lrun.inspect(&name, "{{.Id}}"), lrun.inspect(&name, LAYERS)), (id.clone(), layers.clone()));
    assert_eq!(lrun.ok(&listing), listed);
    lrun.ok(&["system", "check"]);
    // What it was packed as is known: a second push sends nothing, and has the same digest.
    lrun.ok(&["tag", &name, &format!("{}/base:2", registry.name)]);
    let (again, said) = pushed(&lrun, &format!("{}/base:2", registry.name));
    assert!(again == digest && said.contains(": Layer already exists\n"), "{said}");

    let address = format!("docker://{name}");
    if has("skopeo") {
        read_by_skopeo(&lrun, &address, &digest, &id, &layers);
    }
    if has("podman") && mode() != Mode::Single {
        read_by_podman(&lrun, &address, &id, &layers);
    }
}

fn read_by_skopeo(lrun: &Lrun, address: &str, digest: &str, id: &str, layers: &str) {
    let folder = lrun.folder().to_str().expect("UTF-8");
    let skopeo = |args: &[&str]| {
        let mut command = Command::new("skopeo");
        command.args(["--tmpdir", folder, "--insecure-policy"]).args(args);
        run(command.env("HOME", lrun.folder().join("home")))
    };
    let manifest = skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", CREDENTIALS, address]);
    assert_eq!(sha256(&lrun.file("manifest", &manifest)), digest);
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["config"]["digest"], id);
    // It verifies what it copies, and loaded it is the same image.
    let to = format!("oci:{folder}/copied:x");
    skopeo(&["copy", "-q", "--preserve-digests", "--src-tls-verify=false", "--src-creds", CREDENTIALS, address, &to]);
    let blob = manifest["layers"][0]["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    assert!(lrun.folder().join("copied/blobs/sha256").join(blob.expect("a digest")).exists());
    let other = Lrun::new();
    other.ok(&["load", "-q", "-i", &format!("{folder}/copied")]);
    assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), id);
    assert_eq!(other.inspect(id, LAYERS), layers);
}

fn read_by_podman(lrun: &Lrun, address: &str, id: &str, layers: &str) {
    let [root, runtime, home] = ["storage", "r", "home"].map(|name| format!("{}/{name}", lrun.folder().display()));
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        command.args([
            "--root",
            &root,
            "--runroot",
            &runtime,
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
        ]);
        command.args(args).env("HOME", &home).env("XDG_RUNTIME_DIR", &home).env("TMPDIR", lrun.folder());
        command.current_dir(lrun.folder()).output().expect("podman")
    };
    if !podman(&["info"]).status.success() {
        skip!("podman does not work for this user");
    }
    let words = |args: &[&str]| {
        let output = podman(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    words(&["pull", "-q", "--tls-verify=false", "--creds", CREDENTIALS, address]);
    assert_eq!(format!("sha256:{}", words(&["images", "-q", "--no-trunc"]).trim_start_matches("sha256:")), id);
    assert_eq!(words(&["image", "inspect", "--format", LAYERS, id]), layers);
    // Its files belong to ids that this user cannot take away without it.
    podman(&["unshare", "rm", "-rf", &root, &runtime]);
    // It keeps its namespaces open by a process that waits for nothing.
    let pause = fs::read_to_string(format!("{home}/libpod/tmp/pause.pid")).unwrap_or_default();
    if let Some(pid) = pause.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

//! What docker's `config.json` says of lists and prunes, and what an image is for.

use lrun_tests::{Lrun, images};

#[test]
fn dockers_settings_format_lists_and_spare_from_a_prune() {
    let mut lrun = Lrun::with_busybox();
    let settings =
        r#"{"psFormat": "{{.Names}}!", "imagesFormat": "{{.Repository}}!", "pruneFilters": ["label!=keep", "x"]}"#;
    let folder = lrun.file("config.json", settings).parent().expect("a folder").to_owned();
    lrun.set_env("DOCKER_CONFIG", folder.to_str().expect("UTF-8"));
    lrun.ok(&["create", "--name", "kept", "--label", "keep", "busybox", "true"]);
    lrun.ok(&["create", "--name", "gone", "busybox", "true"]);
    assert_eq!(lrun.ok(&["ps", "-a"]), "gone!\nkept!");
    assert_eq!(lrun.ok(&["ps", "-a", "--format", "{{.Image}}"]), "busybox\nbusybox");
    assert_eq!(lrun.ok(&["ps", "-aq"]).len(), 25);
    assert_eq!(lrun.ok(&["images"]), "busybox!");
    lrun.ok(&["container", "prune", "-f"]);
    assert_eq!(lrun.ok(&["ps", "-a"]), "kept!");
    // One that was asked for is not taken back by its opposite.
    lrun.ok(&["container", "prune", "-f", "--filter", "label=keep"]);
    assert_eq!(lrun.ok(&["ps", "-a"]), "");
}

#[test]
fn an_image_for_another_machine_is_told_of_and_not_what_a_platform_asks_for() {
    let lrun = Lrun::with_busybox();
    let own = lrun.inspect("busybox", "{{.Os}}/{{.Architecture}}");
    let archive = images("busybox.tar");
    lrun.ok(&["import", "--platform", "linux/s390x", archive.to_str().expect("UTF-8"), "foreign"]);
    let run = |flags: &[&str], image| {
        lrun.run(&[&["run", "--rm", "--network", "none"], flags, &[image, "echo", "ran"]].concat())
    };
    let output = run(&[], "foreign");
    let warning = format!(
        "WARNING: The requested image's platform (linux/s390x) does not match the detected host platform ({own}) and no \
         specific platform was requested\n"
    );
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "ran\n", warning.as_str()));
    let output = run(&["--platform", &own, "--pull", "never"], "foreign");
    assert_eq!(output.code, 125);
    assert!(output.stderr.contains("does not provide the specified platform"), "{}", output.stderr);
    let output = run(&["--platform", &own], "busybox");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

//! Many containers and many commands at once on one store.

use std::collections::HashSet;
use std::thread;

use lrun_tests::{Lrun, eventually};

/// More than the kernel gives a user session keyrings (200): those beyond share one.
const CONTAINERS: usize = 250;

#[test]
fn two_hundred_and_fifty_containers_run_at_once() {
    let lrun = Lrun::with_busybox();
    // As after a login: a session keyring of the user's own, which takes one of the quota.
    let keyed = ["keyctl", "session", "-"];
    let start = |n: usize| {
        let name = format!("c{n}");
        let args = ["run", "-d", "--name", &name, "--network", "none", "busybox", "sleep", "1000"];
        let output = lrun.run_in(&keyed, &args);
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
    };
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || (worker..CONTAINERS).step_by(4).for_each(start));
        }
    });
    let running = lrun.ok(&["ps", "-q", "--no-trunc"]);
    assert_eq!(running.lines().collect::<HashSet<_>>().len(), CONTAINERS);
    assert_eq!(lrun.ok(&["exec", "c0", "echo", "here"]), "here");
    assert_eq!(lrun.ok(&["exec", &format!("c{}", CONTAINERS - 1), "echo", "here"]), "here");
    let ids: Vec<&str> = running.lines().collect();
    let removed = lrun.run_for(std::time::Duration::from_secs(120), &[&["rm", "-f"][..], &ids].concat());
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

#[test]
fn sixteen_commands_at_once_on_one_store() {
    let lrun = &Lrun::with_busybox();
    let base = lrun.inspect("busybox", "{{.Id}}");
    thread::scope(|scope| {
        for worker in 0..16 {
            scope.spawn(move || life_of_an_image(lrun, worker));
        }
    });
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    assert_eq!(lrun.ok(&["images", "-aq", "--no-trunc"]), base, "every worker has taken its images away");
    let layers = std::fs::read_dir(lrun.store().join("layers")).expect("layers").count();
    eventually("no layer is left but the first", || {
        lrun.run(&["rmi", "nothing"]);
        layers == 1 || std::fs::read_dir(lrun.store().join("layers")).expect("layers").count() == 1
    });
}

/// Run, look, commit, tag, run the result, remove: each step must work whatever the others do.
fn life_of_an_image(lrun: &Lrun, worker: usize) {
    for round in 0..3 {
        let (name, image) = (format!("w{worker}-{round}"), format!("image-{worker}:{round}"));
        // Half of the workers make the same layer.
        let text = if worker.is_multiple_of(2) { "same".to_owned() } else { name.clone() };
        let script = format!("echo {text} > /opt/x; touch -d @1700000001 /opt/x /opt");
        lrun.ok(&["run", "--name", &name, "--network", "none", "busybox", "sh", "-c", &script]);
        assert!(lrun.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines().any(|line| line == name));
        let id = lrun.ok(&["commit", &name, &image]);
        lrun.ok(&["tag", &image, &format!("again-{worker}:{round}")]);
        lrun.ok(&["images"]);
        assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", &id, "cat", "/opt/x"]), text);
        lrun.ok(&["rm", &name]);
        lrun.ok(&["rmi", &format!("again-{worker}:{round}")]);
        lrun.ok(&["rmi", &image]);
    }
}

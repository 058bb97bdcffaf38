//! Many containers and many commands at once on one store.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lrun_tests::{Lrun, eventually};

/// More than the kernel gives a user session keyrings (200): those beyond share one.
const CONTAINERS: usize = 250;

#[test]
fn two_hundred_and_fifty_containers_run_at_once() {
    let lrun = &Lrun::with_busybox();
    // As after a login: a session keyring of the user's own, which takes one of the quota.
    let keyed = ["keyctl", "session", "-"];
    let start = |n: usize| {
        let name = format!("c{n}");
        let args = ["run", "-d", "--name", &name, "--network", "none", "busybox", "sleep", "1000"];
        let output = lrun.run_in(&keyed, &args);
        assert_eq!(output.code, 0, "{name}: {}", output.stderr);
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let listed = scope.spawn(|| listed_until(lrun, &over));
        thread::scope(|scope| {
            for worker in 0..4 {
                scope.spawn(move || (worker..CONTAINERS).step_by(4).for_each(start));
            }
        });
        over.store(true, Ordering::Relaxed);
        let listed = listed.join().expect("the lists");
        // What was there once is there until somebody removes it.
        assert!(listed.len() > 10 && listed.is_sorted(), "{listed:?}");
    });
    let running = lrun.ok(&["ps", "-q", "--no-trunc"]);
    assert_eq!(running.lines().collect::<HashSet<_>>().len(), CONTAINERS);
    assert_eq!(lrun.ok(&["exec", "c0", "echo", "here"]), "here");
    assert_eq!(lrun.ok(&["exec", &format!("c{}", CONTAINERS - 1), "echo", "here"]), "here");
    let ids: Vec<&str> = running.lines().collect();
    over.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let listed = scope.spawn(|| listed_until(lrun, &over));
        let removed = lrun.run_for(std::time::Duration::from_secs(120), &[&["rm", "-f"][..], &ids].concat());
        assert_eq!(removed.code, 0, "{}", removed.stderr);
        over.store(true, Ordering::Relaxed);
        let listed = listed.join().expect("the lists");
        assert!(listed.len() > 2 && listed.is_sorted_by(|a, b| a >= b), "{listed:?}");
    });
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
}

/// How many containers `ps -a` shows, again and again, each of them once and whole.
fn listed_until(lrun: &Lrun, over: &AtomicBool) -> Vec<usize> {
    let mut counts = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let listed = lrun.ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}"]);
        let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split(' ').collect()).collect();
        assert!(rows.iter().all(|row| row.len() == 4 && row[2] == "busybox"), "{listed}");
        counts.push(rows.iter().map(|row| row[0]).collect::<HashSet<_>>().len());
        assert_eq!(counts.last(), Some(&rows.len()), "{listed}");
    }
    counts
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

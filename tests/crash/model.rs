//! Many workers at once on one store, each with a model of what it made in memory: whatever the others do, every command
//! answers as the model says, and what the store lists and holds is what the model has. 8 workers of 25 operations each; 64
//! of 1,000 with `LRUN_TEST_LONG`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use lrun_tests::{Lrun, long};

/// Names that all workers want; how many have each now.
static SHARED: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// A worker with so many containers or images removes some before it makes more.
const MOST: usize = 8;

/// A fixed sequence that looks random: a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn key<'a>(&mut self, of: impl ExactSizeIterator<Item = &'a String>) -> Option<String> {
        let mut of = of;
        if of.len() == 0 { None } else { of.nth(self.below(of.len())).cloned() }
    }
}

/// What a worker has made. Lines of a file stand for the content of a container and of an image.
struct Worker<'a> {
    lrun: &'a Lrun,
    number: usize,
    next: usize,
    numbers: Numbers,
    /// By name; with the image's id that it was made from.
    containers: BTreeMap<String, (Vec<String>, String)>,
    /// By tag; with the image's id.
    images: BTreeMap<String, (Vec<String>, String)>,
}

impl Worker<'_> {
    fn ok(&self, args: &[&str]) -> String {
        let output = self.lrun.run_for(Duration::from_secs(300), args);
        assert_eq!(output.code, 0, "worker {}: {args:?}: {}", self.number, output.stderr);
        output.stdout.trim_end().to_owned()
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("w{}-{kind}{}", self.number, self.next)
    }

    fn step(&mut self) {
        match self.numbers.below(12) {
            // A store in use: what is made goes again, else each listing would be longer than the one before.
            0..=5 if self.containers.len() >= MOST => self.remove(),
            3..=9 if self.images.len() >= MOST => self.remove_an_unused_image(),
            0..=2 => self.run(),
            3 => self.start(),
            4 | 5 => self.commit(),
            6 => self.rename(),
            7 => self.remove(),
            8 => self.tag(),
            9 => self.remove_image(),
            10 => self.compete(),
            _ => self.read_image(),
        }
        if self.numbers.below(6) == 0 {
            self.lists();
        }
    }

    fn run(&mut self) {
        let (image, mut lines, id) = match self.numbers.key(self.images.keys()) {
            Some(tag) if self.numbers.below(2) == 0 => {
                let (lines, id) = self.images[&tag].clone();
                (tag, lines, id)
            }
            _ => ("busybox".to_owned(), Vec::new(), String::new()),
        };
        let name = self.fresh("c");
        let script = format!("echo {name} >>/opt/log");
        self.ok(&["run", "--name", &name, "--network", "none", &image, "sh", "-c", &script]);
        lines.push(name.clone());
        self.containers.insert(name, (lines, id));
    }

    /// Runs the container's command again.
    fn start(&mut self) {
        let Some(name) = self.numbers.key(self.containers.keys()) else { return };
        self.ok(&["start", "-a", &name]);
        let lines = &mut self.containers.get_mut(&name).expect("it is there").0;
        let last = lines.last().cloned();
        lines.extend(last);
    }

    fn commit(&mut self) {
        let Some(name) = self.numbers.key(self.containers.keys()) else { return };
        let tag = self.fresh("i");
        let id = self.ok(&["commit", &name, &tag]);
        let lines = self.containers[&name].0.clone();
        self.images.insert(tag, (lines, id));
    }

    fn rename(&mut self) {
        let Some(name) = self.numbers.key(self.containers.keys()) else { return };
        let new = self.fresh("c");
        self.ok(&["rename", &name, &new]);
        let container = self.containers.remove(&name).expect("it is there");
        self.containers.insert(new, container);
    }

    fn remove(&mut self) {
        let Some(name) = self.numbers.key(self.containers.keys()) else { return };
        assert_eq!(self.ok(&["rm", &name]), name);
        self.containers.remove(&name);
    }

    fn tag(&mut self) {
        let Some(tag) = self.numbers.key(self.images.keys()) else { return };
        let new = self.fresh("i");
        self.ok(&["tag", &tag, &new]);
        let image = self.images[&tag].clone();
        self.images.insert(new, image);
    }

    /// The last name of an image that a container was made from stays.
    fn remove_image(&mut self) {
        let Some(tag) = self.numbers.key(self.images.keys()) else { return };
        let id = &self.images[&tag].1;
        let last = self.images.values().filter(|(_, other)| other == id).count() == 1;
        let used = self.containers.values().any(|(_, image)| image == id);
        let output = self.lrun.run_for(Duration::from_secs(300), &["rmi", &tag]);
        assert_eq!(output.code, i32::from(last && used), "worker {}: rmi {tag}: {}", self.number, output.stderr);
        if output.code == 0 {
            self.images.remove(&tag);
        }
    }

    /// The same of one that is not needed; without one, a container that needs some goes.
    fn remove_an_unused_image(&mut self) {
        let needed: Vec<&String> = self.containers.values().map(|(_, image)| image).collect();
        let unused = |(_, (_, id)): &(&String, &(Vec<String>, String))| !needed.contains(&id);
        let unused = self.images.iter().find(unused).map(|(tag, _)| tag.clone());
        match unused {
            Some(tag) => {
                self.ok(&["rmi", &tag]);
                self.images.remove(&tag);
            }
            None => self.remove(),
        }
    }

    /// One name, many who want it: at most one has it.
    fn compete(&mut self) {
        let which = self.numbers.below(SHARED.len());
        let name = format!("shared{which}");
        let args = ["create", "--name", &name, "--network", "none", "busybox", "true"];
        let output = self.lrun.run_for(Duration::from_secs(300), &args);
        if output.code != 0 {
            assert!(output.stderr.contains("is already in use by container"), "{}", output.stderr);
            return;
        }
        assert_eq!(SHARED[which].fetch_add(1, Ordering::SeqCst), 0, "two have the name {name}");
        assert_eq!(self.ok(&["inspect", "-f", "{{.Name}}", output.stdout.trim_end()]), format!("/{name}"));
        SHARED[which].fetch_sub(1, Ordering::SeqCst);
        self.ok(&["rm", &name]);
    }

    fn read_image(&mut self) {
        let Some(tag) = self.numbers.key(self.images.keys()) else { return };
        let (lines, id) = &self.images[&tag];
        let read = self.ok(&["run", "--rm", "--network", "none", &tag, "cat", "/opt/log"]);
        assert_eq!(read.lines().collect::<Vec<_>>(), *lines, "worker {}: {tag}", self.number);
        assert_eq!(self.ok(&["inspect", "--type", "image", "-f", "{{.Id}}", &tag]), *id);
    }

    /// What is listed of this worker's is what it made.
    fn lists(&self) {
        let own = |listed: &str| -> BTreeSet<String> {
            let prefix = format!("w{}-", self.number);
            listed.lines().filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect()
        };
        let containers = own(&self.ok(&["ps", "-a", "--format", "{{.Names}}"]));
        assert_eq!(containers, self.containers.keys().cloned().collect(), "worker {}", self.number);
        let images = own(&self.ok(&["images", "--format", "{{.Repository}}"]));
        assert_eq!(images, self.images.keys().cloned().collect(), "worker {}", self.number);
    }

    fn finish(&mut self) {
        self.lists();
        let containers: Vec<String> = self.containers.keys().cloned().collect();
        for name in containers {
            self.ok(&["rm", &name]);
        }
        let images: Vec<String> = self.images.keys().cloned().collect();
        for tag in images {
            self.ok(&["rmi", &tag]);
        }
    }
}

#[test]
fn every_worker_finds_what_it_made() {
    let lrun = &Lrun::with_busybox();
    let base = lrun.inspect("busybox", "{{.Id}}");
    let (workers, steps) = if long() { (64, 1000) } else { (8, 25) };
    thread::scope(|scope| {
        for number in 0..workers {
            scope.spawn(move || {
                let numbers = Numbers(number as u64 + 1);
                let (containers, images) = (BTreeMap::new(), BTreeMap::new());
                let mut worker = Worker { lrun, number, next: 0, numbers, containers, images };
                for _ in 0..steps {
                    worker.step();
                }
                worker.finish();
            });
        }
    });
    assert_eq!(lrun.ok(&["ps", "-aq"]), "");
    assert_eq!(lrun.ok(&["images", "-aq", "--no-trunc"]), base, "every image is gone but the first");
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "busybox", "cat", "/var/lib/files/40"]), "file 40");
}

//! Real programs built in stages from Debian's packages, as users do: what builds them is in no layer of the result. It needs
//! the distribution's archive.

use std::time::Duration;

use lrun_tests::build::{cached, folder};
use lrun_tests::{Lrun, Output};

/// Longer than other commands may take.
const DEADLINE: Duration = Duration::from_secs(900);

fn build(lrun: &Lrun, name: &str, files: &[(&str, &str)]) -> Output {
    let folder = folder(lrun, name, files);
    lrun.run_for(DEADLINE, &["build", "-t", name, folder.to_str().expect("UTF-8")])
}

/// GNU hello, from the distribution's sources, by configure and make; then a change of the last stage.
#[test]
fn a_program_in_c() {
    let lrun = Lrun::with_stage0();
    let dockerfile = r#"FROM stage0 AS build
ARG DEBIAN_FRONTEND=noninteractive
RUN . /etc/os-release && echo "deb-src http://deb.debian.org/debian $VERSION_CODENAME main" > /etc/apt/sources.list.d/sources.list
RUN apt-get update -q && apt-get install -q -y --no-install-recommends build-essential
WORKDIR /src
RUN apt-get source -q hello && mv hello-*/ hello
RUN cd hello && ./configure -q --prefix=/usr && make -s -j2 && make -s install DESTDIR=/out
FROM stage0
COPY --from=build /out /
COPY greeting /etc/greeting
USER nobody
CMD ["sh", "-c", "exec hello -g \"$(cat /etc/greeting)\""]
"#;
    let output = build(&lrun, "hello", &[("Dockerfile", dockerfile), ("greeting", "built in stages\n")]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let run = ["run", "--rm", "--network", "none", "hello"];
    assert_eq!(lrun.ok(&run), "built in stages");
    let look = lrun.run(&[&run[..], &["sh", "-c", "hello --version | head -n 1; command -v gcc"]].concat());
    assert!(look.stdout.starts_with("hello (GNU Hello) ") && !look.stdout.contains("/gcc"), "{look:?}");
    let again = build(&lrun, "hello", &[("greeting", "again\n")]);
    assert_eq!((again.code, cached(&again)), (0, 7), "{}", again.stderr);
    assert_eq!(lrun.ok(&run), "again");
}

/// A program with a library of the distribution, tested and packed in one stage, run in another by a user of its own.
#[test]
fn a_program_in_python() {
    let lrun = Lrun::with_stage0();
    let dockerfile = r#"ARG BASE=stage0
FROM $BASE AS python
RUN apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-yaml && rm -rf /var/lib/apt/lists/*
FROM python AS build
WORKDIR /app
COPY . .
RUN python3 -m unittest -q && python3 -m zipapp app -p '/usr/bin/env python3' -m 'report:main' -o /report
FROM python
RUN useradd --system --create-home reporter
COPY --from=build --chown=reporter --chmod=755 /report /usr/local/bin/
USER reporter
WORKDIR /home/reporter
COPY --chown=reporter data.yaml .
ENTRYPOINT ["report"]
CMD ["data.yaml"]
"#;
    let program = "import sys, os, yaml\n\ndef total(data):\n    return sum(data['numbers'])\n\ndef main():\n    data = yaml.safe_load(open(sys.argv[1]))\n    open('written', 'w').write('x')\n    print(data['title'], total(data), os.getcwd())\n";
    let test = "import sys, unittest\nsys.path.insert(0, 'app')\nfrom report import total\n\nclass Test(unittest.TestCase):\n    def test_total(self):\n        self.assertEqual(total({'numbers': [1, 2]}), 3)\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("app/report.py", program),
        ("test_report.py", test),
        ("data.yaml", "title: sum\nnumbers: [1, 2, 39]\n"),
        (".dockerignore", "*\n!app\n!test_*.py\n!data.yaml\n"),
    ];
    let output = build(&lrun, "report", &files);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(lrun.ok(&["run", "--rm", "--network", "none", "report"]), "sum 42 /home/reporter");
    let look = ["run", "--rm", "--network", "none", "--entrypoint", "ls", "report", "-1", "/app"];
    assert_ne!(lrun.run(&look).code, 0, "the stage that packs it is no part of it");
    let again = build(&lrun, "report", &[]);
    assert_eq!((again.code, cached(&again)), (0, 11), "{}", again.stderr);
    // A test that fails ends the build.
    let broken = test.replace(", 3)", ", 4)");
    let failed = build(&lrun, "report", &[("test_report.py", &broken)]);
    assert!(failed.code == 1 && failed.stderr.contains("AssertionError: 3 != 4"), "{}", failed.stderr);
    let id = lrun.ok(&["ps", "-aq"]);
    assert!(lrun.run(&["logs", &id]).stderr.contains("3 != 4"), "the step's container is kept");
}

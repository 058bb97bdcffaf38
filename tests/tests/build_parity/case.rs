//! Cases as the files of `tests/build` have them.
//!
//! A line `=== NAME` begins one, lines `--- SECTION` its parts:
//!
//! | section | meaning |
//! | --- | --- |
//! | `Dockerfile` | of the context; in it `SERVER` is an HTTP server that has the context's files |
//! | `base` | another one, built first, named `base` |
//! | `context.sh` | a shell script that makes the context's files, in its directory |
//! | `flags` | words of the command line, `podman-flags` and `lrun-flags` those of one |
//! | `env` | `NAME=VALUE` of the environment |
//! | `context` | the context's path, else `context` |
//! | `fails` | both refuse to build; each line is in what lrun says, and none in the Dockerfile |
//! | `refused` | the same, but podman builds it; the first line is a row of docs/parity.md |
//! | `alone` | podman cannot build it: a row, then the lines that lrun's image has more (`+`) or less (`-`) than `FROM busybox` |
//! | `differs` | explained differences: `# ROW` of docs/parity.md, then lines that only podman (`-`) or only lrun (`+`) has |

/// One of them.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub name: String,
    pub dockerfile: Option<String>,
    pub base: Option<String>,
    pub script: String,
    pub flags: Vec<String>,
    pub lrun_flags: Vec<String>,
    pub podman_flags: Vec<String>,
    pub env: Vec<(String, String)>,
    pub context: String,
    /// What lrun says, if it fails.
    pub fails: Option<Vec<String>>,
    /// Whether podman builds what lrun refuses.
    pub podman_builds: bool,
    /// Whether podman cannot build it.
    pub alone: bool,
    /// Differences, sorted.
    pub differs: Vec<String>,
    /// Rows of the table that explains them.
    pub rows: Vec<String>,
}

/// All of a file.
pub fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for block in format!("\n{text}").split("\n=== ").skip(1) {
        let block = format!("{}\n", block.trim_end_matches('\n'));
        let mut parts = block.split("\n--- ");
        let name = parts.next().unwrap_or_default().lines().next().unwrap_or_default();
        let mut case = Case { name: name.to_owned(), context: "context".to_owned(), ..Case::default() };
        for part in parts {
            let (section, body) = part.split_once('\n').unwrap_or((part, ""));
            case.section(section, &format!("{}\n", body.trim_end_matches('\n')));
        }
        assert!(!cases.iter().any(|other| other.name == case.name), "{} is there twice", case.name);
        cases.push(case);
    }
    assert!(!cases.is_empty());
    cases
}

impl Case {
    fn section(&mut self, section: &str, body: &str) {
        let words = || body.split_whitespace().map(str::to_owned).collect();
        let lines = || body.lines().filter(|line| !line.is_empty()).map(str::to_owned);
        match section {
            "Dockerfile" => self.dockerfile = Some(body.to_owned()),
            "base" => self.base = Some(body.to_owned()),
            "context.sh" => self.script = body.to_owned(),
            "flags" => self.flags = words(),
            "podman-flags" => self.podman_flags = words(),
            "lrun-flags" => self.lrun_flags = words(),
            "context" => self.context = body.trim_end().to_owned(),
            "env" => {
                let pair = |line: String| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
                self.env = lines().map(|line| pair(line).expect("NAME=VALUE")).collect();
            }
            "fails" => self.fails = Some(lines().collect()),
            "refused" => {
                self.podman_builds = true;
                self.rows.extend(lines().take(1).map(|row| row.trim_start_matches("# ").to_owned()));
                self.fails = Some(lines().skip(1).collect());
            }
            "differs" | "alone" => {
                self.alone = section == "alone";
                let (rows, differs): (Vec<String>, Vec<String>) = lines().partition(|line| line.starts_with('#'));
                self.rows.extend(rows.iter().map(|row| row.trim_start_matches("# ").to_owned()));
                self.differs = differs;
                self.differs.sort();
                assert!(!self.rows.is_empty(), "{}: no row explains it", self.name);
            }
            other => panic!("{}: no section {other:?}", self.name),
        }
    }
}

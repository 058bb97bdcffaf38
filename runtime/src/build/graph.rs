//! Which stages a target needs, and which of them need which. Pure: what bases want to be run is asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::dockerfile::{Command, Dockerfile, Instruction, Origin, Position, Source, Trigger};
use crate::error::Result;

/// The stages that a target needs, each with those that it takes files from or is on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Graph(BTreeMap<usize, BTreeSet<usize>>);

impl Graph {
    /// The stages for a target. `bases`: what each stage is on, expanded; `replaced`: whether a context is in a stage's place,
    /// so that nothing is built for it, unless it is the target; `triggers`: what a stage's base wants to be run there,
    /// asked once for each stage that is needed.
    pub(super) fn new(
        file: &Dockerfile,
        bases: &[String],
        target: usize,
        replaced: &dyn Fn(usize) -> bool,
        triggers: &mut dyn FnMut(usize) -> Result<Vec<Trigger>>,
    ) -> Result<Self> {
        let (mut graph, mut open) = (BTreeMap::new(), vec![target]);
        while let Some(stage) = open.pop() {
            let own = !replaced(stage);
            if graph.contains_key(&stage) || !own && stage != target {
                continue;
            }
            let mut needs = BTreeSet::new();
            if let (true, Origin::Stage(other)) = (own, file.base(stage, &bases[stage])) {
                needs.insert(other);
            }
            let triggers = triggers(stage)?;
            let written = file.stages[stage].instructions.iter().filter(|_| own);
            let all = triggers.iter().map(|trigger| (&trigger.source, &trigger.instruction));
            for (source, instruction) in all.chain(written.map(|instruction| (&file.source, instruction))) {
                for (origin, at) in origins(file, source, instruction)? {
                    let Origin::Stage(other) = origin else { continue };
                    if other >= stage {
                        return Err(source.error(at, unordered(file, &graph, (stage, other), instruction)));
                    }
                    needs.insert(other);
                }
            }
            needs.retain(|other| !replaced(*other));
            open.extend(&needs);
            graph.insert(stage, needs);
        }
        Ok(Self(graph))
    }

    /// The stages in the order in which they are written: each after those that it needs.
    pub(super) fn stages(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied()
    }

    /// Whether each stage needs the one before it, so that no two can be built at once.
    pub(super) fn is_chain(&self) -> bool {
        let mut last = None;
        self.0.iter().all(|(stage, needs)| last.replace(*stage).is_none_or(|last| needs.contains(&last)))
    }

    /// The first stage that can be built when these are done and these have been begun.
    pub(super) fn ready(&self, done: impl Fn(usize) -> bool, begun: &BTreeSet<usize>) -> Option<usize> {
        let ready = |(stage, needs): (&usize, &BTreeSet<usize>)| {
            (!begun.contains(stage) && needs.iter().all(|needed| done(*needed))).then_some(*stage)
        };
        self.0.iter().find_map(ready)
    }
}

/// Why a stage cannot take files from another that is not before it.
fn unordered(
    file: &Dockerfile,
    graph: &BTreeMap<usize, BTreeSet<usize>>,
    (stage, other): (usize, usize),
    instruction: &Instruction,
) -> String {
    let name = |stage: usize| file.stages[stage].name.clone().unwrap_or_else(|| stage.to_string());
    let (mut seen, mut open) = (BTreeSet::new(), vec![other]);
    while let Some(needed) = open.pop() {
        if needed == stage {
            return format!("circular dependency detected on stage: {}", name(stage));
        }
        if seen.insert(needed) {
            open.extend(graph.get(&needed).into_iter().flatten());
        }
    }
    let does = if matches!(instruction.command, Command::Run(_)) { "mount" } else { "copy" };
    let (other, stage) = (name(other), name(stage));
    format!("cannot {does} from stage {other:?}, it needs to be defined before current stage {stage:?}")
}

/// The stages and images that an instruction takes files from. `source`: where it is written, the file or a trigger.
pub(super) fn origins<'f>(
    file: &Dockerfile,
    source: &Source,
    instruction: &'f Instruction,
) -> Result<Vec<(Origin<'f>, Position)>> {
    Ok(match &instruction.command {
        Command::Copy(copy) => match &copy.from {
            Some(from) => vec![(file.copy_from(source, from)?, from.at)],
            None => Vec::new(),
        },
        Command::Run(run) => {
            let from = run.mounts.iter().filter_map(|mount| mount.from.as_ref());
            from.map(|from| (file.mount_from(&from.text), from.at)).collect()
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(dockerfile: &str) -> Result<Graph> {
        let file = Dockerfile::parse("Dockerfile", dockerfile.as_bytes()).unwrap();
        let bases: Vec<String> = file.stages.iter().map(|stage| stage.base.text.clone()).collect();
        let mut triggers = |stage: usize| match file.base(stage, &bases[stage]) {
            Origin::Stage(other) => Trigger::parse_all(&bases[stage], &file.on_build(other)),
            Origin::Other("wants") => Trigger::parse_all("wants", &["COPY --from=a /x /".to_owned()]),
            Origin::Other(_) => Ok(Vec::new()),
        };
        Graph::new(&file, &bases, file.stages.len() - 1, &|_| false, &mut triggers)
    }

    fn order(graph: &Graph, jobs: usize) -> Vec<Vec<usize>> {
        let (mut done, mut begun, mut waves) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        while begun.len() < graph.0.len() {
            let mut wave = Vec::new();
            while wave.len() < jobs
                && let Some(stage) = graph.ready(|stage| done.contains(&stage), &begun)
            {
                begun.insert(stage);
                wave.push(stage);
            }
            done.extend(wave.iter().copied());
            waves.push(wave);
        }
        waves
    }

    #[test]
    fn only_what_is_needed_is_built_and_each_stage_after_those_that_it_needs() {
        let diamond = "FROM x AS a\nFROM a AS b\nFROM a AS c\nFROM x AS unused\nFROM c\nCOPY --from=b /x /\n";
        let diamond = graph(diamond).unwrap();
        assert_eq!(diamond.stages().collect::<Vec<_>>(), [0, 1, 2, 4]);
        assert_eq!(order(&diamond, 8), [vec![0], vec![1, 2], vec![4]]);
        assert_eq!(order(&diamond, 1), [vec![0], vec![1], vec![2], vec![4]]);
        let mounted = graph("FROM x AS a\nFROM x\nRUN --mount=from=a,target=/a true\n").unwrap();
        assert_eq!(order(&mounted, 8), [vec![0], vec![1]]);
    }

    #[test]
    fn a_chain_is_one_where_each_needs_the_one_before() {
        for (dockerfile, chain) in [
            ("FROM x\n", true),
            ("FROM x AS a\nFROM a AS b\nFROM b\n", true),
            ("FROM x AS a\nFROM x\nCOPY --from=a /x /\n", true),
            ("FROM x AS a\nFROM x AS b\nFROM b\nCOPY --from=a /x /\n", false),
        ] {
            assert_eq!(graph(dockerfile).unwrap().is_chain(), chain, "{dockerfile}");
        }
    }

    #[test]
    fn what_a_base_wants_to_be_run_needs_stages_too() {
        for on_build in ["COPY --from=a /x /", "COPY --from=1 /x /", "RUN --mount=from=A,target=/a true"] {
            let dockerfile = format!("FROM x AS base\nONBUILD {on_build}\nFROM x AS a\nFROM x AS b\nFROM base\n");
            assert_eq!(order(&graph(&dockerfile).unwrap(), 8), [vec![0, 1], vec![3]], "{on_build}");
        }
        let image = graph("FROM x AS unused\nFROM x AS a\nFROM wants\n").unwrap();
        assert_eq!(order(&image, 8), [vec![1], vec![2]]);
        let later = graph("FROM x AS base\nONBUILD COPY --from=b /x /\nFROM base AS a\nFROM x AS b\nFROM a\n");
        let later = later.unwrap_err().to_string();
        assert!(
            later.starts_with("ONBUILD of base:1:") && later.contains("needs to be defined before current stage \"a\""),
            "{later}"
        );
        // A stage that is only on one which has triggers, and not on what wrote them, runs none.
        let grandchild = graph("FROM x AS a\nFROM wants AS b\nFROM b\n").unwrap();
        assert_eq!(order(&grandchild, 8), [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn what_comes_later_cannot_be_copied_from() {
        let error = graph("FROM x AS a\nCOPY --from=a /x /\n").unwrap_err();
        assert!(error.to_string().contains("Dockerfile:2:"), "{error}");
        for (dockerfile, said) in [
            ("FROM x AS a\nCOPY --from=a /x /\n", "2:6: circular dependency detected on stage: a"),
            (
                "FROM x AS a\nCOPY --from=c /x /\nFROM x AS b\nCOPY --from=a /x /\nFROM x AS c\nCOPY --from=b /x /\n",
                "2:6: circular dependency detected on stage: a",
            ),
            (
                "FROM x AS a\nCOPY --from=1 /x /\nFROM x\nFROM a\n",
                "2:6: cannot copy from stage \"1\", it needs to be defined before current stage \"a\"",
            ),
            (
                "FROM x\nRUN --mount=from=b,target=/b true\nFROM x AS b\nFROM x\nCOPY --from=0 /x /\n",
                "2:5: cannot mount from stage \"b\", it needs to be defined before current stage \"0\"",
            ),
        ] {
            assert!(graph(dockerfile).unwrap_err().to_string().contains(said), "{said}");
        }
    }
}

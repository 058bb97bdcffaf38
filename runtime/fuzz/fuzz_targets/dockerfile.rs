//! Dockerfiles: parsing, checking, and the expansion of everything in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrun_runtime::build::dockerfile::{Command, Dockerfile, Expander, Trigger};

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, value) = input;
    let file = match Dockerfile::parse("Dockerfile", bytes) {
        Ok(file) => file,
        Err(error) => return assert!(error.to_string().starts_with("Dockerfile:") && error.excerpt_text().is_some()),
    };
    let lookup = |name: &str| (name.len() == 1).then_some(value);
    let mut expander = Expander::new(file.directives.escape, &lookup);
    for (index, stage) in file.stages.iter().enumerate() {
        if let Ok(base) = stage.base(&file.source, &mut expander) {
            file.base(index, &base.text);
        }
        for instruction in &stage.instructions {
            assert!(instruction.at.line() <= instruction.last_line);
            let _ = instruction.expand(&file.source, &mut expander);
            match &instruction.command {
                Command::Run(run) => drop(run.invocation()),
                Command::OnBuild(text) => drop(Trigger::parse("trigger", &text.text)),
                _ => {}
            }
        }
    }
});

//! Tables of what the language takes and refuses, and properties of all of it.

mod corpus;
mod errors;
mod expansions;
mod instructions;
mod properties;
mod trees;
mod words;

use super::*;

/// A checked file, or its error's words.
fn parsed(text: &str) -> std::result::Result<Dockerfile, String> {
    Dockerfile::parse("Dockerfile", text.as_bytes()).map_err(|error| error.to_string())
}

/// The one instruction of a stage.
fn instruction(text: &str) -> (Dockerfile, Instruction) {
    let file = parsed(&format!("FROM scratch\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
    let [instruction] = file.stages[0].instructions.as_slice() else { panic!("{text}: not one instruction") };
    let instruction = instruction.clone();
    (file, instruction)
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

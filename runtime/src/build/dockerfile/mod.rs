//! The language of Dockerfiles: from bytes to checked instructions. Pure: no file, no kernel, no environment.
//!
//! | step | module |
//! | --- | --- |
//! | lines: directives, comments, continued lines, heredocs | `reader` |
//! | an instruction's flags and arguments, as they are written | `arguments`, `tree` |
//! | instructions with their flags and arguments, checked | `instruction` |
//! | stages | `stage` |
//! | variables, quotes, escapes, patterns | `expand`, `pattern` |
//!
//! The reference is docker's Dockerfile reference, and where that is silent, what BuildKit's parser does. Its input is
//! foreign: sizes and depths are limited, and every error names file, line and column.
//!
//! It differs from docker in this: what is not a comment is UTF-8, and no NUL byte gets into an instruction; flags of ARG
//! and STOPSIGNAL are refused, which docker ignores; `RUN []` is refused at once, and so are wrong mounts, ports and
//! signals that name no variable; RUN has no `--device`; a `$1` in the replacement of a pattern is just that.

mod arguments;
mod directives;
mod expand;
mod heredoc;
pub mod instruction;
mod pattern;
mod reader;
mod source;
mod stage;
mod suggestion;
#[cfg(test)]
mod tests;
mod tree;

pub use directives::Directives;
pub(super) use directives::directive;
pub use expand::Expander;
pub use heredoc::Heredoc;
pub use instruction::{Command, Instruction};
pub use reader::INSTRUCTIONS_MAX;
pub use source::{Position, SIZE_MAX, Source, Word};
pub use stage::{Dockerfile, Origin, SCRATCH, Stage, Trigger};
pub use tree::{Arguments, Node, Pair, Tree};

pub(super) use suggestion::nearest;

use crate::error::Result;

impl Tree {
    /// Parses a Dockerfile; of its instructions only the form is looked at.
    pub fn parse(source: &Source) -> Result<Self> {
        reader::read(source).map_err(|fault| source.fault(fault))
    }
}

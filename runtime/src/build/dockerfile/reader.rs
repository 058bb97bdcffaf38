//! From lines to the parse tree: directives, comments, continued lines, and the bodies of heredocs.

use super::arguments;
use super::directives;
use super::heredoc::{self, Heredoc};
use super::source::{Fault, Parsed, Position, Source, Word};
use super::tree::{Arguments, Node, Tree};

/// The most instructions of a file.
pub const INSTRUCTIONS_MAX: usize = 10_000;

/// Parses a text; nothing is checked but its form.
pub(super) fn read(source: &Source) -> Parsed<Tree> {
    let mut reader = Reader {
        source,
        line: 0,
        directives: directives::Reader::new(),
        empty_continuations: Vec::new(),
        comments: Comments::default(),
    };
    let mut nodes = Vec::new();
    while let Some(line) = reader.logical_line()? {
        if nodes.len() == INSTRUCTIONS_MAX {
            return Err(Fault::new(line.position(0), format!("more than {INSTRUCTIONS_MAX} instructions")));
        }
        nodes.push(reader.node(&line)?);
    }
    if nodes.is_empty() {
        return Err(Fault::new(Position::START, "file with no instructions"));
    }
    Ok(Tree { directives: reader.directives.found, nodes, empty_continuations: reader.empty_continuations })
}

/// An instruction's line: continued lines joined, and where their parts come from.
pub(super) struct Line {
    pub text: String,
    /// The places in `text` where the lines of the file begin, with their places in the file.
    parts: Vec<(usize, Position)>,
}

impl Line {
    /// Where the byte `at` of the text stands in the file.
    pub fn position(&self, at: usize) -> Position {
        let index = self.parts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let Some((start, position)) = self.parts.get(index) else { return Position::START };
        position.forward(at.saturating_sub(*start))
    }

    /// The text from `start` to `end` as a word.
    pub fn word(&self, start: usize, end: usize) -> Word {
        Word::new(&self.text[start..end], self.position(start))
    }
}

struct Reader<'s> {
    source: &'s Source,
    /// Of the line that was read last, from 1.
    line: u32,
    directives: directives::Reader,
    empty_continuations: Vec<u32>,
    comments: Comments,
}

/// The comments since the last instruction.
#[derive(Default)]
struct Comments {
    list: Vec<String>,
    /// Whether the line before was the last of them.
    near: bool,
}

impl Comments {
    /// Looks at a line without the space before it.
    fn take(&mut self, line: &str) {
        let comment = line.strip_prefix('#').map(str::trim);
        self.near = comment.is_some_and(|text| !text.is_empty());
        match comment {
            Some("") => self.list.clear(),
            Some(text) => self.list.push(text.to_owned()),
            None => {}
        }
    }
}

impl<'s> Reader<'s> {
    fn next_line(&mut self) -> Option<&'s str> {
        let line = self.source.line_with_end(self.line + 1)?;
        self.line += 1;
        Some(line)
    }

    /// What is not a comment must be UTF-8.
    fn check_text(&self) -> Parsed<()> {
        match self.source.is_damaged(self.line) {
            true => Err(Fault::new(Position::new(self.line, 0), "this line is not UTF-8")),
            false => Ok(()),
        }
    }

    /// The next instruction's line, with those that continue it.
    fn logical_line(&mut self) -> Parsed<Option<Line>> {
        let (text, indent) = loop {
            let Some(line) = self.next_line() else { return Ok(None) };
            let line = line.trim_end_matches(['\r', '\n']);
            let text = line.trim_start();
            let indent = line.len() - text.len();
            let directive = self.directives.take(text, Position::new(self.line, indent))?;
            if !text.is_empty() && !text.starts_with('#') {
                break (text, indent);
            }
            if !directive {
                self.comments.take(text);
            }
        };
        let mut line = Line { text: String::new(), parts: Vec::new() };
        let mut goes_on = self.append(&mut line, text, indent)?;
        let mut empty = false;
        while goes_on {
            let Some(next) = self.next_line() else { break };
            let next = next.trim_end_matches(['\r', '\n']);
            if next.trim_start().starts_with('#') {
                continue;
            }
            if next.trim_start().is_empty() {
                empty = true;
                continue;
            }
            goes_on = self.append(&mut line, next, 0)?;
        }
        if empty {
            self.empty_continuations.push(self.line);
        }
        Ok(Some(line))
    }

    /// Adds a line of the file; true if it ends with the escape character and so goes on.
    fn append(&self, line: &mut Line, text: &str, byte: usize) -> Parsed<bool> {
        self.check_text()?;
        line.parts.push((line.text.len(), Position::new(self.line, byte)));
        let continued = continued(text, self.directives.found.escape);
        line.text.push_str(continued.unwrap_or(text));
        Ok(continued.is_some())
    }

    fn node(&mut self, line: &Line) -> Parsed<Node> {
        let mut node = arguments::node(line, self.directives.found.escape)?;
        if takes_heredocs(&node) && line.text.contains("<<") {
            for heredoc in heredoc::in_line(&line.text, node.name.at)? {
                let heredoc = self.body(heredoc, node.name.at)?;
                node.heredocs.push(heredoc);
            }
        }
        node.last_line = self.line;
        let Comments { mut list, near } = std::mem::take(&mut self.comments);
        node.description = if near { list.last().cloned() } else { None };
        list.shrink_to_fit();
        node.comments = list;
        Ok(node)
    }

    fn body(&mut self, mut heredoc: Heredoc, at: Position) -> Parsed<Heredoc> {
        while let Some(line) = self.next_line() {
            self.check_text()?;
            let end = line.trim_end_matches(['\r', '\n']);
            let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
            if end == heredoc.name {
                return Ok(heredoc);
            }
            heredoc.body.push_str(line);
        }
        Err(Fault::new(at, format!("unterminated heredoc: no line {:?} follows", heredoc.name)))
    }
}

/// The line without its end, if that is an escape character which no other precedes.
fn continued(line: &str, escape: char) -> Option<&str> {
    let line = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!line.ends_with(escape)).then_some(line)
}

fn takes_heredocs(node: &Node) -> bool {
    let node = match &node.arguments {
        Arguments::Instruction(inner) => inner,
        _ => node,
    };
    let name = node.name.text.to_ascii_lowercase();
    matches!(name.as_str(), "add" | "copy" | "run") && !matches!(node.arguments, Arguments::Json(_))
}

//! Rewrites a parsed template so that fields and methods go through lrun's own functions.
//!
//! `.State.Pid` becomes a call of [`GET`] with its place in the source, of [`SHOW`] where all that is printed is the field,
//! `.Label "k"` a `call` of what the field holds, and functions that nobody defined are found.

use std::collections::BTreeSet;
use std::sync::Arc;

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr};
use lrun_runtime::error::{Error, ErrorKind, Result};

use super::functions::NAMES;

/// The function that reads fields; no template can name it.
pub const GET: &str = "\0get";

/// The same where the field is printed as it is.
pub const SHOW: &str = "\0show";

/// Walks one template and collects what it reads.
pub struct Rewriter<'a> {
    source: &'a str,
    /// First names of all field paths.
    pub fields: BTreeSet<String>,
    /// Whether the data itself is used whole.
    pub whole: bool,
}

impl<'a> Rewriter<'a> {
    /// For the template with this source.
    pub fn new(source: &'a str) -> Self {
        Self { source, fields: BTreeSet::new(), whole: false }
    }

    /// Rewrites a sequence of nodes in place; the parser has limited its depth.
    pub fn list(&mut self, list: &mut ListNode) -> Result<()> {
        list.nodes.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut Node) -> Result<()> {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => {
                self.pipe(&mut action.pipe)?;
                if let (true, [command]) = (action.pipe.decl.is_empty(), action.pipe.commands.as_mut_slice()) {
                    show(command);
                }
                Ok(())
            }
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                self.pipe(&mut branch.pipe)?;
                self.list(&mut branch.body)?;
                branch.else_body.as_mut().map_or(Ok(()), |body| self.list(body))
            }
            Node::Template(call) => match &mut call.pipe {
                // The data handed on whole is read by fields there, which are collected too.
                Some(pipe) => {
                    let whole = self.whole;
                    self.pipe(pipe)?;
                    self.whole = whole;
                    Ok(())
                }
                None => Ok(()),
            },
            Node::Define(define) => self.list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn pipe(&mut self, pipe: &mut PipeNode) -> Result<()> {
        for (i, command) in pipe.commands.iter_mut().enumerate() {
            self.command(command, i > 0)?;
        }
        Ok(())
    }

    fn command(&mut self, command: &mut CommandNode, piped: bool) -> Result<()> {
        let has_arguments = piped || command.args.len() > 1;
        let is_method = matches!(command.args.first(), Some(Expr::Field(..)))
            || matches!(command.args.first(), Some(Expr::Variable(_, _, fields)) if !fields.is_empty());
        for arg in &mut command.args {
            self.expr(arg)?;
        }
        if has_arguments && is_method {
            command.args.insert(0, Expr::Identifier(command.pos, SmolStr::from("call")));
        }
        Ok(())
    }

    fn expr(&mut self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Field(pos, path) => {
                let (pos, path) = (*pos, std::mem::take(path));
                *expr = self.get(pos, String::new(), Expr::Dot(pos), path);
            }
            Expr::Variable(pos, name, path) if !path.is_empty() => {
                let (pos, name, path) = (*pos, name.clone(), std::mem::take(path));
                *expr = self.get(pos, name.to_string(), Expr::Variable(pos, name, Vec::new()), path);
            }
            Expr::Chain(pos, inner, path) if !matches!(**inner, Expr::Identifier(..)) => {
                self.expr(inner)?;
                let pos = *pos;
                let inner = std::mem::replace(&mut **inner, Expr::Dot(pos));
                let path = std::mem::take(path);
                *expr = self.get(pos, "(…)".to_owned(), inner, path);
            }
            Expr::Chain(_, inner, _) => self.expr(inner)?,
            Expr::Pipe(_, pipe) => self.pipe(pipe)?,
            Expr::Dot(_) => self.whole = true,
            Expr::Variable(_, name, _) if name == "$" => self.whole = true,
            Expr::Identifier(pos, name) if !NAMES.contains(&name.as_str()) => {
                let message = format!("template: :{}: function \"{name}\" not defined", pos.line);
                let hint = format!("the functions are {}", NAMES.join(", "));
                return Err(Error::new(ErrorKind::Invalid, message).hint(hint));
            }
            _ => {}
        }
        Ok(())
    }

    fn get(&mut self, pos: Pos, receiver_text: String, receiver: Expr, path: Vec<SmolStr>) -> Expr {
        if let Some(first) = path.first() {
            self.fields.insert(first.to_string());
        }
        let shown = path.iter().fold(receiver_text, |text, field| text + "." + field);
        let literal = |text: String| Expr::String(pos, Arc::from(text));
        let mut args = vec![
            Expr::Identifier(pos, SmolStr::from(GET)),
            literal(self.location(pos, &receiver, &path)),
            literal(shown),
            receiver,
        ];
        args.extend(path.iter().map(|field| literal(field.to_string())));
        let command = CommandNode { pos, args };
        Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands: vec![command], is_assign: false })
    }

    /// `line:column`, where Go sees it: a path of several fields is at its second one, columns count from 0.
    fn location(&self, pos: Pos, receiver: &Expr, path: &[SmolStr]) -> String {
        let mut offset = pos.offset;
        if let (Expr::Dot(_), [first, _, ..]) = (receiver, path) {
            offset += 1 + first.len();
        }
        let before = self.source.get(..offset).unwrap_or(self.source);
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        format!("{}:{column}", pos.line)
    }
}

/// A command that is one field, rewritten, says what it finds as it is printed.
fn show(command: &mut CommandNode) {
    let [Expr::Pipe(_, pipe)] = command.args.as_mut_slice() else { return };
    let [get] = pipe.commands.as_mut_slice() else { return };
    if let Some(Expr::Identifier(_, name)) = get.args.first_mut()
        && name == GET
    {
        *name = SmolStr::from(SHOW);
    }
}

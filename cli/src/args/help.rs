//! `lrun --help`: the commands in groups, as a person looks for them.

use clap::Command;

/// The groups in their order. Every visible command is in exactly one.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Containers",
        &[
            "run", "create", "start", "stop", "restart", "kill", "pause", "unpause", "rm", "undelete", "ps", "exec",
            "attach", "logs", "top", "port", "wait", "rename", "inspect",
        ],
    ),
    ("A container's files", &["cp", "diff", "commit", "export"]),
    ("Images", &["build", "images", "history", "tag", "untag", "rmi", "import", "load", "save"]),
    ("Registries", &["pull", "push", "login", "logout", "search"]),
    ("This machine", &["info", "version"]),
    ("The same by what they are about", &["container", "image", "builder", "manifest", "system"]),
];

/// Gives the whole command line its grouped help.
pub fn grouped(root: Command) -> Command {
    let widest = root.get_subcommands().map(|command| command.get_name().len()).max().unwrap_or(0);
    let mut listing = String::new();
    for (title, names) in GROUPS {
        listing.push_str(&format!("{title}:\n"));
        for name in names {
            let about = root.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            listing.push_str(&format!("  {name:widest$}  {about}\n"));
        }
        listing.push('\n');
    }
    let after = "Run 'lrun COMMAND --help' for more about a command.";
    root.help_template(format!("{{about}}\n\nUsage: {{usage}}\n\n{listing}Options:\n{{options}}\n\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let root = crate::args::command();
        let mut all: Vec<&str> =
            root.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        all.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(all, grouped);
    }
}

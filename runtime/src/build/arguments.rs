//! The values of ARG: given, by default, or known without being declared. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::dockerfile::instruction::Argument;
use super::dockerfile::{Command, Dockerfile, Expander, Source, Trigger};
use super::options::Options;
use crate::error::Result;

/// Variables that RUN gets when they are given, declared or not; those that are not declared are in no history and no cache
/// key.
pub const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Values by name.
pub type Values = BTreeMap<String, String>;

/// What is known of the machine and the target, before any declaration, unless the command line says otherwise.
pub fn known(file: &Dockerfile, options: &Options) -> Values {
    let last = file.stages.last().and_then(|stage| stage.name.as_deref());
    let target = options.target.as_deref().or(last).unwrap_or("default");
    let mut values = Values::from([("TARGETSTAGE".to_owned(), target.to_owned())]);
    for (prefix, platform) in [("TARGET", &options.platform), ("BUILD", &options.machine)] {
        for (name, value) in [
            ("PLATFORM", &platform.to_string()),
            ("OS", &platform.os),
            ("ARCH", &platform.architecture),
            ("OSVERSION", &String::new()),
            ("VARIANT", &platform.variant),
        ] {
            values.insert(format!("{prefix}{name}"), value.clone());
        }
    }
    for (name, value) in &mut values {
        if let Some(given) = options.arguments.get(name) {
            value.clone_from(given);
        }
    }
    values
}

/// The proxies that are given. A name stands for both its cases; the lower one counts if both are given.
pub fn proxies(options: &Options) -> Values {
    let given = |name: &str| {
        let lower = options.arguments.get(&name.to_ascii_lowercase());
        lower.or_else(|| options.arguments.get(&name.to_ascii_uppercase()))
    };
    PROXIES.iter().filter_map(|name| Some(((*name).to_owned(), given(name)?.clone()))).collect()
}

/// The arguments that are given and that no ARG asks for, nor what bases want to be run; not those that mean something
/// without being declared.
pub fn unused<'o>(file: &Dockerfile, options: &'o Options, triggers: &[Trigger]) -> Vec<&'o str> {
    let written = file.arguments.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let all = written.chain(triggers.iter().map(|trigger| &trigger.instruction));
    let names = all.filter_map(|instruction| match &instruction.command {
        Command::Arg(arguments) => Some(arguments.iter().map(|argument| argument.name.text.as_str())),
        _ => None,
    });
    let (asked, known): (BTreeSet<&str>, _) = (names.flatten().collect(), known(file, options));
    let meant = |name: &str| {
        PROXIES.contains(&name)
            || known.contains_key(name)
            || name == "SOURCE_DATE_EPOCH"
            || name.starts_with("BUILDKIT_")
    };
    options.arguments.keys().map(String::as_str).filter(|name| !asked.contains(name) && !meant(name)).collect()
}

/// The arguments before the first stage.
pub fn global(file: &Dockerfile, options: &Options) -> Result<Values> {
    let known = known(file, options);
    let mut values = Values::new();
    for instruction in &file.arguments {
        let Command::Arg(arguments) = &instruction.command else { continue };
        for argument in arguments {
            let value = {
                let lookup = |name: &str| values.get(name).or_else(|| known.get(name)).map(String::as_str);
                value(&file.source, file.directives.escape, argument, options, &lookup)?
            };
            values.extend(value.map(|value| (argument.name.text.clone(), value)));
        }
    }
    Ok(values)
}

/// The value of an argument where it is declared: given, else its default; `None`: it has neither.
pub fn value<'v>(
    source: &Source,
    escape: char,
    argument: &Argument,
    options: &Options,
    lookup: &'v dyn Fn(&str) -> Option<&'v str>,
) -> Result<Option<String>> {
    if let Some(given) = options.arguments.get(&argument.name.text) {
        return Ok(Some(given.clone()));
    }
    let mut expander = Expander::new(escape, lookup);
    argument.default.as_ref().map(|default| Ok(source.expand(default, &mut expander)?.text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(given: &[(&str, &str)]) -> Options {
        let arguments = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options { arguments, ..Options::default() }
    }

    #[test]
    fn a_proxy_is_given_in_both_cases() {
        let given = options(&[("http_proxy", "a"), ("NO_PROXY", "b"), ("ALL_PROXY", "c"), ("all_proxy", "d")]);
        let all: Vec<String> = proxies(&given).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(all, ["ALL_PROXY=d", "HTTP_PROXY=a", "NO_PROXY=b", "all_proxy=d", "http_proxy=a", "no_proxy=b"]);
    }

    #[test]
    fn what_is_known_is_as_the_command_line_says() {
        let file = |text: &str| Dockerfile::parse("D", text.as_bytes()).expect("a Dockerfile");
        let stage = |text: &str, options: &Options| known(&file(text), options)["TARGETSTAGE"].clone();
        assert_eq!(stage("FROM a AS One\nFROM b\n", &options(&[])), "default");
        assert_eq!(stage("FROM a AS One\nFROM b AS Two\n", &options(&[])), "two");
        let one = Options { target: Some("One".to_owned()), ..Options::default() };
        assert_eq!(stage("FROM a AS One\nFROM b\n", &one), "One");
        let given = options(&[("TARGETOS", "freebsd"), ("OTHER", "x")]);
        let known = known(&file("FROM a\n"), &given);
        assert_eq!((known["TARGETOS"].as_str(), known["TARGETOSVERSION"].as_str()), ("freebsd", ""));
        assert!(!known.contains_key("OTHER"));
    }

    #[test]
    fn what_nobody_asks_for_is_unused() {
        let file = "ARG G\nFROM a\nARG A=1 B\nFROM b\nARG C\n";
        let file = Dockerfile::parse("D", file.as_bytes()).expect("a Dockerfile");
        let given = ["A", "B", "C", "D", "G", "T", "X", "no_proxy", "TARGETARCH", "BUILDKIT_MULTI_PLATFORM"];
        let given = options(&given.map(|name| (name, "1")));
        let triggers = Trigger::parse_all("base", &["ARG T".to_owned()]).expect("a trigger");
        assert_eq!(unused(&file, &given, &triggers), ["D", "X"]);
    }
}

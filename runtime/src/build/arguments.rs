//! The values of ARG: given, by default, or known without being declared. Pure.

use std::collections::BTreeMap;

use super::dockerfile::instruction::Argument;
use super::dockerfile::{Command, Dockerfile, Expander, Source};
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

/// What is known of the machine and the target, before any declaration.
pub fn platform(options: &Options) -> Values {
    let mut values = Values::new();
    for (prefix, platform) in [("TARGET", &options.platform), ("BUILD", &options.machine)] {
        for (name, value) in [
            ("PLATFORM", &platform.to_string()),
            ("OS", &platform.os),
            ("ARCH", &platform.architecture),
            ("VARIANT", &platform.variant),
        ] {
            values.insert(format!("{prefix}{name}"), value.clone());
        }
    }
    values
}

/// The arguments before the first stage.
pub fn global(file: &Dockerfile, options: &Options) -> Result<Values> {
    let known = platform(options);
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

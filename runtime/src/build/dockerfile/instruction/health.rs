//! HEALTHCHECK.

use super::flags::{Flags, Kind};
use crate::build::dockerfile::source::{Fault, Parsed, Word};
use crate::build::dockerfile::tree::{Arguments, Node};
use crate::image::config::{Healthcheck, duration};

const FLAGS: &[(&str, Kind)] = &[
    ("interval", Kind::Value),
    ("timeout", Kind::Value),
    ("start-period", Kind::Value),
    ("start-interval", Kind::Value),
    ("retries", Kind::Value),
];
/// The shortest time that a flag may name, in nanoseconds; 0 is the default.
const SHORTEST: i64 = 1_000_000;

pub(super) fn check(node: &Node) -> Parsed<Healthcheck> {
    let Arguments::Health { kind, command } = &node.arguments else {
        return Err(Fault::new(node.name.at, "HEALTHCHECK requires at least one argument"));
    };
    let flags = Flags::read(node, FLAGS)?;
    let test = match (kind.text.to_ascii_uppercase().as_str(), command.as_ref()) {
        ("NONE", Arguments::None) => return Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Default::default() }),
        ("NONE", _) => return Err(Fault::new(kind.at, "HEALTHCHECK NONE takes no arguments")),
        ("CMD", Arguments::Text(text)) => vec!["CMD-SHELL".to_owned(), text.text.clone()],
        ("CMD", Arguments::Json(words)) if !words.is_empty() => {
            std::iter::once("CMD".to_owned()).chain(words.iter().map(|word| word.text.clone())).collect()
        }
        ("CMD", _) => return Err(Fault::new(kind.at, "Missing command after HEALTHCHECK CMD")),
        _ => return Err(Fault::new(kind.at, format!("Unknown type {:?} in HEALTHCHECK (try CMD)", kind.text))),
    };
    Ok(Healthcheck {
        test,
        interval: time(&flags, "interval")?,
        timeout: time(&flags, "timeout")?,
        start_period: time(&flags, "start-period")?,
        start_interval: time(&flags, "start-interval")?,
        retries: flags.value("retries").map_or(Ok(0), |word| retries(&word))?,
        ..Default::default()
    })
}

fn time(flags: &Flags, name: &str) -> Parsed<i64> {
    let Some(word) = flags.value(name) else { return Ok(0) };
    let time = duration(&word.text).map_err(|error| Fault::new(word.at, format!("--{name}: {error}")))?;
    match (1..SHORTEST).contains(&time) {
        true => Err(Fault::new(word.at, format!("--{name} cannot be less than 1ms"))),
        false => Ok(time),
    }
}

fn retries(word: &Word) -> Parsed<i64> {
    match word.text.parse::<i32>() {
        Ok(count) if count >= 0 => Ok(count.into()),
        Ok(count) => Err(Fault::new(word.at, format!("--retries cannot be negative ({count})"))),
        Err(_) => Err(Fault::new(word.at, format!("invalid --retries {:?}", word.text))),
    }
}

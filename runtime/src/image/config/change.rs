//! `--change` of `commit` and `import`: Dockerfile instructions applied to a run config.
//!
//! Dockerfile reference; the same instructions as docker's `commit --change`.

use std::ops::RangeInclusive;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::words::{duration, expand, split};
use super::{Healthcheck, RunConfig, Set};
use crate::error::{Error, ErrorKind, Result};

const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];
const SIGNAL_MAX: i32 = 64;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// Applies Dockerfile instructions in order; on an error, nothing is changed.
pub fn apply_changes<S: AsRef<str>>(config: &mut RunConfig, changes: &[S]) -> Result<()> {
    let mut state = State { config: config.clone(), cmd_set: false };
    for change in changes {
        for line in lines(change.as_ref()) {
            state.apply(&line).map_err(|error| error.context(format!("change {line:?}")))?;
        }
    }
    *config = state.config;
    Ok(())
}

/// Instructions of a text: lines, joined where one ends in a backslash, without comments.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for part in text.lines() {
        if part.trim_start().starts_with('#') {
            continue;
        }
        match part.trim_end().strip_suffix('\\') {
            Some(begin) => line.push_str(begin),
            None => {
                line.push_str(part);
                lines.push(std::mem::take(&mut line));
            }
        }
    }
    lines.push(line);
    lines.into_iter().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect()
}

struct State {
    config: RunConfig,
    /// A CMD was given, so ENTRYPOINT does not clear it.
    cmd_set: bool,
}

impl State {
    fn apply(&mut self, line: &str) -> Result<()> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // As podman has it, too: CMD=/bin/sh.
        let (name, rest) = match line.split_once('=') {
            Some((left, right)) if is_instruction(&left.to_ascii_uppercase()) => (left, right),
            _ => (name, rest),
        };
        let rest = rest.trim();
        let name = name.to_ascii_uppercase();
        if rest.is_empty() && needs_argument(&name) {
            return Err(invalid(format!("{name} requires at least one argument")));
        }
        match name.as_str() {
            "CMD" => self.cmd(rest)?,
            "ENTRYPOINT" => self.entrypoint(rest)?,
            "ENV" => self.env(rest)?,
            "EXPOSE" => self.expose(rest)?,
            "LABEL" => self.label(rest)?,
            "ONBUILD" => self.on_build(rest)?,
            "USER" => self.config.user = self.one_word(rest)?,
            "VOLUME" => self.volume(rest)?,
            "WORKDIR" => self.working_dir(rest)?,
            "STOPSIGNAL" => self.stop_signal(rest)?,
            "HEALTHCHECK" => self.healthcheck(rest)?,
            "" => {}
            other => return Err(invalid(format!("{other} is not a valid change command"))),
        }
        Ok(())
    }

    /// The JSON form as it is; the shell form with the shell before it.
    fn command(&self, rest: &str) -> Result<Vec<String>> {
        if let Some(words) = json_form(rest)? {
            return Ok(words);
        }
        let mut words = match &self.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => DEFAULT_SHELL.map(str::to_owned).to_vec(),
        };
        words.push(rest.to_owned());
        Ok(words)
    }

    fn cmd(&mut self, rest: &str) -> Result<()> {
        self.config.cmd = if rest.is_empty() { None } else { Some(self.command(rest)?) };
        self.cmd_set = true;
        Ok(())
    }

    fn entrypoint(&mut self, rest: &str) -> Result<()> {
        self.config.entrypoint = match rest {
            "" => None,
            rest => Some(self.command(rest)?).filter(|words| !words.is_empty()),
        };
        if !self.cmd_set {
            self.config.cmd = None;
        }
        Ok(())
    }

    fn env(&mut self, rest: &str) -> Result<()> {
        // All values see the environment as it was before the instruction.
        for (name, value) in self.pairs("ENV", rest)? {
            if name.contains('\0') || value.contains('\0') {
                return Err(invalid("ENV cannot hold a NUL byte"));
            }
            self.config.set_env(&name, &value);
        }
        Ok(())
    }

    fn label(&mut self, rest: &str) -> Result<()> {
        let pairs = self.pairs("LABEL", rest)?;
        self.config.labels.extend(pairs);
        Ok(())
    }

    /// `k=v k2="v 2"`, or the old form `k rest of the line`.
    fn pairs(&self, instruction: &str, rest: &str) -> Result<Vec<(String, String)>> {
        let words = split(rest);
        let env = &self.config.env;
        let pairs = match words.first() {
            Some(first) if first.contains('=') => words
                .iter()
                .map(|word| match word.split_once('=') {
                    Some((name, value)) => Ok((expand(name, env)?, expand(value, env)?)),
                    None => Err(invalid(format!(
                        "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                    ))),
                })
                .collect::<Result<Vec<_>>>()?,
            _ => match rest.split_once(char::is_whitespace) {
                Some((name, value)) => vec![(expand(name, env)?, expand(value.trim_start(), env)?)],
                None => return Err(invalid(format!("{instruction} must have two arguments"))),
            },
        };
        match pairs.iter().any(|(name, _)| name.is_empty()) {
            true => Err(invalid(format!("{instruction} names can not be blank"))),
            false => Ok(pairs),
        }
    }

    fn expose(&mut self, rest: &str) -> Result<()> {
        let mut ports = Vec::new();
        for word in split(rest) {
            for word in split(&expand(&word, &self.config.env)?) {
                ports.extend(exposed_ports(&word)?);
            }
        }
        add(&mut self.config.exposed_ports, ports);
        Ok(())
    }

    fn on_build(&mut self, rest: &str) -> Result<()> {
        let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match trigger.as_str() {
            "ONBUILD" => Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            "FROM" | "MAINTAINER" => Err(invalid(format!("{trigger} isn't allowed as an ONBUILD trigger"))),
            _ => {
                self.config.on_build.push(rest.to_owned());
                Ok(())
            }
        }
    }

    fn one_word(&self, rest: &str) -> Result<String> {
        let word = expand(rest, &self.config.env)?;
        match word.is_empty() || word.chars().any(char::is_control) {
            true => Err(invalid(format!("{word:?} is no acceptable value"))),
            false => Ok(word),
        }
    }

    fn volume(&mut self, rest: &str) -> Result<()> {
        let words = match json_form(rest)? {
            Some(words) => words,
            None => split(rest),
        };
        let paths = words.iter().map(|w| expand(w.trim(), &self.config.env)).collect::<Result<Vec<_>>>()?;
        if paths.is_empty() || paths.iter().any(String::is_empty) {
            return Err(invalid("VOLUME specified can not be an empty string"));
        }
        add(&mut self.config.volumes, paths);
        Ok(())
    }

    fn working_dir(&mut self, rest: &str) -> Result<()> {
        let path = self.one_word(rest)?;
        let base = if path.starts_with('/') { "" } else { self.config.working_dir.as_str() };
        let mut parts: Vec<&str> = Vec::new();
        for part in base.split('/').chain(path.split('/')) {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        self.config.working_dir = format!("/{}", parts.join("/"));
        Ok(())
    }

    fn stop_signal(&mut self, rest: &str) -> Result<()> {
        let word = self.one_word(rest)?;
        if !is_signal(&word) {
            return Err(invalid(format!("Invalid signal: {word}")));
        }
        self.config.stop_signal = word;
        Ok(())
    }

    fn healthcheck(&mut self, rest: &str) -> Result<()> {
        let mut check = Healthcheck::default();
        let mut rest = rest;
        while rest.starts_with("--") {
            let (flag, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            healthcheck_flag(&mut check, flag)?;
            rest = tail.trim_start();
        }
        let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let command = command.trim();
        check.test = match (kind.to_ascii_uppercase().as_str(), command) {
            ("NONE", "") if check == Healthcheck::default() => vec!["NONE".to_owned()],
            ("NONE", _) => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
            ("CMD", "") => return Err(invalid("Missing command after HEALTHCHECK CMD")),
            ("CMD", command) => match json_form(command)? {
                Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
                None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            },
            (other, _) => return Err(invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
        };
        self.config.healthcheck = Some(check);
        Ok(())
    }
}

fn is_instruction(name: &str) -> bool {
    matches!(name, "CMD" | "ENTRYPOINT") || needs_argument(name)
}

fn needs_argument(name: &str) -> bool {
    matches!(
        name,
        "ENV" | "EXPOSE" | "LABEL" | "ONBUILD" | "USER" | "VOLUME" | "WORKDIR" | "STOPSIGNAL" | "HEALTHCHECK"
    )
}

fn add(set: &mut Set, keys: Vec<String>) {
    set.extend(keys.into_iter().map(|key| (key, json!({}))));
}

/// A JSON array of strings. Other text is `None`: the shell form, however much it looks like JSON.
fn json_form(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(Value::Array(values)) = serde_json::from_str(text) else {
        return Ok(None);
    };
    let words = values.into_iter().map(|value| match value {
        Value::String(word) => Ok(word),
        _ => Err(invalid("only string type is allowed in JSON arrays")),
    });
    words.collect::<Result<Vec<_>>>().map(Some)
}

/// `80`, `80/udp`, `8000-8002/tcp` as single ports with their protocol.
pub fn exposed_ports(word: &str) -> Result<Vec<String>> {
    let (ports, protocol) = exposed_range(word)?;
    Ok(ports.map(|port| format!("{port}/{protocol}")).collect())
}

/// The same as a range of ports and its protocol.
pub fn exposed_range(word: &str) -> Result<(RangeInclusive<u16>, String)> {
    let bad = || invalid(format!("invalid containerPort: {word}"));
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u16>().map_err(|_| bad()),
        false => Err(bad()),
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(bad());
    }
    Ok((first..=last, protocol))
}

/// A signal's number or name, with or without `SIG`; signal(7).
pub fn is_signal(word: &str) -> bool {
    if let Ok(number) = word.parse::<i32>() {
        return (1..=SIGNAL_MAX).contains(&number);
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix(sign).is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 30))
        })
    };
    format!("SIG{name}").parse::<Signal>().is_ok() || real_time("RTMIN", '+') || real_time("RTMAX", '-')
}

fn healthcheck_flag(check: &mut Healthcheck, flag: &str) -> Result<()> {
    let Some((name, value)) = flag.split_once('=') else {
        return Err(invalid(format!("missing a value on flag: {flag}")));
    };
    match name {
        "--interval" => check.interval = duration(value)?,
        "--timeout" => check.timeout = duration(value)?,
        "--start-period" => check.start_period = duration(value)?,
        "--start-interval" => check.start_interval = duration(value)?,
        "--retries" => {
            check.retries =
                value.parse::<u16>().map(i64::from).map_err(|_| invalid(format!("invalid --retries {value:?}")))?;
        }
        _ => return Err(invalid(format!("unknown flag: {name}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(base: &Value, changes: &[&str]) -> Result<Value> {
        let mut config: RunConfig = serde_json::from_value(base.clone()).unwrap();
        let before = config.clone();
        let result = apply_changes(&mut config, changes);
        if result.is_err() {
            assert_eq!(config, before, "half applied: {changes:?}");
        }
        result.map(|()| serde_json::to_value(config).unwrap())
    }

    #[test]
    fn instructions_are_applied_as_docker_does() {
        let cases: &[(Value, &[&str], Value)] = &[
            (json!({}), &["CMD [\"a\", \"b c\"]"], json!({"Cmd": ["a", "b c"]})),
            (json!({}), &["cmd echo \"$HOME\""], json!({"Cmd": ["/bin/sh", "-c", "echo \"$HOME\""]})),
            (json!({}), &["CMD [a]"], json!({"Cmd": ["/bin/sh", "-c", "[a]"]})),
            (
                json!({"Shell": ["/bin/bash", "-c"]}),
                &["CMD x"],
                json!({"Cmd": ["/bin/bash", "-c", "x"], "Shell": ["/bin/bash", "-c"]}),
            ),
            (json!({"Cmd": ["x"]}), &["ENTRYPOINT [\"e\"]"], json!({"Entrypoint": ["e"]})),
            (json!({"Cmd": ["x"]}), &["CMD [\"y\"]", "ENTRYPOINT [\"e\"]"], json!({"Entrypoint": ["e"], "Cmd": ["y"]})),
            (json!({"Entrypoint": ["x"]}), &["ENTRYPOINT []"], json!({})),
            (json!({}), &["ENV A 1 2  3"], json!({"Env": ["A=1 2  3"]})),
            (json!({}), &["ENV A=1 B=\"2 3\" C=4\\ 5"], json!({"Env": ["A=1", "B=2 3", "C=4 5"]})),
            (json!({"Env": ["A=1"]}), &["ENV A=2 B=$A"], json!({"Env": ["A=2", "B=1"]})),
            (json!({}), &["ENV A=1 \\\n B=2"], json!({"Env": ["A=1", "B=2"]})),
            (json!({}), &["# no\nENV A=1\n\nUSER u"], json!({"User": "u", "Env": ["A=1"]})),
            (
                json!({"Env": ["P=90"]}),
                &["EXPOSE 80 53/UDP 81-82 $P"],
                json!({"Env": ["P=90"],
                       "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "81/tcp": {}, "82/tcp": {}, "90/tcp": {}}}),
            ),
            (json!({"Labels": {"a": "0"}}), &["LABEL a=1 \"b c\"='d e'"], json!({"Labels": {"a": "1", "b c": "d e"}})),
            (json!({}), &["ONBUILD RUN x y"], json!({"OnBuild": ["RUN x y"]})),
            (
                json!({}),
                &["CMD=/x y", "ENTRYPOINT=[\"e\"]", "env=A=b"],
                json!({"Cmd": ["/bin/sh", "-c", "/x y"], "Entrypoint": ["e"], "Env": ["A=b"]}),
            ),
            (json!({}), &["USER 1000:1000"], json!({"User": "1000:1000"})),
            (json!({}), &["VOLUME /a /b"], json!({"Volumes": {"/a": {}, "/b": {}}})),
            (json!({}), &["VOLUME [\"/a b\"]"], json!({"Volumes": {"/a b": {}}})),
            (json!({}), &["WORKDIR /a/b/", "WORKDIR ../c"], json!({"WorkingDir": "/a/c"})),
            (json!({}), &["WORKDIR x"], json!({"WorkingDir": "/x"})),
            (json!({}), &["STOPSIGNAL SIGRTMIN+3"], json!({"StopSignal": "SIGRTMIN+3"})),
            (json!({}), &["STOPSIGNAL 9"], json!({"StopSignal": "9"})),
            (json!({}), &["HEALTHCHECK NONE"], json!({"Healthcheck": {"Test": ["NONE"]}})),
            (
                json!({}),
                &["HEALTHCHECK --interval=1m30s --retries=3 CMD curl x"],
                json!({"Healthcheck":
                    {"Test": ["CMD-SHELL", "curl x"], "Interval": 90_000_000_000_i64, "Retries": 3}}),
            ),
            (json!({}), &["HEALTHCHECK CMD [\"x\"]"], json!({"Healthcheck": {"Test": ["CMD", "x"]}})),
        ];
        for (base, changes, result) in cases {
            assert_eq!(&applied(base, changes).unwrap(), result, "{changes:?}");
        }
    }

    #[test]
    fn errors_are_clear_and_change_nothing() {
        let cases = [
            ("FROM x", "FROM is not a valid change command"),
            ("RUN x", "RUN is not a valid change command"),
            ("nonsense", "NONSENSE is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
            ("ENV =x", "ENV names can not be blank"),
            ("ENV A=\"x", "unexpected end of statement while looking for matching double-quote"),
            ("LABEL ''=x", "LABEL names can not be blank"),
            ("EXPOSE x", "invalid containerPort: x"),
            ("EXPOSE 99999", "invalid containerPort: 99999"),
            ("EXPOSE 82-81", "invalid containerPort: 82-81"),
            ("EXPOSE 80/x", "invalid proto: x"),
            ("EXPOSE +80", "invalid containerPort: +80"),
            ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
            ("CMD [1]", "only string type is allowed in JSON arrays"),
            ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
            ("STOPSIGNAL SIGNOPE", "Invalid signal: SIGNOPE"),
            ("STOPSIGNAL 0", "Invalid signal: 0"),
            ("HEALTHCHECK x", "Unknown type \"X\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK --interval CMD x", "missing a value on flag: --interval"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            ("USER $NOBODY", "\"\" is no acceptable value"),
        ];
        for (change, message) in cases {
            let error = applied(&json!({"User": "before"}), &["ENV X=1", change]).unwrap_err();
            assert_eq!(error.to_string(), format!("change {change:?}: {message}"));
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_applied_or_refused(
            name in "CMD|ENTRYPOINT|ENV|EXPOSE|LABEL|ONBUILD|USER|VOLUME|WORKDIR|STOPSIGNAL|HEALTHCHECK|[A-Z]{0,4}",
            rest in "\\PC{0,30}|[\\[\\]\"'\\\\ =$a-]{0,20}",
        ) {
            let _ = applied(&json!({}), &[&format!("{name} {rest}")]);
        }
    }
}

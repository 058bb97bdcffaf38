//! `top`: the processes of a container, as the host's `ps` shows them.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use lrun_runtime::container::{lifecycle, processes};
use lrun_runtime::error::{Context as _, Error, ErrorKind, Result};

use crate::args::{Global, TopArgs};
use crate::context;
use crate::ui::output;
use crate::ui::rows::top::render;

/// Runs the command.
pub fn run(global: &Global, args: &TopArgs) -> Result<u8> {
    let options = match args.ps_options() {
        [] => vec!["-ef".to_owned()],
        own => own.to_vec(),
    };
    let engine = context::engine(global)?;
    let record = lifecycle::find(&engine, args.container())?;
    let pids = processes::of_container(&record)?;
    let (titles, rows) = listed(&options, &pids)?;
    if rows.is_empty() {
        // They ended while they were listed; or the options leave out the titles, or every process.
        processes::of_container(&record)?;
    }
    output::text(&render(&titles, &rows));
    Ok(0)
}

type Rows = Vec<Vec<String>>;

/// The titles and lines of these processes.
fn listed(options: &[String], pids: &BTreeSet<i32>) -> Result<(Vec<String>, Rows)> {
    let list = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut quick = options.to_vec();
    quick.extend(["-q".to_owned(), list]);
    let chosen = ps(&quick)?;
    if chosen.status.success() {
        return select(&String::from_utf8_lossy(&chosen.stdout), None);
    }
    // Some options cannot be used together with -q, and not every ps knows it.
    let all = ps(options)?;
    if !all.status.success() {
        let said = String::from_utf8_lossy(&all.stderr);
        // Its usage follows. Where it says nothing, it found nothing.
        let said = said.trim().lines().next().unwrap_or_default();
        if said.is_empty() {
            return select(&String::from_utf8_lossy(&all.stdout), Some(pids));
        }
        return Err(Error::new(ErrorKind::Invalid, format!("ps: {said}")));
    }
    select(&String::from_utf8_lossy(&all.stdout), Some(pids))
}

fn ps(options: &[String]) -> Result<Output> {
    let started = Command::new("ps").args(options).output();
    started.context(|| "run ps").hint(|| "lrun top needs the host's ps: install the package procps")
}

/// The cells of what `ps` printed, of these processes only where `pids` are given. The last column has all the rest of
/// its line.
fn select(text: &str, pids: Option<&BTreeSet<i32>>) -> Result<(Vec<String>, Rows)> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID");
    if pids.is_some() && column.is_none() {
        return Err(Error::new(ErrorKind::Invalid, "Couldn't find PID field in ps output")
            .hint("add pid to the fields, as in -o pid,comm"));
    }
    let wanted = |words: &[&str]| match (pids, column) {
        (Some(pids), Some(column)) => {
            words.get(column).and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid))
        }
        _ => !words.is_empty(),
    };
    let rows = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).filter(|words| wanted(words));
    let last = titles.len().saturating_sub(1);
    let cells = |words: Vec<&str>| {
        let (first, rest) = words.split_at(last.min(words.len()));
        first.iter().map(|word| (*word).to_owned()).chain([rest.join(" ")]).collect()
    };
    Ok((titles.clone(), rows.map(cells).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PS: &str = "UID          PID    PPID  C STIME TTY          TIME CMD\n\
                      root           1       0  0 10:00 ?        00:00:01 /sbin/init  quiet\n\
                      alice        712       1  0 10:01 pts/0    00:00:00 sh -c  a\n";

    #[test]
    fn the_last_column_takes_the_rest_of_the_line() {
        let (titles, rows) = select(PS, None).unwrap();
        assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(rows[1], ["alice", "712", "1", "0", "10:01", "pts/0", "00:00:00", "sh -c a"]);
        assert_eq!(select("COMMAND\nsleep 1000\n", None).unwrap().1, [["sleep 1000"]]);
    }

    #[test]
    fn lines_are_chosen_by_their_process_id() {
        let (_, rows) = select(PS, Some(&BTreeSet::from([712, 713]))).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][1], "712");
        let error = select("COMMAND\nsh\n", Some(&BTreeSet::from([1]))).unwrap_err();
        assert_eq!(error.to_string(), "Couldn't find PID field in ps output");
    }
}

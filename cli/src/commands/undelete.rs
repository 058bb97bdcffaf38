//! `undelete`: brings removed containers back.

use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::record::{Record, Summary};
use lrun_runtime::container::trash::{Entry, list, restore};
use lrun_runtime::error::Result;

use super::for_each;
use super::ps::{Images, entry, view};
use crate::args::{Global, UndeleteArgs};
use crate::context;
use crate::ui::output;
use crate::ui::rows::{ps, trash};

/// Runs the command. A container comes back stopped; its id is printed.
pub fn run(global: &Global, args: &UndeleteArgs) -> Result<u8> {
    let engine = context::engine(global)?;
    if args.list {
        return show(&engine, args);
    }
    match args.containers.as_slice() {
        [] => bring_back(&engine, None).map(|()| 0),
        names => for_each(names, |name| bring_back(&engine, Some(name))),
    }
}

fn bring_back(engine: &Engine, name: Option<&str>) -> Result<()> {
    let restored = restore(engine, name)?;
    output::line(restored.id.as_str());
    if let Some(former) = restored.former {
        let name = restored.name;
        output::complain(&format!("WARNING: another container is called {former} now: this one is {name}"));
    }
    Ok(())
}

fn show(engine: &Engine, args: &UndeleteArgs) -> Result<u8> {
    let format = trash::format(args.format.as_deref())?;
    let (mut images, host) = (Images::new(engine), context::host());
    let row = |(removed, record): (Entry, Record)| {
        let container = entry(summary(record), &mut images, false, &host);
        let size_rw = Some(removed.bytes);
        trash::Entry { removed: removed.removed_at(), container: ps::Entry { size_rw, ..container } }
    };
    let rows: Vec<trash::Entry> = list(engine)?.into_iter().map(row).collect();
    output::text(&trash::MODEL.render(&format, &rows, &view(!args.no_trunc))?);
    Ok(0)
}

fn summary(record: Record) -> Summary {
    Summary {
        id: record.id,
        name: record.name,
        created: record.created,
        image: record.image,
        command: record.command,
        state: record.state,
        labels: record.labels,
        auto_remove: record.auto_remove,
        by_run: record.by_run,
        ports: record.ports,
        options: serde_json::from_value(record.options).ok(),
    }
}

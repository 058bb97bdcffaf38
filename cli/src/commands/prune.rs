//! `container prune`, `image prune`, `builder prune`, `system prune`: remove what is not used, for good. Without filters,
//! that is also what is in the trash.

use std::collections::BTreeMap;
use std::io::BufRead;

use jiff::Timestamp;
use lrun_runtime::build::prune::prune;
use lrun_runtime::container::cache_mounts;
use lrun_runtime::container::engine::Engine;
use lrun_runtime::container::prune::{Pruned, prune_containers, prune_images};
use lrun_runtime::error::{Error, Result};
use lrun_runtime::image::remove::Removed;
use lrun_runtime::image::store::Listed;

use super::preferences::Preferences;
use crate::args::{BuilderPruneArgs, ContainerPruneArgs, Global, ImagePruneArgs, SystemPruneArgs, time};
use crate::context;
use crate::ui::filters::prune::{BUILDER_NAMES, IMAGE_NAMES, Kinds, NAMES, Query};
use crate::ui::{output, units};

const QUESTION: &str = "Are you sure you want to continue?";

/// `container prune`.
pub fn containers(global: &Global, args: &ContainerPruneArgs) -> Result<u8> {
    let query = pruning(global, &args.filter, &NAMES)?;
    if !args.force && !confirmed(&format!("WARNING! This will remove all stopped containers.\n{QUESTION}")) {
        return Ok(0);
    }
    let engine = context::engine(global)?;
    let mut sum = Sum::default();
    sum.containers(&engine, &query)?;
    Ok(sum.finish())
}

/// `image prune`.
pub fn images(global: &Global, args: &ImagePruneArgs) -> Result<u8> {
    let query = pruning(global, &args.filter, &IMAGE_NAMES)?;
    let all = args.all || query.dangling()? == Some(false);
    let what = match all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    if !args.force && !confirmed(&format!("WARNING! This will remove {what}.\n{QUESTION}")) {
        return Ok(0);
    }
    let engine = context::settled_engine(global)?;
    let mut sum = Sum::default();
    sum.images(&engine, all, &query)?;
    Ok(sum.finish())
}

/// `builder prune`. What the steps made are images: those are removed as images are. What stays from build to build goes
/// with or without `--all`: no image has it.
pub fn builder(global: &Global, args: &BuilderPruneArgs) -> Result<u8> {
    args.check()?;
    let query = pruning(global, &args.filter, &BUILDER_NAMES)?;
    let kinds = query.kinds()?;
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    if !args.force && !confirmed(&format!("WARNING! This will remove {what}.\n{QUESTION}")) {
        return Ok(0);
    }
    let engine = context::engine(global)?;
    let mut sum = Sum::default();
    sum.build_cache(&engine, kinds, args.all, &query)?;
    Ok(sum.finish())
}

/// `system prune`. There are no networks and volumes to be removed.
pub fn system(global: &Global, args: &SystemPruneArgs) -> Result<u8> {
    let query = pruning(global, &args.filter, &NAMES)?;
    if !args.force && !confirmed(&warning(args.all, &query.given())) {
        return Ok(0);
    }
    let engine = context::settled_engine(global)?;
    let mut sum = Sum::default();
    sum.containers(&engine, &query)?;
    sum.images(&engine, args.all, &query)?;
    // It has no labels to be chosen by.
    if !query.needs_labels() {
        sum.build_cache(&engine, query.kinds()?, args.all, &query)?;
    }
    Ok(sum.finish())
}

fn warning(all: bool, filters: &[String]) -> String {
    let images = match all {
        true => "all images without at least one container associated to them",
        false => "all dangling images",
    };
    let mut text = format!("WARNING! This will remove:\n  - all stopped containers\n  - {images}\n");
    if !filters.iter().any(|filter| filter.starts_with("label")) {
        text.push_str(if all { "  - all build cache\n" } else { "  - unused build cache\n" });
    }
    if filters.is_empty() {
        text.push_str("  - removed containers that `lrun undelete` could bring back\n");
    }
    if !filters.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        filters.iter().for_each(|filter| text.push_str(&format!("  - {filter}\n")));
    }
    format!("{text}\n{QUESTION}")
}

/// The filters of a prune, with those of docker's settings.
fn pruning(global: &Global, filters: &[String], names: &[&str]) -> Result<Query> {
    query(&Preferences::read(global).with_prune_filters(filters, names), names)
}

/// The filters, with times from now on.
pub(super) fn query(filters: &[String], names: &[&str]) -> Result<Query> {
    let (now, zone) = (Timestamp::now(), context::zone());
    Query::parse(filters, names, |text| time::parse(text, now, &zone))
}

/// Asks, as docker does: anything but `y` is a no.
fn confirmed(question: &str) -> bool {
    output::text(&format!("{question} [y/N] "));
    let mut answer = String::new();
    // No answer is a no.
    let _ = std::io::stdin().lock().read_line(&mut answer);
    answer.trim().eq_ignore_ascii_case("y")
}

/// What several removals gave back.
#[derive(Default)]
struct Sum {
    bytes: u64,
    failed: bool,
}

impl Sum {
    fn containers(&mut self, engine: &Engine, query: &Query) -> Result<()> {
        let wanted = |summary: &_| {
            let lrun_runtime::container::record::Summary { created, labels, .. } = summary;
            query.takes(Some(*created), labels)
        };
        let pruned = prune_containers(engine, query.given().is_empty(), &wanted)?;
        self.report("Deleted Containers:", pruned, ToString::to_string);
        Ok(())
    }

    fn images(&mut self, engine: &Engine, all: bool, query: &Query) -> Result<()> {
        let wanted = |image: &Listed| {
            let labels = match query.needs_labels() {
                true => engine.store.image(&image.record.id)?.config.config.labels,
                false => Default::default(),
            };
            Ok(query.takes(image.record.created, &labels))
        };
        let pruned = prune_images(engine, all, &wanted)?;
        self.report("Deleted Images:", pruned, |line| match line {
            Removed::Untagged(name) => format!("untagged: {name}"),
            Removed::Deleted(id) => format!("deleted: {id}"),
        });
        Ok(())
    }

    fn build_cache(&mut self, engine: &Engine, kinds: Kinds, all: bool, query: &Query) -> Result<()> {
        let takes = |time: Option<Timestamp>| query.takes(time, &BTreeMap::new());
        let (mut pruned, bytes) = match kinds.steps {
            true => prune(&engine.store, all, &takes)?,
            false => (Vec::new(), 0),
        };
        self.bytes += bytes;
        if kinds.mounts {
            for mount in cache_mounts::prune(engine, &takes)? {
                self.bytes += mount.bytes;
                pruned.push(mount.name);
            }
        }
        if !pruned.is_empty() {
            output::text(&format!("Deleted build cache objects:\n{}\n\n", pruned.join("\n")));
        }
        Ok(())
    }

    fn report<T>(&mut self, title: &str, pruned: Pruned<T>, line: impl Fn(&T) -> String) {
        if !pruned.removed.is_empty() {
            let lines: String = pruned.removed.iter().map(|removed| line(removed) + "\n").collect();
            output::text(&format!("{title}\n{lines}\n"));
        }
        self.bytes += pruned.bytes;
        self.failed |= !pruned.failures.is_empty();
        pruned.failures.iter().for_each(|error: &Error| output::error(error));
    }

    fn finish(self) -> u8 {
        output::line(&format!("Total reclaimed space: {}", units::human_sum(self.bytes)));
        u8::from(self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_lists_what_goes_and_the_filters() {
        insta::assert_snapshot!(warning(false, &[]), @r"
        WARNING! This will remove:
          - all stopped containers
          - all dangling images
          - unused build cache
          - removed containers that `lrun undelete` could bring back

        Are you sure you want to continue?
        ");
        insta::assert_snapshot!(warning(true, &["label=a".to_owned(), "label!=b".to_owned()]), @r"
        WARNING! This will remove:
          - all stopped containers
          - all images without at least one container associated to them

          Items to be pruned will be filtered with:
          - label=a
          - label!=b

        Are you sure you want to continue?
        ");
    }
}

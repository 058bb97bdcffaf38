//! The table of `top`.

use crate::ui::{escape, table};

/// Processes under their titles, each a list of cells, in docker's wide columns.
pub fn render(titles: &[String], processes: &[Vec<String>]) -> String {
    let mut text = String::new();
    for cells in std::iter::once(titles).chain(processes.iter().map(Vec::as_slice)) {
        let cells: Vec<_> = cells.iter().map(|cell| escape::line(cell)).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    table::layout(&text, table::TOP_MIN_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_columns_and_no_escape_sequences() {
        let cells = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
        insta::assert_snapshot!(
            render(&cells(&["UID", "PID", "CMD"]), &[cells(&["root", "1", "bash"]), cells(&["root", "42", "\u{1b}c x"])]),
            @r"
        UID                 PID                 CMD
        root                1                   bash
        root                42                  \x1bc x
        "
        );
    }
}

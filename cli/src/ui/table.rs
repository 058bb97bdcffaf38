//! Borderless tables: cells end at tabs, columns line up.
//!
//! The layout is that of Go's text/tabwriter with docker's settings, so that scripts which cut docker's output by
//! columns keep working: a column is as wide as its widest cell plus three spaces, at least the minimal width; what
//! follows the last tab of a line is printed as it is and widens no column. A column ends at a line that has no cell
//! in it, and the lines below start a new one.

use super::width;

/// The least width of a column in docker's listings.
pub const MIN_WIDTH: usize = 10;
/// The least width of a column of `top`.
pub const TOP_MIN_WIDTH: usize = 20;
/// Spaces after the widest cell of a column.
const PADDING: usize = 3;

/// Lines of cells separated by tabs, laid out in columns; every line ends with a newline.
pub fn layout(text: &str, min_width: usize) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let widths = column_widths(&lines, min_width);
    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(width::of(cell))));
            }
        }
        out.push('\n');
    }
    out
}

/// For each line the widths of its tab-terminated cells.
fn column_widths(lines: &[Vec<&str>], min_width: usize) -> Vec<Vec<usize>> {
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let end = (start..lines.len()).find(|&i| widths[i].len() <= column).unwrap_or(lines.len());
            let widest = lines[start..end].iter().map(|cells| width::of(cells[column]) + PADDING).max();
            for line in &mut widths[start..end] {
                line[column] = widest.unwrap_or(0).max(min_width);
            }
            start = end + 1;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_three_spaces_and_a_least_width() {
        let text = "CONTAINER ID\tIMAGE\tPORTS\tNAMES\nc2c5bcdbd95e\tstage0\t\thopeful_villani\n";
        insta::assert_snapshot!(layout(text, MIN_WIDTH), @r"
        CONTAINER ID   IMAGE     PORTS     NAMES
        c2c5bcdbd95e   stage0              hopeful_villani
        ");
        insta::assert_snapshot!(layout("UID\tPID\tCMD\nroot\t1\tsleep 5\n", TOP_MIN_WIDTH), @r"
        UID                 PID                 CMD
        root                1                   sleep 5
        ");
    }

    #[test]
    fn wide_and_narrow_characters_line_up() {
        insta::assert_snapshot!(layout("\"sh -c 'sleep 1000; …\"\tx\n\"日本\"\ty\n", MIN_WIDTH), @r#"
        "sh -c 'sleep 1000; …"   x
        "日本"                   y
        "#);
    }

    #[test]
    fn an_empty_last_cell_leaves_the_padding_and_a_single_cell_has_none() {
        assert_eq!(layout("A\tB\na\t\n", 10), "A         B\na         \n");
        assert_eq!(layout("ID\nabc\n", 10), "ID\nabc\n");
        assert_eq!(layout("", 10), "");
    }

    #[test]
    fn a_line_without_the_column_starts_a_new_block() {
        assert_eq!(layout("long long cell\tx\nalone\nshort\ty\n", 1), "long long cell   x\nalone\nshort   y\n");
    }
}

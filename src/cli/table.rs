//! Text for people: aligned columns, aligned pairs, and nothing that commands a terminal but our colours.

use super::colour::Palette;

/// Longest cell of a column, in characters; the whole value is in JSON.
const CELL_CHARS_MAX: usize = 48;

/// Stands for an empty cell, so that columns can be told apart.
const EMPTY: &str = "-";

/// Rows under a head, each column as wide as its widest cell.
#[cfg(test)]
pub(super) fn columns<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    columns_in(Palette::PLAIN, head, rows)
}

/// Rows under a head, in colours; each column is as wide as its widest cell.
pub(super) fn columns_in<const N: usize>(
    palette: Palette,
    head: [&str; N],
    rows: &[[String; N]],
) -> String {
    let cells: Vec<[String; N]> = std::iter::once(head.map(str::to_owned))
        .chain(rows.iter().map(|row| row.clone().map(|text| cell(&text))))
        .collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        // What ends a line is empty in no cell, so nothing is padded at its end.
        let coloured = |(column, cell): (usize, &String)| {
            let padded = match column + 1 == N {
                true => cell.clone(),
                false => format!("{cell:width$}", width = widths[column]),
            };
            match number {
                0 => palette.head(&padded),
                _ => palette.value(head[column], &padded),
            }
        };
        let line: Vec<String> = row.iter().enumerate().map(coloured).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, the values in one column. Pairs with an empty value are left out.
pub(super) fn pairs(rows: &[(&str, String)]) -> String {
    pairs_in(Palette::PLAIN, rows)
}

/// Names and values, in colours; the values in one column. Pairs with an empty value are left out.
pub(super) fn pairs_in(palette: Palette, rows: &[(&str, String)]) -> String {
    let filled = || rows.iter().filter(|(_, value)| !value.is_empty());
    let width = filled().map(|(name, _)| name.len()).max().unwrap_or(0);
    filled()
        .map(|(name, value)| {
            let value = palette.value(name, &printable(value));
            format!("{name:width$}  {value}\n")
        })
        .collect()
}

/// The text with control characters escaped: a token's name must not move the cursor.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

fn cell(text: &str) -> String {
    if text.is_empty() {
        return EMPTY.to_owned();
    }
    let mut safe = printable(text);
    if let Some((cut, _)) = safe.char_indices().nth(CELL_CHARS_MAX)
        && let Some((last, _)) = safe[..cut].char_indices().next_back()
    {
        safe.truncate(last);
        safe.push('…');
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 3]) -> [String; 3] {
        cells.map(str::to_owned)
    }

    #[test]
    fn columns_are_aligned_by_characters_without_trailing_space() {
        let rows = [row(["a", "größe", "1"]), row(["bbbb", "", ""])];
        let text = columns(["ID", "NAME", "STATE"], &rows);
        assert_eq!(text, "ID    NAME   STATE\na     größe  1\nbbbb  -      -\n");
    }

    #[test]
    fn an_empty_table_is_its_head() {
        assert_eq!(columns(["ID", "NAME"], &[]), "ID  NAME\n");
    }

    #[test]
    fn a_long_cell_is_cut() {
        let text = columns(["ID"], &[["é".repeat(100)]]);
        let cell = text.lines().nth(1).unwrap();
        assert_eq!(cell.chars().count(), CELL_CHARS_MAX);
        assert!(cell.ends_with("é…"));
    }

    #[test]
    fn pairs_are_aligned_and_empty_ones_left_out() {
        let rows = [
            ("id", "7f".to_owned()),
            ("owner", String::new()),
            ("state", "active".to_owned()),
        ];
        assert_eq!(pairs(&rows), "id     7f\nstate  active\n");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let rows = [row(["a", "b", "active"]), row(["active", "", "revoked"])];
        let text = columns_in(Palette::COLOURED, ["ID", "STATE", "NAME"], &rows);
        let plain = columns(["ID", "STATE", "NAME"], &rows);
        assert!(
            !text.contains("active\x1b") && text.contains("\x1b[1mID"),
            "{text:?}"
        );
        let text = columns_in(Palette::COLOURED, ["ID", "NAME", "STATE"], &rows);
        assert!(text.contains("\x1b[32mactive\x1b[0m\n"), "{text:?}");
        let mut bare = columns_in(Palette::COLOURED, ["ID", "STATE", "NAME"], &rows);
        for code in ["\x1b[1m", "\x1b[0m", "\x1b[31m", "\x1b[32m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, plain);
    }

    #[test]
    fn values_cannot_command_a_terminal() {
        let text = pairs(&[("name", "x\u{1b}[2J\n\u{9b}y".to_owned())]);
        assert_eq!(text, "name  x\\u{1b}[2J\\n\\u{9b}y\n");
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! Tables in plain text.

use crate::format::number::push_text;

/// Writes rows under their heads, in columns as wide as they need to be. Columns of numbers are aligned
/// to the right, and their heads with them.
pub fn write_columns<const N: usize>(
    out: &mut Vec<u8>,
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let is_number = |cell: &String| cell.starts_with(|c: char| c.is_ascii_digit()) || cell == "-";
    let columns = (0..N).map(|column| {
        let cells = rows.iter().map(move |row| &row[column]);
        let width = cells.clone().map(|cell| cell.chars().count()).max().unwrap_or(0);
        (width, rows.len() > 1 && cells.skip(1).all(is_number))
    });
    let columns: Vec<(usize, bool)> = columns.collect();
    for row in &rows {
        let cells = row.iter().zip(&columns).map(|(cell, &(width, right))| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        push_text(out, format_args!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [["a", "1", "-"], ["longer", "1000", "2"]];
        let rows = rows.map(|row| row.map(str::to_owned)).into_iter();
        let golden = "name    many  n\na          1  -\nlonger  1000  2\n";
        assert_eq!(text(|out| write_columns(out, &["name", "many", "n"], rows)), golden);
        let head = text(|out| write_columns(out, &["name", "many"], [].into_iter()));
        assert_eq!(head, "name  many\n");
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! Writes tables in plain text, with aligned columns. A table crate would add borders and colours
//! that scripts must strip again.

use crate::format::push::push_text;

/// Writes a line of heads, then a line for each row. A column is as wide as its longest cell, and
/// columns are two spaces apart. A column whose cells are all numbers or `-` is aligned to the
/// right, with its head.
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
    use crate::format::push::text;

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

// SPDX-License-Identifier: GPL-2.0-only
//! Tables of text. The first column is aligned to the left, the others to the right.

use std::fmt;

/// Lines of headings, and rows.
pub struct TextTable<const N: usize> {
    rows: Vec<[String; N]>,
    heads: usize,
}

impl<const N: usize> TextTable<N> {
    /// Makes a table of headings: `heads` holds their lines.
    pub fn new<const H: usize>(heads: [[&str; N]; H]) -> Self {
        Self { rows: heads.iter().map(|head| head.map(str::to_owned)).collect(), heads: H }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Returns whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == self.heads
    }
}

impl<const N: usize> fmt::Display for TextTable<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                match column {
                    0 => line += &format!("  {cell:<width$}"),
                    _ => line += &format!("  {cell:>width$}"),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Writes a number with this many decimals; a dash if it is not finite.
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        "-".into()
    }
}

/// Writes a share as percent; a dash if there is none or it is not finite.
pub fn percent(share: Option<f64>) -> String {
    share
        .filter(|share| share.is_finite())
        .map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// Writes a number in groups of three digits, as SI does: `1 000 000`. Four digits stay together.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = TextTable::new([["name", "cost"], ["", "ns"]]);
        assert!(table.is_empty());
        table.row(["µs".into(), "5".into()]);
        table.row(["longer".into(), "12345".into()]);
        let text = "  name     cost\n             ns\n  µs          5\n  longer  12345\n";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn numbers() {
        assert_eq!((number(1.25, 1), number(f64::NAN, 1)), ("1.2".into(), "-".into()));
        assert_eq!((percent(Some(0.5)), percent(None)), ("50.0 %".into(), "-".into()));
        assert_eq!([0, 4000, 20_000, 1_000_000].map(grouped), ["0", "4000", "20 000", "1 000 000"]);
    }
}

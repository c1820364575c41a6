// SPDX-License-Identifier: GPL-2.0-only
//! A table for people: aligned columns, RTTs in milliseconds, the highest median first.

use std::cmp::Reverse;

use crate::domain::format::Format;
use crate::domain::summary::{HandleReport, Snapshot};
use crate::domain::{Side, Sides};
use crate::format::push::{push_text, Milliseconds};

/// Writes `--format table`.
pub struct SnapshotTable;

impl Format<Snapshot> for SnapshotTable {
    fn record(&mut self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        write_table(out, &snapshot.reports, snapshot.sides.each());
    }
}

/// Writes the table. A handle's place depends on the highest of its medians that are shown.
fn write_table(out: &mut Vec<u8>, reports: &[HandleReport], sides: &[Side]) {
    let worst = |r: &HandleReport| {
        sides.iter().filter_map(|&s| r.summary(Sides::One(s))).map(|s| s.median_ns).max()
    };
    let mut shown: Vec<_> = reports.iter().filter(|r| worst(r).is_some()).collect();
    shown.sort_by_key(|r| (Reverse(worst(r)), r.tc_handle));

    let mut rows: Vec<Vec<String>> = vec![header(sides)];
    rows.extend(shown.iter().map(|r| table_row(r, sides)));
    let widths = column_widths(&rows);
    push_text(out, format_args!("{}\n", title(sides, &widths)));
    rows.iter().for_each(|row| push_text(out, format_args!("{}\n", align(row, &widths))));
}

/// Column heads of one side's group.
const COLUMNS: [&str; 6] = ["median", "p95", "avg", "min", "max", "samples"];
/// Number of spaces between two columns of a group. A group has twice as many before it.
const GAP: usize = 2;

fn header(sides: &[Side]) -> Vec<String> {
    let groups = sides.iter().flat_map(|_| COLUMNS).map(str::to_owned);
    std::iter::once("class".to_owned()).chain(groups).collect()
}

fn table_row(report: &HandleReport, sides: &[Side]) -> Vec<String> {
    let mut row = vec![report.tc_handle.to_string()];
    for &side in sides {
        match report.summary(Sides::One(side)) {
            Some(s) => {
                let times = [s.median_ns, s.p95_ns, s.avg_ns, s.min_ns, s.max_ns];
                row.extend(times.iter().map(|&ns| Milliseconds(ns).to_string()));
                row.push(s.count.to_string());
            }
            None => row.extend(COLUMNS.map(|_| "-".to_owned())),
        }
    }
    row
}

fn column_widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

/// Returns the line above the column heads, which names the side of each group.
fn title(sides: &[Side], widths: &[usize]) -> String {
    let class = widths.first().copied().unwrap_or(0);
    let mut line = " ".repeat(class);
    for (group, side) in widths[1..].chunks(COLUMNS.len()).zip(sides) {
        let width = group.iter().sum::<usize>() + GAP * (group.len() - 1);
        let text = format!(" {} side, ms ", side.name());
        line.push_str(&format!("{:gap$}{text:-^width$}", "", gap = 2 * GAP));
    }
    line
}

fn align(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        match column {
            0 => line.push_str(&format!("{cell:<width$}")),
            _ => {
                let first_of_group = (column - 1) % COLUMNS.len() == 0;
                let gap = if first_of_group { 2 * GAP } else { GAP };
                line.push_str(&format!("{:gap$}{cell:>width$}", ""));
            }
        }
    }
    line
}

// SPDX-License-Identifier: GPL-2.0-only
//! How results look: the snapshot of `xdp_pping` and the listing of the mapping. Formatting only;
//! the figures are computed elsewhere, in nanoseconds, and rounded here to hundredths of a
//! millisecond.
//!
//! The JSON of [`write_json`] and [`write_mappings`] is read by programs in the field: not a byte
//! of it may change.

use std::cmp::Reverse;
use std::fmt;
use std::io::{self, Write};

use clap::ValueEnum;

use crate::values::{Mapping, TcHandle, TxqRow};

/// The figures of one tc handle over the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandleReport {
    /// Major in the upper, minor in the lower 16 bits; host byte order.
    pub tc_handle: u32,
    /// Between here and the subscriber; `None` without a sample.
    pub subscriber: Option<Summary>,
    /// Between here and the hosts on the internet; `None` without a sample.
    pub internet: Option<Summary>,
    /// The samples of both sides taken together.
    pub both: Summary,
}

/// What a set of RTT samples amounts to. All times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples; the rest means nothing if this is 0.
    pub count: u64,
    /// Mean, exact.
    pub avg_ns: u64,
    /// Smallest, exact.
    pub min_ns: u64,
    /// Largest, exact.
    pub max_ns: u64,
    /// 50th percentile, within 5 %.
    pub median_ns: u64,
    /// 95th percentile, within 5 %.
    pub p95_ns: u64,
}

/// Which RTT samples to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// From the shaper to the subscriber and back
    Subscriber,
    /// From the shaper to the host on the internet and back
    Internet,
    /// The samples of both taken together
    #[default]
    Both,
}

impl Side {
    /// As the JSON formats write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Internet => "internet",
            Self::Both => "both",
        }
    }
}

/// How `xdp_pping` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One array, as callers of the predecessor read it
    #[default]
    Json,
    /// One object a line and class, with p95 and each side's figures
    Jsonl,
    /// For people: aligned, worst median first, with p95
    Table,
}

impl HandleReport {
    /// The figures of one side, if it has a sample.
    pub fn summary(&self, side: Side) -> Option<&Summary> {
        let summary = match side {
            Side::Subscriber => self.subscriber.as_ref(),
            Side::Internet => self.internet.as_ref(),
            Side::Both => Some(&self.both),
        };
        summary.filter(|s| s.count > 0)
    }
}

/// Writes the snapshot in any format. Handles without a sample on `side` are left out.
///
/// # Errors
/// Those of `out`.
pub fn write_report(
    out: &mut impl Write,
    reports: &[HandleReport],
    side: Side,
    format: Format,
) -> io::Result<()> {
    match format {
        Format::Json => write_json(out, reports, side),
        Format::Jsonl => write_jsonl(out, reports, side),
        Format::Table => write_table(out, reports, side),
    }
}

/// Writes the predecessor's array: one object a line and handle, then the empty object.
///
/// # Errors
/// Those of `out`.
pub fn write_json<'a>(
    out: &mut impl Write,
    reports: impl IntoIterator<Item = &'a HandleReport>,
    side: Side,
) -> io::Result<()> {
    out.write_all(b"[\n")?;
    let mut line = Vec::new();
    for (handle, s) in with_samples(reports, side) {
        // By hand: the formatting machinery takes longer than everything else of a snapshot.
        line.clear();
        line.extend_from_slice(b"{\"tc\":\"");
        push_number(&mut line, handle.major().into());
        line.push(b':');
        push_number(&mut line, handle.minor().into());
        line.push(b'"');
        let times =
            [("avg", s.avg_ns), ("min", s.min_ns), ("max", s.max_ns), ("median", s.median_ns)];
        for (name, ns) in times {
            line.extend_from_slice(b", \"");
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(b"\": ");
            push_ms(&mut line, ns);
        }
        line.extend_from_slice(b", \"samples\": ");
        push_number(&mut line, s.count);
        line.extend_from_slice(b"},\n");
        out.write_all(&line)?;
    }
    out.write_all(b"{}]\n")
}

/// Writes one object a line and handle: the side asked for, with p95; each side's own figures when
/// that is both. Handles are in decimal as in the array.
///
/// # Errors
/// Those of `out`.
pub fn write_jsonl<'a>(
    out: &mut impl Write,
    reports: impl IntoIterator<Item = &'a HandleReport>,
    side: Side,
) -> io::Result<()> {
    for report in reports {
        let Some(summary) = report.summary(side) else { continue };
        let handle = TcHandle(report.tc_handle).decimal();
        write!(out, r#"{{"tc":"{handle}","side":"{}",{}"#, side.name(), JsonFields(summary))?;
        if side == Side::Both {
            for one in [Side::Subscriber, Side::Internet] {
                write!(out, r#","{}":"#, one.name())?;
                match report.summary(one) {
                    Some(summary) => write!(out, "{{{}}}", JsonFields(summary))?,
                    None => out.write_all(b"null")?,
                }
            }
        }
        out.write_all(b"}\n")?;
    }
    Ok(())
}

/// Writes the table for people: columns aligned, RTTs in milliseconds, worst median of the sides
/// shown first.
///
/// # Errors
/// Those of `out`.
pub fn write_table(out: &mut impl Write, reports: &[HandleReport], side: Side) -> io::Result<()> {
    let sides: &[Side] = match side {
        Side::Both => &[Side::Subscriber, Side::Internet],
        Side::Subscriber => &[Side::Subscriber],
        Side::Internet => &[Side::Internet],
    };
    let worst =
        |r: &HandleReport| sides.iter().filter_map(|&s| r.summary(s)).map(|s| s.median_ns).max();
    let mut shown: Vec<_> = reports.iter().filter(|r| worst(r).is_some()).collect();
    shown.sort_by_key(|r| (Reverse(worst(r)), r.tc_handle));

    let mut rows: Vec<Vec<String>> = vec![header(sides)];
    rows.extend(shown.iter().map(|r| table_row(r, sides)));
    let widths = column_widths(&rows);
    writeln!(out, "{}", title(sides, &widths))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", align(row, &widths)))
}

/// Column heads of one side's group.
const COLUMNS: [&str; 6] = ["median", "p95", "avg", "min", "max", "samples"];
/// Between two columns of a group, and additionally before each group.
const GAP: usize = 2;

fn header(sides: &[Side]) -> Vec<String> {
    let groups = sides.iter().flat_map(|_| COLUMNS).map(str::to_owned);
    std::iter::once("class".to_owned()).chain(groups).collect()
}

fn table_row(report: &HandleReport, sides: &[Side]) -> Vec<String> {
    let mut row = vec![TcHandle(report.tc_handle).to_string()];
    for &side in sides {
        match report.summary(side) {
            Some(s) => {
                let times = [s.median_ns, s.p95_ns, s.avg_ns, s.min_ns, s.max_ns];
                row.extend(times.iter().map(|&ns| Ms(ns).to_string()));
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

/// The line over the column heads that names each group.
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

fn with_samples<'a>(
    reports: impl IntoIterator<Item = &'a HandleReport>,
    side: Side,
) -> impl Iterator<Item = (TcHandle, &'a Summary)> {
    let with_summary = move |r: &'a HandleReport| Some((TcHandle(r.tc_handle), r.summary(side)?));
    reports.into_iter().filter_map(with_summary)
}

/// Nanoseconds shown as milliseconds with two decimals, rounded half up, in integers: never NaN,
/// never `-0.00`.
struct Ms(u64);

impl Ms {
    fn hundredths(&self) -> u64 {
        self.0.saturating_add(5_000) / 10_000
    }
}

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.hundredths();
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// As `{}` of a number.
pub(crate) fn push_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[first..]);
}

/// As `{}` of [`Ms`].
fn push_ms(line: &mut Vec<u8>, ns: u64) {
    let hundredths = Ms(ns).hundredths();
    push_number(line, hundredths / 100);
    let rest = (hundredths % 100) as u8;
    line.extend_from_slice(&[b'.', b'0' + rest / 10, b'0' + rest % 10]);
}

struct JsonFields<'a>(&'a Summary);

impl fmt::Display for JsonFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0;
        write!(
            f,
            r#""avg":{},"min":{},"max":{},"median":{},"p95":{},"samples":{}"#,
            Ms(s.avg_ns),
            Ms(s.min_ns),
            Ms(s.max_ns),
            Ms(s.median_ns),
            Ms(s.p95_ns),
            s.count
        )
    }
}

/// Writes the mapping as one JSON object, one entry a line, in the order given; halves in
/// upper-case hexadecimal.
///
/// # Errors
/// Those of `out`.
pub fn write_mappings(
    out: &mut impl Write,
    mappings: impl IntoIterator<Item = Mapping>,
) -> io::Result<()> {
    out.write_all(b"{\n")?;
    let mut separator = "";
    for Mapping { prefix, cpu, tc_handle } in mappings {
        write!(
            out,
            r#"{separator}"{prefix}" : {{ "cpu" : {cpu}, "tc_maj" : "{:X}" , "tc_min" : "{:X}" }}"#,
            tc_handle.major(),
            tc_handle.minor()
        )?;
        separator = ",\n";
    }
    let end = if separator.is_empty() { "}\n" } else { "\n}\n" };
    out.write_all(end.as_bytes())
}

/// Writes the queue table as `tc_classify --list` shows it, in the predecessor's layout.
///
/// # Errors
/// Those of `out`.
pub fn write_txq_table(
    out: &mut impl Write,
    rows: impl IntoIterator<Item = TxqRow>,
) -> io::Result<()> {
    const RULE: &str = "|-----------+---------------+-----------|";
    writeln!(out, "{RULE}\n| key (cpu) | queue_mapping | htb_major |\n{RULE}")?;
    for TxqRow { cpu, queue_mapping, htb_major } in rows {
        writeln!(out, "|    {cpu:<6} |        {queue_mapping:<6} |  0x{htb_major:<6X} |")?;
    }
    writeln!(out, "{RULE}")
}

/// Writes rows under their heads in columns as wide as they need to be. Numbers stand to the right,
/// heads as the column below them.
///
/// # Errors
/// Those of `out`.
pub fn write_columns<const N: usize>(
    out: &mut impl Write,
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
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
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: GPL-2.0-only
//! The formats of the snapshot that `xdp_pping` prints.

use crate::domain::format::NamedFormat;
use crate::domain::summary::Snapshot;

mod csv;
mod json;
mod jsonl;
mod table;

/// The array of the predecessor's `xdp_pping`.
pub static JSON: NamedFormat<Snapshot> = NamedFormat {
    name: "json",
    help: "One array, as callers of the predecessor read it",
    make: || Box::new(json::SnapshotArray),
    is_array: true,
};

/// One JSON object a line.
pub static JSONL: NamedFormat<Snapshot> = NamedFormat {
    name: "jsonl",
    help: "One object a line and class, with p95 and each side's figures",
    make: || Box::new(jsonl::SnapshotLines),
    is_array: false,
};

/// A table for people.
pub static TABLE: NamedFormat<Snapshot> = NamedFormat {
    name: "table",
    help: "For people: aligned, worst median first, with p95",
    make: || Box::new(table::SnapshotTable),
    is_array: false,
};

/// Comma-separated values.
pub static CSV: NamedFormat<Snapshot> = NamedFormat {
    name: "csv",
    help: "For spreadsheets: a line of heads, then a line for each class, with p95",
    make: || Box::new(csv::SnapshotCsv),
    is_array: false,
};

/// Every format of the snapshot; the first is the default.
pub static FORMATS: [&NamedFormat<Snapshot>; 4] = [&JSON, &JSONL, &TABLE, &CSV];

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: GPL-2.0-only
//! The formats of a stream: those of the eBPF pping, and one JSON object a line.

use crate::domain::format::NamedFormat;
use crate::stream::record::StreamRecord;

mod json;
mod ppviz;
mod standard;
mod words;

/// Lines for people.
pub static STANDARD: NamedFormat<StreamRecord> = NamedFormat {
    name: "standard",
    help: "For people: a line each, in local time",
    make: || Box::new(standard::StandardLines::local()),
    is_array: false,
};

/// Lines for ppviz.
pub static PPVIZ: NamedFormat<StreamRecord> = NamedFormat {
    name: "ppviz",
    help: "For ppviz: RTTs only",
    make: || Box::new(ppviz::PpvizLines),
    is_array: false,
};

/// One JSON array.
pub static JSON: NamedFormat<StreamRecord> = NamedFormat {
    name: "json",
    help: "One array",
    make: || Box::new(json::StreamArray::new()),
    is_array: true,
};

/// One JSON object a line.
pub static JSONL: NamedFormat<StreamRecord> = NamedFormat {
    name: "jsonl",
    help: "One object a line",
    make: || Box::new(json::StreamLines),
    is_array: false,
};

/// Every format of a stream; the first is the default.
pub static FORMATS: [&NamedFormat<StreamRecord>; 4] = [&STANDARD, &PPVIZ, &JSON, &JSONL];

#[cfg(test)]
mod tests;

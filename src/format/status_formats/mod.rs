// SPDX-License-Identifier: GPL-2.0-only
//! The formats of `cpumap-pping status`.

use crate::domain::format::NamedFormat;
use crate::shaper::status::StatusSnapshot;

mod json;
mod text;

/// Tables for people.
pub static TEXT: NamedFormat<StatusSnapshot> = NamedFormat {
    name: "text",
    help: "For people: tables",
    make: || Box::new(text::StatusTables),
    is_array: false,
};

/// One JSON object.
pub static JSON: NamedFormat<StatusSnapshot> = NamedFormat {
    name: "json",
    help: "One JSON object",
    make: || Box::new(json::StatusObject),
    is_array: false,
};

/// Every format of the status; the first is the default.
pub static FORMATS: [&NamedFormat<StatusSnapshot>; 2] = [&TEXT, &JSON];

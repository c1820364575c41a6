// SPDX-License-Identifier: GPL-2.0-only
//! The formats of the state that `cpumap-pping status` shows.

use crate::domain::format::NamedFormat;
use crate::shaper::status::StatusSnapshot;

mod json;
mod text;

/// Tables for people.
pub static TEXT: NamedFormat<StatusSnapshot> = NamedFormat {
    name: "text",
    help: "For people: tables",
    make: || Box::new(text::Tables),
    is_array: false,
};

/// One object.
pub static JSON: NamedFormat<StatusSnapshot> = NamedFormat {
    name: "json",
    help: "One JSON object",
    make: || Box::new(json::Object),
    is_array: false,
};

/// Every format of the state; the first is the default.
pub static FORMATS: [&NamedFormat<StatusSnapshot>; 2] = [&TEXT, &JSON];

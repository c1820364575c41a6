// SPDX-License-Identifier: GPL-2.0-only
//! Scaling of mappings: the same traffic with more and more mappings loaded.

use crate::cost::comparison::{Comparison, Subject};
use crate::cost::names;
use crate::cost::options::{BenchOptions, ReportPart};
use crate::cost::systems::ours::{ours, Ours};
use crate::cost::systems::system::System;
use crate::cost::testbed::Testbed;
use crate::cost::turns::{about, rounds, start};
use crate::cost::workload::Load;
use crate::error::Result;
use crate::progress::StatusLine;

const SIZES: [(u32, &str); 4] = [
    (1_000, names::FEWEST),
    (10_000, "ours, 10 000 mappings"),
    (100_000, "ours, 100 000 mappings"),
    (1_000_000, names::MOST),
];

/// Returns the live mix of those subscribers that the smallest mapping includes.
fn load() -> Load {
    Load { subscribers: SIZES[0].0, ..Load::live_mix() }
}

/// Compares the sizes. Each size is a system with maps of its own.
pub fn measure(options: &BenchOptions, line: &StatusLine) -> Result<Comparison> {
    let load = load();
    let schedule = options.schedule(ReportPart::Mappings);
    let testbed = Testbed::build(false)?;
    let systems = SIZES.map(|(mappings, name)| {
        line.say(&format!("mappings: loading {mappings}"));
        ours(&testbed, &Ours { name, mappings, ..Ours::new(&load) })
    });
    let systems = systems.into_iter().collect::<Result<Vec<_>>>()?;
    systems.iter().try_for_each(System::prefer_cpumap_threads)?;
    let generator = start(&testbed, std::slice::from_ref(&load), options)?;
    let pairs = SIZES.map(|(_, name)| (name, names::FEWEST));
    let subject = Subject {
        name: ReportPart::Mappings.name(),
        about: about(&load),
        beside: names::FEWEST,
        pairs: &pairs[1..],
    };
    rounds(&testbed, &generator, &systems, &schedule, &subject, line)
}

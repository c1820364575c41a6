//! Scaling: the same traffic, while more and more mappings are loaded.

use crate::loads::{about, rounds, start};
use crate::options::{Options, Part};
use crate::progress::Line;
use crate::report::{Report, Subject};
use crate::stage::Stage;
use crate::systems::{ours, Ours, System};
use crate::targets::name;
use crate::workload::Load;
use crate::Result;

const SIZES: [(u32, &str); 4] = [
    (1_000, name::FEWEST),
    (10_000, "ours, 10 000 mappings"),
    (100_000, "ours, 100 000 mappings"),
    (1_000_000, name::MOST),
];

/// The live mix of the subscribers that even the smallest mapping knows.
fn load() -> Load {
    Load { subscribers: SIZES[0].0, ..Load::live_mix() }
}

/// Runs it and adds it to the report. Each size is a system with maps of its own.
pub fn run(options: &Options, line: &Line, report: &mut Report) -> Result<()> {
    let load = load();
    let schedule = options.schedule(Part::Mappings);
    let stage = Stage::build(false)?;
    let systems = SIZES.map(|(mappings, name)| {
        line.say(&format!("mappings: loading {mappings}"));
        ours(&stage, &Ours { name, mappings, ..Ours::new(&load) })
    });
    let systems = systems.into_iter().collect::<Result<Vec<_>>>()?;
    systems.iter().try_for_each(System::prefer_cpumap_threads)?;
    let generator = start(&stage, std::slice::from_ref(&load), options)?;
    let pairs = SIZES.map(|(_, name)| (name, name::FEWEST));
    let subject = Subject {
        name: Part::Mappings.name(),
        about: about(&load),
        beside: name::FEWEST,
        pairs: &pairs[1..],
    };
    report.comparisons.push(rounds(&stage, &generator, &systems, &schedule, &subject, line)?);
    Ok(())
}

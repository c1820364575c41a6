// SPDX-License-Identifier: GPL-2.0-only
//! The parts that compare all systems under one load.

use std::time::Duration;

use cpumap_pping::kernel::load::RttOptions;

use crate::cost::comparison::{Comparison, Subject};
use crate::cost::memory::{memory, MapMemory};
use crate::cost::names;
use crate::cost::options::{BenchOptions, ReportPart};
use crate::cost::rtt_accuracy::{a_handle_a_flow, accuracy, RttAccuracy};
use crate::cost::systems::ours::{ours, ours_from, ours_with, Ours};
use crate::cost::systems::reference::{reference, Reference};
use crate::cost::systems::system::{inside, System};
use crate::cost::testbed::Testbed;
use crate::cost::turns::{about, rounds, start};
use crate::cost::workload::{FrameShape, Load};
use crate::error::Result;
use crate::progress::StatusLine;

/// Returns the load of a part that compares systems. The other parts make their own loads.
fn load_of(part: ReportPart) -> Load {
    let shape = FrameShape::default();
    match part {
        ReportPart::HotFlow => Load::hot_flow(),
        ReportPart::Cold => Load::cold(),
        ReportPart::Ipv6 => Load::shaped(FrameShape { ipv6: true, ..shape }),
        ReportPart::TwoTags => {
            Load::shaped(FrameShape { tags: vec![(0x88a8, 100), (0x8100, 200)], ..shape })
        }
        ReportPart::TimestampsOff => Load::shaped(FrameShape { timestamps: false, ..shape }),
        ReportPart::Udp => Load::shaped(FrameShape { udp: true, ..shape }),
        ReportPart::LiveMix
        | ReportPart::Mappings
        | ReportPart::Flows
        | ReportPart::Bulk
        | ReportPart::Stream => Load::live_mix(),
    }
}

/// The results of one load.
pub struct MixResults {
    /// All systems under the load.
    pub comparison: Comparison,
    /// RTTs beside the truth; live mix only.
    pub accuracy: Option<RttAccuracy>,
    /// Memory of our maps; live mix only.
    pub memory: Option<MapMemory>,
}

/// Measures all systems under the load of `part`.
pub fn measure(part: ReportPart, options: &BenchOptions, line: &StatusLine) -> Result<MixResults> {
    let load = load_of(part);
    let schedule = options.schedule(part);
    line.say(&format!("{}: loading", part.name()));
    let testbed = Testbed::build(load.shape.is_bridged())?;
    let mut loads = vec![load.clone()];
    let mut systems = systems_for(&testbed, &load, part, options)?;
    if part == ReportPart::Cold {
        // Measure the live mix in the same rounds, so that the two loads can be compared.
        loads.push(Load::live_mix());
        let warm = Ours { name: names::OURS_LIVE_MIX, ..Ours::new(&loads[1]) };
        systems.push(ours(&testbed, &warm)?.under(1));
        let sized_for = Some(names::MANY_CPUS);
        systems
            .push(ours(&testbed, &Ours { name: names::OURS_MANY, sized_for, ..Ours::new(&load) })?);
    }
    let mut each_flow = None;
    if part == ReportPart::LiveMix {
        loads.push(a_handle_a_flow(&load));
        each_flow = Some(ours(&testbed, &Ours::new(&loads[1]))?.under(1));
    }
    systems.iter().chain(&each_flow).try_for_each(System::prefer_cpumap_threads)?;
    let generator = start(&testbed, &loads, options)?;
    let subject = Subject {
        name: part.name(),
        about: about(&load),
        beside: Reference::Textbook.name(),
        pairs: &PAIRS,
    };
    let comparison = rounds(&testbed, &generator, &systems, &schedule, &subject, line)?;
    let mut results = MixResults { comparison, accuracy: None, memory: None };
    if let Some(each_flow) = each_flow {
        line.say(&format!("{}: RTTs beside the truth", part.name()));
        let time = Duration::from_secs(4);
        results.accuracy = Some(accuracy(&testbed, &generator, &each_flow, time)?);
        let ours = systems.iter().find(|system| system.name == names::OURS);
        results.memory = ours.map(memory).transpose()?;
    }
    Ok(results)
}

/// The ratios that the report shows if both systems were measured.
const PAIRS: [(&str, &str); 5] = [
    (names::OURS, "textbook"),
    (names::OURS, "predecessor-shaped"),
    (names::OURS, names::RTT_OFF),
    (names::OURS, names::OURS_LIVE_MIX),
    (names::OURS_MANY, names::OURS),
];

fn systems_for(
    testbed: &Testbed,
    load: &Load,
    part: ReportPart,
    options: &BenchOptions,
) -> Result<Vec<System>> {
    let full = ours(testbed, &Ours::new(load))?;
    let no_rtt = RttOptions { enabled: false, ..RttOptions::default() };
    let off = ours(testbed, &Ours { name: names::RTT_OFF, rtt: no_rtt, ..Ours::new(load) })?;
    let mut extra = Vec::new();
    if part == ReportPart::LiveMix && options.pieces {
        extra.push(ours_with(&full, "ours, no metadata", |config| config.metadata = 0)?);
    }
    for (name, file) in options.object.iter().filter(|_| part == ReportPart::LiveMix) {
        extra.push(ours_from(&full, name, &std::fs::read(file)?)?);
    }
    let mut all = inside(&testbed.shaper, || {
        [Reference::Empty, Reference::Textbook, Reference::Predecessor]
            .into_iter()
            .map(|which| reference(which, load))
            .collect::<Result<Vec<_>>>()
    })?;
    // Systems that are neighbours in a round compare best: put ours next to the textbook pair.
    all.insert(2, full);
    all.push(off);
    all.extend(extra);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_in_words() {
        assert_eq!(
            about(&load_of(ReportPart::LiveMix)),
            "20 000 flows of 4000 subscribers, half of the packets on 1250 of them; 60 000 segments/s of 120 \
             bytes down, as many ACKs up, RTT 20 ms"
        );
        assert!(about(&load_of(ReportPart::HotFlow))
            .starts_with("one flow; 60 000 segments/s of 1400 "));
        assert!(about(&load_of(ReportPart::TwoTags)).ends_with("RTT 20 ms; two VLAN tags, bridged"));
        assert!(about(&load_of(ReportPart::Udp)).contains("as many packets up"));
    }
}

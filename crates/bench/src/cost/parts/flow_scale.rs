// SPDX-License-Identifier: GPL-2.0-only
//! Scaling of flows: which samples are kept when more and more flows share the default flow table, and
//! whether samples of long RTTs are lost more often than those of short ones.
//!
//! The reference is a table with room for all flows: the samples that it loses are not lost for want of
//! room.

use std::thread::sleep;
use std::time::Duration;

use cpumap_pping::kernel::load::RttOptions;
use cpumap_pping::kernel::machine::possible_cpus;
use serde::Serialize;

use crate::cost::generator::FrameGenerator;
use crate::cost::options::BenchOptions;
use crate::cost::program_stats::Runs;
use crate::cost::systems::ours::{ours, Ours};
use crate::cost::systems::system::{inside, AttachPoint, System};
use crate::cost::testbed::Testbed;
use crate::cost::turns::start;
use crate::cost::workload::{tc_handle, Load};
use crate::error::Result;
use crate::progress::StatusLine;

/// Half a million send within the idle limit of the table on two CPUs, and a million may not.
const SIZES: [u32; 4] = [10_000, 100_000, 500_000, 1_000_000];
/// Places for each flow in the reference: a bucket of eight places holds two flows on average.
const ROOM: u32 = 4;

/// The figures of one number of flows and one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FlowRow {
    /// Number of flows that send.
    pub flows: u32,
    /// Time between two segments of a flow, as measured.
    pub cycle_ms: u32,
    /// Places of the flow table.
    pub places: u32,
    /// Whether the row is the reference.
    pub has_room: bool,
    /// Places that hold a flow.
    pub taken: u64,
    /// TC runs as a share of the frames sent.
    pub forwarded: f64,
    /// Samples kept, for each RTT.
    pub kept: Vec<KeptSamples>,
}

/// Samples of the flows with one RTT.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KeptSamples {
    /// The RTT.
    pub rtt_ms: u64,
    /// Samples taken as a share of those possible.
    pub share: f64,
    /// That share divided by the reference's.
    pub of_reference: f64,
}

/// Measures every number of flows with both tables.
pub fn measure(options: &BenchOptions, line: &StatusLine) -> Result<Vec<FlowRow>> {
    line.say("flows: starting");
    let testbed = Testbed::build(false)?;
    let loads = SIZES.map(Load::many_flows);
    let generator = start(&testbed, &loads, options)?;
    let mut all = Vec::new();
    for (index, load) in loads.iter().enumerate() {
        let mut rows = Vec::new();
        for flows in [RttOptions::DEFAULT_FLOWS, reference_places(load.flows)] {
            line.say(&format!("flows: {} flows, a table of {flows} places", load.flows));
            let rtt = RttOptions { flows: Some(flows), ..RttOptions::default() };
            let system = ours(&testbed, &Ours { rtt, ..Ours::new(load) })?.under(index);
            system.prefer_cpumap_threads()?;
            // In a full table, the flows that came first have the places. Only a whole cycle includes the
            // flows that came later.
            let part = if flows == RttOptions::DEFAULT_FLOWS { 1 } else { 3 };
            let mut row = measure_cycle(&testbed, &generator, &system, load, part)?;
            row.places = flows;
            rows.push(row);
        }
        set_reference(&mut rows);
        all.extend(rows);
    }
    Ok(all)
}

fn reference_places(flows: u32) -> u32 {
    (flows * ROOM).next_power_of_two().max(RttOptions::DEFAULT_FLOWS)
}

/// Measures one `part`-th of a cycle, after a whole cycle.
fn measure_cycle(
    testbed: &Testbed,
    generator: &FrameGenerator,
    system: &System,
    load: &Load,
    part: u32,
) -> Result<FlowRow> {
    inside(&testbed.shaper, || system.attach())?;
    generator.select(system.load);
    let cycle = generator.wait_for_segments(load.flows.into())?;
    // Wait for the ACKs.
    sleep(Duration::from_millis(300));
    let look = || {
        let possible = || generator.counts.truth_of(system.load);
        let forwarded = [generator.counts.frames(), tc_runs(system)?];
        let (early, taken, late) = (possible(), by_subscriber(system, load)?, possible());
        // Reading the samples takes a while. The possible samples are those in the middle of that time.
        let middle = early.iter().zip(&late).map(|(early, late)| (early[1] + late[1]) / 2);
        Ok::<_, crate::error::Error>((middle.collect::<Vec<_>>(), taken, forwarded))
    };
    let before = look()?;
    generator.wait_for_segments((load.flows / part).into())?;
    sleep(Duration::from_millis(800));
    let after = look()?;
    let mut sums = vec![[0; 2]; load.rtt_ticks.len()];
    for subscriber in 0..load.subscribers {
        let at = subscriber as usize;
        let [possible, taken] = &mut sums[load.class_of(subscriber)];
        *possible += after.0[at] - before.0[at];
        *taken += after.1[at] - before.1[at];
    }
    let kept = load.rtt_ticks.iter().zip(sums).map(|(rtt, [possible, taken])| KeptSamples {
        rtt_ms: *rtt,
        share: taken as f64 / possible as f64,
        of_reference: f64::NAN,
    });
    Ok(FlowRow {
        flows: load.flows,
        cycle_ms: cycle.as_millis() as u32,
        taken: system.flows_in_table()?,
        forwarded: (after.2[1] - before.2[1]) as f64 / (after.2[0] - before.2[0]).max(1) as f64,
        kept: kept.collect(),
        ..FlowRow::default()
    })
}

fn tc_runs(system: &System) -> Result<u64> {
    let runs = system.runs()?;
    let none = vec![Runs::default(); runs.len()];
    Ok(system.between(&none, &runs, |at, _| at == AttachPoint::Tc).count)
}

/// Returns how many samples each subscriber has.
fn by_subscriber(system: &System, load: &Load) -> Result<Vec<u64>> {
    let (totals, cpus) = (system.rtt_totals()?, possible_cpus()?);
    let of = |index| totals.get(&tc_handle(index, cpus)).map_or(0, |[count, _]| *count);
    Ok((0..load.subscribers).map(of).collect())
}

/// Makes the last row the reference of all rows.
fn set_reference(rows: &mut [FlowRow]) {
    let Some(reference) = rows.last_mut() else { return };
    reference.has_room = true;
    let all: Vec<f64> = reference.kept.iter().map(|kept| kept.share).collect();
    for row in rows {
        for (kept, reference) in row.kept.iter_mut().zip(&all) {
            kept.of_reference = kept.share / reference;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_room_for_all() {
        assert_eq!(reference_places(10_000), RttOptions::DEFAULT_FLOWS);
        assert_eq!(reference_places(1_000_000), 1 << 22);
    }

    #[test]
    fn shares_are_divided_by_the_references() {
        let row = |shares: [f64; 2]| FlowRow {
            kept: shares.map(|share| KeptSamples { share, ..KeptSamples::default() }).into(),
            ..FlowRow::default()
        };
        let mut rows = [row([0.2, 0.1]), row([0.8, 0.4])];
        set_reference(&mut rows);
        assert_eq!(
            rows[0].kept.iter().map(|kept| kept.of_reference).collect::<Vec<_>>(),
            [0.25; 2]
        );
        assert!(rows[1].has_room && !rows[0].has_room);
        assert_eq!(rows[1].kept[0].of_reference, 1.0);
    }
}

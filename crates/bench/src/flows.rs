//! Scaling: more and more flows against the default flow table. Which samples are kept, and are those of
//! long RTTs lost first?
//!
//! Beside it stands a table with room for all of them: what that loses is not for want of room.

use std::thread::sleep;
use std::time::Duration;

use cpumap_pping::kernel::load::RttOptions;
use cpumap_pping::kernel::machine::possible_cpus;
use serde::Serialize;

use crate::generator::Generator;
use crate::loads::start;
use crate::options::Options;
use crate::progress::Line;
use crate::report::Report;
use crate::stage::Stage;
use crate::stats::{between, of_system, Runs};
use crate::systems::{inside, ours, Hook, Ours, System};
use crate::workload::{tc_handle, Load};
use crate::Result;

const SIZES: [u32; 3] = [10_000, 100_000, 1_000_000];
/// The reference: every bucket of eight has two flows on average.
const ROOM: u32 = 4;

/// So many flows, one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FlowRow {
    /// Flows that send, each every `cycle_ms`.
    pub flows: u32,
    /// How often each flow sends, as it was.
    pub cycle_ms: u32,
    /// Places of the flow table.
    pub places: u32,
    /// It is the reference.
    pub has_room: bool,
    /// Places taken.
    pub taken: u64,
    /// TC runs of the frames sent.
    pub forwarded: f64,
    /// By RTT: samples taken of those possible.
    pub kept: Vec<Kept>,
}

/// Samples of one RTT.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Kept {
    /// The RTT.
    pub rtt_ms: u64,
    /// Samples taken of those possible.
    pub share: f64,
    /// The same as a share of what the reference takes.
    pub of_reference: f64,
}

/// Runs it and adds it to the report.
pub fn run(options: &Options, line: &Line, report: &mut Report) -> Result<()> {
    line.say("flows: starting");
    let stage = Stage::build(false)?;
    let loads = SIZES.map(Load::many_flows);
    let generator = start(&stage, &loads, options)?;
    for (index, load) in loads.iter().enumerate() {
        let mut rows = Vec::new();
        for flows in [RttOptions::DEFAULT_FLOWS, reference_places(load.flows)] {
            line.say(&format!("flows: {} flows, a table of {flows} places", load.flows));
            let rtt = RttOptions { flows: Some(flows), ..RttOptions::default() };
            let system = ours(&stage, &Ours { rtt, ..Ours::new(load) })?.under(index);
            system.prefer_cpumap_threads()?;
            // Who came first has a place: a whole cycle shows those who came later as well.
            let part = if flows == RttOptions::DEFAULT_FLOWS { 1 } else { 3 };
            let mut row = measure(&stage, &generator, &system, load, part)?;
            row.places = flows;
            rows.push(row);
        }
        beside(&mut rows);
        report.flows.extend(rows);
    }
    Ok(())
}

fn reference_places(flows: u32) -> u32 {
    (flows * ROOM).next_power_of_two().max(RttOptions::DEFAULT_FLOWS)
}

/// Measures one `part`-th of a cycle, after a whole one.
fn measure(
    stage: &Stage,
    generator: &Generator,
    system: &System,
    load: &Load,
    part: u32,
) -> Result<FlowRow> {
    inside(&stage.shaper, || system.attach())?;
    generator.select(system.load);
    let cycle = generator.wait_for_segments(load.flows.into())?;
    // Their ACKs come back.
    sleep(Duration::from_millis(300));
    let look = || {
        let possible = || generator.progress.truth_of(system.load);
        let forwarded = [generator.progress.frames(), tc_runs(system)?];
        let (early, taken, late) = (possible(), by_subscriber(system, load)?, possible());
        // Reading takes a while: what was possible in the middle of it.
        let middle = early.iter().zip(&late).map(|(early, late)| (early[1] + late[1]) / 2);
        Ok::<_, crate::Error>((middle.collect::<Vec<_>>(), taken, forwarded))
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
    let kept = load.rtt_ticks.iter().zip(sums).map(|(rtt, [possible, taken])| Kept {
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
    let runs = of_system(system)?;
    Ok(between(system, &vec![Runs::default(); runs.len()], &runs, |hook, _| hook == Hook::Tc).count)
}

/// Samples of each subscriber.
fn by_subscriber(system: &System, load: &Load) -> Result<Vec<u64>> {
    let (totals, cpus) = (system.rtt_totals()?, possible_cpus()?);
    let of = |index| totals.get(&tc_handle(index, cpus)).map_or(0, |[count, _]| *count);
    Ok((0..load.subscribers).map(of).collect())
}

/// The last row is the reference of all.
fn beside(rows: &mut [FlowRow]) {
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
    fn shares_stand_beside_the_reference() {
        let row = |shares: [f64; 2]| FlowRow {
            kept: shares.map(|share| Kept { share, ..Kept::default() }).into(),
            ..FlowRow::default()
        };
        let mut rows = [row([0.2, 0.1]), row([0.8, 0.4])];
        beside(&mut rows);
        assert_eq!(
            rows[0].kept.iter().map(|kept| kept.of_reference).collect::<Vec<_>>(),
            [0.25; 2]
        );
        assert!(rows[1].has_room && !rows[0].has_room);
        assert_eq!(rows[1].kept[0].of_reference, 1.0);
    }
}

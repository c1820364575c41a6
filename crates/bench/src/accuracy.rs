//! Are the RTTs right, and is every flow measured? Ours, beside what the generator really did.
//!
//! Measured with a tc handle for each flow, so that a handle's record tells what was seen of one flow.

use std::thread::sleep;
use std::time::Duration;

use cpumap_pping::kernel::machine::possible_cpus;
use serde::Serialize;

use crate::generator::Generator;
use crate::quantile::quantile;
use crate::stage::Stage;
use crate::systems::{inside, System};
use crate::workload::{tc_handle, Load};
use crate::Result;

/// What ours said of the flows of a few seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Flows for which at least one sample was possible.
    pub flows: usize,
    /// Those of them with at least one sample.
    pub reported: usize,
    /// Mean RTT of a flow, measured beside true: the difference, its median over the flows.
    pub median_error_us: f64,
    /// Its 95th percentile.
    pub p95_error_us: f64,
    /// The mean of all true RTTs.
    pub true_rtt_ms: f64,
}

/// The load that [`accuracy`] needs: each flow has a subscriber of its own.
pub fn a_handle_a_flow(load: &Load) -> Load {
    Load { subscribers: load.flows, ..load.clone() }
}

/// Measures for `length` with `ours`, which is loaded for the generator's [`a_handle_a_flow`].
pub fn accuracy(
    stage: &Stage,
    generator: &Generator,
    ours: &System,
    length: Duration,
) -> Result<Accuracy> {
    inside(&stage.shaper, || ours.attach())?;
    generator.select(ours.load);
    sleep(Duration::from_secs(2));
    // Ours is watched a little longer than the truth: what was possible is in it.
    let totals_before = ours.rtt_totals()?;
    let truth_before = generator.progress.truth_of(ours.load);
    sleep(length);
    let truth_after = generator.progress.truth_of(ours.load);
    sleep(Duration::from_millis(20));
    let totals_after = ours.rtt_totals()?;

    let cpus = possible_cpus()?;
    let (mut errors, mut flows, mut all) = (Vec::new(), 0, [0; 2]);
    for (index, (late, early)) in truth_after.iter().zip(&truth_before).enumerate() {
        let truth = less(late, early);
        if truth[1] == 0 {
            continue;
        }
        flows += 1;
        all = [all[0] + truth[0], all[1] + truth[1]];
        let handle = tc_handle(index as u32, cpus);
        let total = |totals: &std::collections::BTreeMap<u32, [u64; 2]>| {
            let [count, sum] = totals.get(&handle).copied().unwrap_or_default();
            [sum, count]
        };
        let measured = less(&total(&totals_after), &total(&totals_before));
        if measured[1] > 0 {
            errors.push((mean(measured) - mean(truth)).abs() / 1e3);
        }
    }
    Ok(Accuracy {
        flows,
        reported: errors.len(),
        median_error_us: quantile(errors.clone(), 0.5),
        p95_error_us: quantile(errors, 0.95),
        true_rtt_ms: mean(all) / 1e6,
    })
}

/// Sum and number.
fn less(late: &[u64; 2], early: &[u64; 2]) -> [u64; 2] {
    [late[0] - early[0], late[1] - early[1]]
}

fn mean([sum, count]: [u64; 2]) -> f64 {
    sum as f64 / count as f64
}

// SPDX-License-Identifier: GPL-2.0-only
//! Whether the RTTs are right and every flow is measured: our figures beside those of the generator.
//!
//! Each flow has a tc handle of its own, so that the record of a handle is the record of one flow.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use cpumap_pping::kernel::machine::possible_cpus;
use serde::Serialize;

use crate::cost::generator::FrameGenerator;
use crate::cost::systems::system::{inside, System};
use crate::cost::testbed::Testbed;
use crate::cost::workload::{tc_handle, Load};
use crate::error::Result;
use crate::quantile::quantile;

/// Our figures of the flows of a few seconds, beside the truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RttAccuracy {
    /// Flows for which at least one sample was possible.
    pub flows: usize,
    /// Flows of those with at least one sample.
    pub reported: usize,
    /// The difference between a flow's mean RTT as measured and as it was: the median over the flows.
    pub median_error_us: f64,
    /// The 95th percentile of that difference.
    pub p95_error_us: f64,
    /// Mean of all true RTTs.
    pub true_rtt_ms: f64,
}

/// Returns the load that [`accuracy`] needs: each flow has a subscriber of its own.
pub fn a_handle_a_flow(load: &Load) -> Load {
    Load { subscribers: load.flows, ..load.clone() }
}

/// Measures for `length` with `ours`, which is loaded for [`a_handle_a_flow`] of the generator's load.
pub fn accuracy(
    testbed: &Testbed,
    generator: &FrameGenerator,
    ours: &System,
    length: Duration,
) -> Result<RttAccuracy> {
    inside(&testbed.shaper, || ours.attach())?;
    generator.select(ours.load);
    sleep(Duration::from_secs(2));
    // The interval of our totals is a little longer than that of the truth, so that it includes every
    // sample that the truth counts.
    let totals_before = ours.rtt_totals()?;
    let truth_before = generator.counts.truth_of(ours.load);
    sleep(length);
    let truth_after = generator.counts.truth_of(ours.load);
    sleep(Duration::from_millis(20));
    let totals_after = ours.rtt_totals()?;

    let cpus = possible_cpus()?;
    let (mut errors, mut flows, mut all) = (Vec::new(), 0, [0; 2]);
    for (index, (late, early)) in truth_after.iter().zip(&truth_before).enumerate() {
        let truth = difference(late, early);
        if truth[1] == 0 {
            continue;
        }
        flows += 1;
        all = [all[0] + truth[0], all[1] + truth[1]];
        let handle = tc_handle(index as u32, cpus);
        let total = |totals: &BTreeMap<u32, [u64; 2]>| {
            let [count, sum] = totals.get(&handle).copied().unwrap_or_default();
            [sum, count]
        };
        let measured = difference(&total(&totals_after), &total(&totals_before));
        if measured[1] > 0 {
            errors.push((mean(measured) - mean(truth)).abs() / 1e3);
        }
    }
    Ok(RttAccuracy {
        flows,
        reported: errors.len(),
        median_error_us: quantile(errors.clone(), 0.5),
        p95_error_us: quantile(errors, 0.95),
        true_rtt_ms: mean(all) / 1e6,
    })
}

/// Subtracts sums and numbers of RTTs.
fn difference(late: &[u64; 2], early: &[u64; 2]) -> [u64; 2] {
    [late[0] - early[0], late[1] - early[1]]
}

fn mean([sum, count]: [u64; 2]) -> f64 {
    sum as f64 / count as f64
}

//! Are the RTTs right? Ours, beside what the generator really did.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use cpumap_pping::machine::possible_cpus;

use crate::compare::quantile;
use crate::generator::Generator;
use crate::stage::Stage;
use crate::systems::{inside, rtt_totals, System};
use crate::workload::tc_handle;
use crate::Result;

/// Measured minus true, in microseconds, over the tc handles: each handle's mean RTT.
pub struct Accuracy {
    pub handles: usize,
    pub expected: usize,
    pub median_us: f64,
    pub p95_us: f64,
}

pub fn accuracy(
    stage: &Stage,
    generator: &Generator,
    ours: &System,
    length: Duration,
) -> Result<Accuracy> {
    inside(&stage.shaper, || ours.attach())?;
    sleep(Duration::from_millis(500));
    let before = (inside(&stage.shaper, rtt_totals)?, truth(generator));
    sleep(length);
    let after = (inside(&stage.shaper, rtt_totals)?, truth(generator));
    let cpus = possible_cpus()?;
    let mut errors = Vec::new();
    let mut expected = 0;
    for (index, (late, early)) in after.1.iter().zip(&before.1).enumerate() {
        if late[1] == early[1] {
            continue;
        }
        expected += 1;
        let handle = tc_handle(index as u32, cpus);
        let zero = [0; 2];
        let [count, sum] = after.0.get(&handle).unwrap_or(&zero);
        let [count_before, sum_before] = before.0.get(&handle).unwrap_or(&zero);
        if count > count_before {
            let measured = (sum - sum_before) as f64 / (count - count_before) as f64;
            let real = (late[0] - early[0]) as f64 / (late[1] - early[1]) as f64;
            errors.push((measured - real).abs() / 1e3);
        }
    }
    Ok(Accuracy {
        handles: errors.len(),
        expected,
        median_us: quantile(errors.clone(), 0.5),
        p95_us: quantile(errors, 0.95),
    })
}

/// By subscriber: the sum of the true RTTs, and their number.
fn truth(generator: &Generator) -> Vec<[u64; 2]> {
    let all = generator.progress.by_subscriber.iter();
    all.map(|[sum, count]| [sum.load(Relaxed), count.load(Relaxed)]).collect()
}

// SPDX-License-Identifier: GPL-2.0-only

//! Measurements of time on a machine that other programs use too.

use std::thread::sleep;
use std::time::Duration;

/// How often a measurement may be repeated. With the pauses in between, a disturbance may last 15 s.
const ATTEMPTS: u32 = 6;

/// Measures until an attempt succeeds, at most `ATTEMPTS` times, and panics with all failures after the last.
///
/// A machine with two CPUs stalls now and then, and then hosts and delay lines are late in truth. So a measurement may be
/// repeated, but its bound is the same each time, and a wrong figure fails in the end. The failures name the time that
/// the hypervisor took from this machine (steal time), for the reader of the log; they excuse nothing.
pub fn patiently(mut attempt: impl FnMut() -> Result<(), String>) {
    let mut failures = Vec::new();
    for pause in 0..ATTEMPTS {
        sleep(Duration::from_secs(pause.into()));
        let before = cpu_time();
        let Err(failure) = attempt() else { return };
        let stolen = stolen_share(before, cpu_time()) * 100.0;
        failures.push(format!("{failure} (steal time: {stolen:.1} %)"));
    }
    panic!("{ATTEMPTS} times: {failures:#?}");
}

/// Returns all jiffies, and those that the hypervisor gave to other machines (proc(5), /proc/stat).
fn cpu_time() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields = stat.lines().next().unwrap().split_whitespace().skip(1);
    let jiffies: Vec<u64> = fields.map(|field| field.parse().unwrap()).collect();
    (jiffies.iter().take(8).sum(), jiffies[7])
}

fn stolen_share(before: (u64, u64), after: (u64, u64)) -> f64 {
    (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64
}

/// Returns whether a value in milliseconds is within 1 ms + 5 % of the expected one.
pub fn agree(measured: f64, expected: f64) -> bool {
    (measured - expected).abs() <= 1.0 + expected / 20.0
}

/// Returns a duration in milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

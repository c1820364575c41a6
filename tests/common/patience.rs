// SPDX-License-Identifier: GPL-2.0-only

//! Measuring on a machine that others use too.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

/// Measures up to four times: a machine with two CPUs stalls now and then, and what keeps it busy takes a
/// while to end. The bound is the same each time.
///
/// A virtual machine may be starved by its host all the while; then RTTs are longer in truth, the
/// median's as well. Only when the kernel says so (steal time in every attempt) the smallest RTTs, which
/// need one undisturbed sample a side, are held against the same bound instead.
pub fn patiently(
    mut attempt: impl FnMut() -> Result<(), String>,
    minima: impl Fn() -> Result<(), String>,
) {
    let mut failures = Vec::new();
    let mut starved = true;
    for pause in 0..4 {
        std::thread::sleep(Duration::from_secs(pause));
        let before = cpu_time();
        match attempt() {
            Ok(()) => return,
            Err(failure) => failures.push(failure),
        }
        let stolen = stolen_share(before, cpu_time());
        failures.push(format!("(stolen from this machine meanwhile: {:.1} %)", stolen * 100.0));
        starved &= stolen > 0.01;
    }
    assert!(starved, "four times: {failures:#?}");
    if let Err(failure) = minima() {
        panic!("the smallest too: {failure}; four times: {failures:#?}");
    }
    println!("a starved machine, the smallest RTTs are right: {failures:#?}");
}

/// Jiffies in all, and those that the host gave to others (proc(5), /proc/stat).
fn cpu_time() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields = stat.lines().next().unwrap().split_whitespace().skip(1);
    let jiffies: Vec<u64> = fields.map(|field| field.parse().unwrap()).collect();
    (jiffies.iter().take(8).sum(), jiffies[7])
}

fn stolen_share(before: (u64, u64), after: (u64, u64)) -> f64 {
    (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64
}

/// Whether two values in milliseconds are within 1 ms + 5 % of the second.
pub fn agree(measured: f64, expected: f64) -> bool {
    (measured - expected).abs() <= 1.0 + expected / 20.0
}

/// A duration in milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

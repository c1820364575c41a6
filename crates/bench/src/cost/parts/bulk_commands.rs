// SPDX-License-Identifier: GPL-2.0-only
//! Commands with many entries: how long `--replace`, `--list` and `xdp_pping` take when they run as an
//! operator runs them.

use std::fmt::Write as _;

use std::ops::Range;
use std::time::{Duration, Instant};

use cpumap_pping::abi::maps;
use cpumap_pping::abi::{RttHandle, RTT_EPOCHS, RTT_EPOCH_FACTOR, RTT_TICK_BITS};
use cpumap_pping::kernel::machine::ktime_ns;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::kernel::pin::PinDir;
use lab::{Programs, Sandbox};
use nix::libc;
use serde::Serialize;

use crate::cost::names;
use crate::cost::options::BenchOptions;
use crate::cost::systems::system::inside;
use crate::error::Result;
use crate::progress::StatusLine;
use crate::quantile::median;
use crate::scratch_file::ScratchFile;

const STEER: &str = "xdp_iphash_to_cpu";
const CMDLINE: &str = "xdp_iphash_to_cpu_cmdline";
const PPING: &str = "xdp_pping";

/// The times of a command that ran several times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BulkRow {
    /// The command in words.
    pub what: String,
    /// Duration of the fastest run.
    pub best_ms: f64,
    /// Median of the durations.
    pub median_ms: f64,
    /// The least CPU time, user and system, of a run.
    pub cpu_ms: f64,
    /// Number of runs.
    pub runs: usize,
}

/// A number of mappings, and the names of the commands on them.
struct MappingSize {
    count: u32,
    runs: usize,
    added: &'static str,
    unchanged: &'static str,
    changed: &'static str,
    list: &'static str,
}

const SMALL: MappingSize = MappingSize {
    count: 65_000,
    runs: 5,
    added: names::ADD_65K,
    unchanged: "--replace: 65 000 mappings, none changed",
    changed: "--replace: 65 000 mappings, all changed",
    list: names::LIST,
};

const LARGE: MappingSize = MappingSize {
    count: 1_000_000,
    runs: 3,
    added: names::ADD_1M,
    unchanged: "--replace: 1 000 000 mappings, none changed",
    changed: "--replace: 1 000 000 mappings, all changed",
    list: "--list of 1 000 000 mappings",
};

/// Runs the commands and returns their times.
pub fn measure(options: &BenchOptions, line: &StatusLine) -> Result<Vec<BulkRow>> {
    let operator = Operator::new()?;
    let runs = |runs| if options.quick { 1 } else { runs };
    let mut rows = Vec::new();
    for size in [SMALL, LARGE] {
        line.say(&format!("bulk: {} mappings", size.count));
        rows.extend(operator.measure_size(&size, runs(size.runs))?);
    }
    line.say("bulk: xdp_pping");
    let fill = || inside(&operator.sandbox, || fill_rtt(0..65_000));
    rows.push(time(names::SNAPSHOT, runs(9), fill, || operator.run(PPING, &[]))?);
    Ok(rows)
}

/// The programs, and a sandbox in which they have loaded everything.
struct Operator {
    sandbox: Sandbox,
    programs: Programs,
}

impl Operator {
    fn new() -> Result<Self> {
        let programs = Programs::beside_this_one(&[STEER, CMDLINE, PPING])?;
        let operator = Self { sandbox: Sandbox::new()?, programs };
        operator.run(STEER, &["--dev", "lo", "--lan", "--skb-mode", "--quiet"])?;
        Ok(operator)
    }

    /// Runs a program. Its output goes into a pipe, as it does for the programs' callers.
    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        Ok(self.programs.run(&self.sandbox, program, args)?)
    }

    /// Makes, keeps, changes, lists and clears a number of mappings.
    fn measure_size(&self, size: &MappingSize, runs: usize) -> Result<[BulkRow; 4]> {
        // Commands without a target run once if they take long.
        let others = if size.count > SMALL.count { 1 } else { runs };
        let file = |class| ScratchFile::new(subscribers(size.count, class).as_bytes());
        let (one, other) = (file(0)?, file(1)?);
        let clear = || self.run(CMDLINE, &["--clear"]);
        let replace =
            |file: &ScratchFile| self.run(CMDLINE, &["--replace", &file.path().to_string_lossy()]);
        let list = || self.run(CMDLINE, &["--list"]);
        let rows = [
            time(size.added, runs, clear, || replace(&one))?,
            time(size.unchanged, others, || Ok(()), || replace(&one))?,
            time(size.changed, others, || replace(&one), || replace(&other))?,
            time(size.list, others, || Ok(()), list)?,
        ];
        clear()?;
        Ok(rows)
    }
}

/// Returns `count` lines of `--replace` for /32 prefixes. Another `class` gives every line another class.
fn subscribers(count: u32, class: u32) -> String {
    let mut file = String::new();
    for n in 0..count {
        let [_, a, b, c] = n.to_be_bytes();
        let minor = 1 + (n + class) % 0xfff0;
        // Writing to a String cannot fail.
        let _ = writeln!(file, "--add --ip 100.{a}.{b}.{c} --cpu 0x0 --classid 0x1:0x{minor:x}");
    }
    file
}

/// Returns a record with 156 samples for each side in each epoch of the window, in 24 buckets.
fn record(handle: u32, now_ns: u64) -> RttHandle {
    let mut record = RttHandle::default();
    let number = (((now_ns >> RTT_TICK_BITS) * RTT_EPOCH_FACTOR) >> 32) as u32;
    for side in &mut record.epoch {
        for age in 0..RTT_EPOCHS as u32 {
            let epoch = &mut side[(number.wrapping_sub(age) % RTT_EPOCHS as u32) as usize];
            epoch.epoch = number.wrapping_sub(age);
            epoch.last_tick = (now_ns >> RTT_TICK_BITS) as u32;
            (epoch.min, epoch.max) = (500_000 + handle % 1000, 9_000_000);
            (epoch.count, epoch.sum_ns) = (156, 156 * 20_000_000);
            epoch.hist[10..22].fill(0x0008_0005);
        }
    }
    record
}

/// Gives each of these handles a record with samples.
fn fill_rtt(handles: Range<u32>) -> Result<()> {
    let map: Map<u32, RttHandle> = PinDir::default().open(maps::RTT)?;
    let now = ktime_ns()?;
    for chunk in handles.collect::<Vec<_>>().chunks(1024) {
        let keys: Vec<_> = chunk.iter().map(|n| 0x1_0000 + n).collect();
        let records: Vec<_> = keys.iter().map(|key| record(*key, now)).collect();
        map.set_all(&keys, &records)?;
    }
    Ok(())
}

/// Returns the CPU time of all commands that have ended.
fn cpu_time() -> Duration {
    // SAFETY: all bytes are valid in an rusage, which outlives the call. The call cannot fail.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Calls `prepare` and `run` several times and measures `run`.
fn time(
    what: &str,
    runs: usize,
    prepare: impl Fn() -> Result<()>,
    run: impl Fn() -> Result<()>,
) -> Result<BulkRow> {
    let (mut times, mut cpu_ms) = (Vec::new(), f64::INFINITY);
    for _ in 0..runs {
        prepare()?;
        let (start, cpu) = (Instant::now(), cpu_time());
        run()?;
        times.push(ms(start.elapsed()));
        cpu_ms = cpu_ms.min(ms(cpu_time() - cpu));
    }
    let best_ms = times.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(BulkRow { what: what.to_owned(), best_ms, median_ms: median(times), cpu_ms, runs })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_mappings() {
        let file = subscribers(3, 1);
        assert_eq!(file.lines().last(), Some("--add --ip 100.0.0.2 --cpu 0x0 --classid 0x1:0x4"));
        assert_ne!(file, subscribers(3, 0));
    }

    #[test]
    fn the_fastest_and_the_middle_run() {
        let row = time(
            "sleep",
            3,
            || Ok(()),
            || {
                std::thread::sleep(Duration::from_millis(2));
                Ok(())
            },
        )
        .unwrap();
        assert!(row.best_ms >= 2.0 && row.best_ms <= row.median_ms);
        assert_eq!(row.runs, 3);
        assert!(time("fail", 1, || Err("no".into()), || Ok(())).is_err());
    }

    #[test]
    fn a_record_holds_a_window() {
        let record = record(7, 1_000_000_000_000);
        let report = cpumap_pping::rtt::window::report(7, &record, 1_000_000_000_000).unwrap();
        assert_eq!(report.subscriber.unwrap().count, 4 * 156);
    }
}

//! Many entries at once: what `--replace`, `--list` and `xdp_pping` take, run as an operator runs them.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cpumap_pping::abi::maps;
use cpumap_pping::abi::{RttHandle, RTT_EPOCHS, RTT_EPOCH_FACTOR, RTT_TICK_BITS};
use cpumap_pping::kernel::machine::ktime_ns;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::kernel::pin::PinDir;
use lab::Sandbox;
use nix::libc;
use serde::Serialize;

use crate::options::Options;
use crate::progress::Line;
use crate::quantile::median;
use crate::report::Report;
use crate::systems::inside;
use crate::targets::name;
use crate::Result;

const STEER: &str = "xdp_iphash_to_cpu";
const CMDLINE: &str = "xdp_iphash_to_cpu_cmdline";
const PPING: &str = "xdp_pping";

/// A command, run several times.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BulkRow {
    /// What it does.
    pub what: String,
    /// The fastest run.
    pub best_ms: f64,
    /// The run in the middle.
    pub median_ms: f64,
    /// The least CPU time, user and system, of a run.
    pub cpu_ms: f64,
    /// How many runs.
    pub runs: usize,
}

/// A mapping that is made, left, changed and listed.
struct Size {
    count: u32,
    runs: usize,
    added: &'static str,
    unchanged: &'static str,
    changed: &'static str,
    list: &'static str,
}

const SMALL: Size = Size {
    count: 65_000,
    runs: 5,
    added: name::ADD_65K,
    unchanged: "--replace: 65 000 mappings, none changed",
    changed: "--replace: 65 000 mappings, all changed",
    list: name::LIST,
};

const LARGE: Size = Size {
    count: 1_000_000,
    runs: 3,
    added: name::ADD_1M,
    unchanged: "--replace: 1 000 000 mappings, none changed",
    changed: "--replace: 1 000 000 mappings, all changed",
    list: "--list of 1 000 000 mappings",
};

/// Runs it and adds it to the report.
pub fn run(options: &Options, line: &Line, report: &mut Report) -> Result<()> {
    let bulk = Bulk::new()?;
    let runs = |runs| if options.quick { 1 } else { runs };
    for size in [SMALL, LARGE] {
        line.say(&format!("bulk: {} mappings", size.count));
        report.bulk.extend(bulk.size(&size, runs(size.runs))?);
    }
    line.say("bulk: xdp_pping");
    let fill = || inside(&bulk.sandbox, || fill_rtt(0..65_000));
    report.bulk.push(time(name::SNAPSHOT, runs(9), fill, || bulk.command(PPING, &[]))?);
    Ok(())
}

/// A sandbox in which everything is loaded, and the programs.
struct Bulk {
    sandbox: Sandbox,
    programs: PathBuf,
}

impl Bulk {
    fn new() -> Result<Self> {
        let own = std::env::current_exe()?;
        let programs = own.parent().ok_or("a program without a folder")?.to_owned();
        for program in [STEER, CMDLINE, PPING] {
            let path = programs.join(program);
            if !path.exists() {
                return Err(format!("{} is missing: make build", path.display()).into());
            }
        }
        let bulk = Self { sandbox: Sandbox::new()?, programs };
        bulk.command(STEER, &["--dev", "lo", "--lan", "--skb-mode", "--quiet"])?;
        Ok(bulk)
    }

    /// Runs a program; what it says goes down a pipe, as it does for its callers.
    fn command(&self, program: &str, args: &[&str]) -> Result<()> {
        let path = self.programs.join(program);
        let mut command = self.sandbox.command(&path.to_string_lossy());
        let output = command.args(args).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program} {}: {}", args.join(" "), said.trim()).into())
    }

    /// A mapping of one size, from nothing to nothing.
    fn size(&self, size: &Size, runs: usize) -> Result<[BulkRow; 4]> {
        // What has no target and takes long, once.
        let others = if size.count > SMALL.count { 1 } else { runs };
        let (one, other) = (self.file(size.count, 0)?, self.file(size.count, 1)?);
        let clear = || self.command(CMDLINE, &["--clear"]);
        let replace =
            |file: &TempFile| self.command(CMDLINE, &["--replace", &file.0.to_string_lossy()]);
        let list = || self.command(CMDLINE, &["--list"]);
        let rows = [
            time(size.added, runs, clear, || replace(&one))?,
            time(size.unchanged, others, || Ok(()), || replace(&one))?,
            time(size.changed, others, || replace(&one), || replace(&other))?,
            time(size.list, others, || Ok(()), list)?,
        ];
        clear()?;
        Ok(rows)
    }

    /// A file of so many mappings.
    fn file(&self, count: u32, class: u32) -> Result<TempFile> {
        let name = format!("cpumap-pping-bench-{}-{count}-{class}", std::process::id());
        let file = TempFile(std::env::temp_dir().join(name));
        std::fs::write(&file.0, subscribers(count, class))?;
        Ok(file)
    }
}

/// Gone when dropped.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        // Of no importance: it is in the folder for such files.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Lines of `--replace` for /32s; another `class`, other classes.
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

/// A record with 156 samples a side in each of the window's epochs, in 24 buckets.
fn record(handle: u32, now_ns: u64) -> RttHandle {
    let mut record = RttHandle::default();
    let number = (((now_ns >> RTT_TICK_BITS) * RTT_EPOCH_FACTOR) >> 32) as u32;
    for side in &mut record.epoch {
        for age in 0..RTT_EPOCHS as u32 {
            let epoch = &mut side[(number.wrapping_sub(age) % RTT_EPOCHS as u32) as usize];
            epoch.epoch = number.wrapping_sub(age);
            epoch.last_tick = (now_ns >> RTT_TICK_BITS) as u32;
            (epoch.min, epoch.max) = (500_000 + handle % 1000, 9_000_000);
            epoch.sum_ns = 156 * 20_000_000;
            epoch.hist[5..11].fill(0x0008_0004_000c_0002);
        }
    }
    record
}

/// Makes so many handles active.
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

/// CPU time of the commands that have ended.
fn cpu_time() -> Duration {
    // SAFETY: any bytes are an rusage, and it outlives the call, which cannot fail.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Prepares and runs, several times.
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

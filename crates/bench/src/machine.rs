// SPDX-License-Identifier: GPL-2.0-only
//! The machine and the time of a measurement.

use std::fs::read_to_string;
use std::process::Command;

use serde::Serialize;

use crate::error::Result;

/// The conditions that a report's figures depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Start of the run.
    pub date: String,
    /// State of the source.
    pub commit: String,
    /// Kernel release.
    pub kernel: String,
    /// Compiler of the BPF programs.
    pub clang: String,
    /// Model of the CPU.
    pub cpu: String,
    /// CPUs online.
    pub cpus: usize,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processes ready to run at the start, as a mean of the last minute: the work of other programs.
    pub load_before: f64,
    /// The same at the end; this includes the measurement's own work.
    pub load_after: f64,
    /// CPU time that the hypervisor gave to other machines during the run, in percent.
    pub steal_percent: f64,
    /// Duration of the run in seconds.
    pub seconds: f64,
}

impl Machine {
    /// Describes this machine, now.
    pub fn look() -> Self {
        let file = |path| read_to_string(path).unwrap_or_default();
        let cpuinfo = file("/proc/cpuinfo");
        let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
        Self {
            date: first_line(&["date", "-u", "+%F %T UTC"]).unwrap_or_else(unknown),
            commit: commit(),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            clang: first_line(&[&clang, "--version"]).unwrap_or_else(unknown),
            cpu: after_colon(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            virtual_machine: is_virtual(&cpuinfo),
            memory_mib: memory_mib(&file("/proc/meminfo")),
            load_before: load_average(),
            ..Self::default()
        }
    }

    /// Writes number and model of the CPUs: `2 × Intel(R) Xeon(R) …, a virtual machine`.
    pub fn cpu_text(&self) -> String {
        let kind = if self.virtual_machine { ", a virtual machine" } else { "" };
        format!("{} × {}{kind}", self.cpus, self.cpu)
    }
}

/// Returns how many processes are ready to run, as a mean of the last minute.
pub fn load_average() -> f64 {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Runs a command and returns the first line of its stdout, if it prints one.
fn first_line(command: &[&str]) -> Option<String> {
    let output = Command::new(command.first()?).args(&command[1..]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

fn unknown() -> String {
    "unknown".into()
}

/// Returns the commit of the source, and says whether the source differs from it. The reports do not
/// count as a difference.
fn commit() -> String {
    let git = ["git", "-C", env!("CARGO_MANIFEST_DIR")];
    let changes = ["status", "--porcelain", "-uno", "--", ":/", ":!/docs/reports"];
    let state = first_line(&[&git[..], &changes].concat()).map_or("", |_| " with changes");
    let head = first_line(&[&git[..], &["rev-parse", "--short=12", "HEAD"]].concat());
    head.unwrap_or_else(unknown) + state
}

fn is_virtual(cpuinfo: &str) -> bool {
    let flags = after_colon(cpuinfo, "flags");
    flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

fn after_colon<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn memory_mib(meminfo: &str) -> u64 {
    let total = after_colon(meminfo, "MemTotal").and_then(|text| text.split(' ').next());
    total.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// CPU time since boot in jiffies, and the part of it that the hypervisor gave to other machines
/// (proc(5), /proc/stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    total: u64,
    stolen: u64,
}

impl CpuTime {
    /// Reads the CPU time until now.
    pub fn now() -> Result<Self> {
        let stat = read_to_string("/proc/stat")?;
        Self::parse(&stat).ok_or_else(|| "no CPU times in /proc/stat".into())
    }

    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        // Fields after the eighth are the time of guests, which user and nice include.
        let times = fields.take(8).map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Self { total: times.iter().sum(), stolen: *times.get(7)? })
    }

    /// Returns the share stolen since `earlier`.
    pub fn stolen_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_field() {
        let early = CpuTime::parse("cpu  100 0 50 800 10 0 20 20 0 0\ncpu0 1 2 3\n").unwrap();
        let late = CpuTime::parse("cpu  150 0 100 1600 10 0 20 120 7 7\n").unwrap();
        assert!((late.stolen_since(early) - 0.1).abs() < 1e-9);
        let before = CpuTime::parse("cpu  10 0 10 70 0 0 0 10 5 5\ncpu0 …\n").unwrap();
        let after = CpuTime::parse("cpu  20 0 20 140 0 0 0 20 9 9\n").unwrap();
        assert_eq!(before, CpuTime { total: 100, stolen: 10 });
        assert!((after.stolen_since(before) - 0.1).abs() < 1e-9);
        for text in ["", "intr 5", "cpu  1 2 3"] {
            assert_eq!(CpuTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn fields_of_proc() {
        assert_eq!(after_colon("a\t: b\nmodel name\t: X 2.5GHz\n", "model name"), Some("X 2.5GHz"));
        assert_eq!(memory_mib("MemTotal:       2048000 kB\n"), 2000);
        assert_eq!(memory_mib(""), 0);
    }

    #[test]
    fn processors_are_described() {
        let cpuinfo = "model name\t: Fast CPU\nflags\t: fpu hypervisor lahf\n".repeat(2);
        assert!(is_virtual(&cpuinfo) && !is_virtual(""));
        let cpu = after_colon(&cpuinfo, "model name").unwrap().to_owned();
        let machine = Machine { cpus: 2, cpu, virtual_machine: true, ..Machine::default() };
        assert_eq!(machine.cpu_text(), "2 × Fast CPU, a virtual machine");
        let bare = Machine { virtual_machine: false, ..machine };
        assert_eq!(bare.cpu_text(), "2 × Fast CPU");
    }
}

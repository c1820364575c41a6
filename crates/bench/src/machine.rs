//! Where and when it was measured.

use std::fs::read_to_string;
use std::process::Command;

use serde::Serialize;

/// Says what a report's figures depend on.
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
    /// It is a virtual machine.
    pub virtual_machine: bool,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Processes ready to run at the start, as a mean of the last minute: others' work.
    pub load_before: f64,
    /// The same at the end, the bench's own work included.
    pub load_after: f64,
    /// CPU time that the hypervisor kept from the machine during the run, in percent.
    pub steal_percent: f64,
    /// Time that the run took.
    pub seconds: f64,
}

impl Machine {
    /// This one, now.
    pub fn look() -> Self {
        let file = |path| read_to_string(path).unwrap_or_default();
        let cpuinfo = file("/proc/cpuinfo");
        let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
        Self {
            date: said("date", &["-u", "+%F %T UTC"]).unwrap_or_else(unknown),
            commit: commit(),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            clang: said(&clang, &["--version"]).unwrap_or_else(unknown),
            cpu: after_colon(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            virtual_machine: after_colon(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            memory_mib: memory_mib(&file("/proc/meminfo")),
            load_before: load_average(),
            ..Self::default()
        }
    }
}

/// Processes ready to run, as a mean of the last minute.
pub fn load_average() -> f64 {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// First line of what a program says, if it says anything.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

fn unknown() -> String {
    "unknown".into()
}

fn commit() -> String {
    let source = env!("CARGO_MANIFEST_DIR");
    // The report itself does not count as a change.
    let changed = ["-C", source, "status", "--porcelain", "-uno", "--", ":/", ":!/docs/reports"];
    let state = said("git", &changed).map_or("", |_| " with changes");
    let head = said("git", &["-C", source, "rev-parse", "--short=12", "HEAD"]);
    head.unwrap_or_else(unknown) + state
}

fn after_colon<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn memory_mib(meminfo: &str) -> u64 {
    let total = after_colon(meminfo, "MemTotal").and_then(|text| text.split(' ').next());
    total.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// CPU time since boot: all of it, and what was stolen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    total: u64,
    stolen: u64,
}

impl CpuTime {
    /// Now.
    pub fn now() -> Self {
        Self::parse(&read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let words = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        // Guests' time is within user and nice already.
        let times: Vec<u64> = words.take(8).map(|word| word.parse().unwrap_or(0)).collect();
        Self { total: times.iter().sum(), stolen: times.get(7).copied().unwrap_or(0) }
    }

    /// Share stolen since `earlier`, in percent.
    pub fn steal_percent(self, earlier: Self) -> f64 {
        let total = (self.total - earlier.total).max(1);
        100.0 * (self.stolen - earlier.stolen) as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_column() {
        let early = CpuTime::parse("cpu  100 0 50 800 10 0 20 20 0 0\ncpu0 1 2 3\n");
        let late = CpuTime::parse("cpu  150 0 100 1600 10 0 20 120 7 7\n");
        assert_eq!(late.steal_percent(early), 10.0);
        assert_eq!(CpuTime::parse(""), CpuTime { total: 0, stolen: 0 });
    }

    #[test]
    fn fields_of_proc() {
        assert_eq!(after_colon("a\t: b\nmodel name\t: X 2.5GHz\n", "model name"), Some("X 2.5GHz"));
        assert_eq!(memory_mib("MemTotal:       2048000 kB\n"), 2000);
        assert_eq!(memory_mib(""), 0);
    }
}

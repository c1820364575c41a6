//! What the report was measured on, and what the machine's host took from it.

use std::fs;
use std::process::Command;

use crate::Result;

/// The lines on top of the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub cpus: String,
    pub kernel: String,
    pub date: String,
    pub commit: String,
    pub load: String,
}

pub fn describe() -> Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(Machine {
        cpus: cpus(&cpuinfo),
        kernel: output("uname", &["-sr"])?,
        date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?,
        commit: commit()?,
        load: load.split_whitespace().next().unwrap_or_default().to_owned(),
    })
}

/// `2 × Intel(R) Xeon(R) …`
fn cpus(cpuinfo: &str) -> String {
    let models: Vec<&str> = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model)
        .collect();
    let virtual_machine = if cpuinfo.contains(" hypervisor ") { ", a virtual machine" } else { "" };
    format!("{} × {}{virtual_machine}", models.len(), models.first().unwrap_or(&"unknown"))
}

/// With a plus when the sources differ from it.
fn commit() -> Result<String> {
    let commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    let changed = changes.lines().any(|line| !line.ends_with("docs/ACCURACY.md"));
    Ok(if changed { commit + "+" } else { commit })
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|err| format!("{program}: {err}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Jiffies in all, and those that the host gave to others (proc(5), /proc/stat).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    all: u64,
    stolen: u64,
}

impl CpuTime {
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        Self::parse(&stat).ok_or_else(|| "no CPU times in /proc/stat".into())
    }

    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let jiffies = fields.map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
        Some(Self { all: jiffies.iter().take(8).sum(), stolen: *jiffies.get(7)? })
    }

    /// The share stolen since `before`.
    pub fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_field() {
        let before = CpuTime::parse("cpu  10 0 10 70 0 0 0 10 5 5\ncpu0 …\n").unwrap();
        let after = CpuTime::parse("cpu  20 0 20 140 0 0 0 20 9 9\n").unwrap();
        assert_eq!(before, CpuTime { all: 100, stolen: 10 });
        assert!((after.stolen_since(before) - 0.1).abs() < 1e-9);
        assert_eq!(CpuTime::parse("intr 5"), None);
        assert_eq!(CpuTime::parse("cpu  1 2 3"), None);
    }

    #[test]
    fn processors_are_counted() {
        let one = "model name\t: Fast CPU\nflags\t: fpu hypervisor lahf\n";
        assert_eq!(cpus(&one.repeat(2)), "2 × Fast CPU, a virtual machine");
        assert_eq!(cpus(""), "0 × unknown");
    }
}

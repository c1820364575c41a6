// SPDX-License-Identifier: GPL-2.0-only
//! The program: runs the parts, prints them and writes the report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::cost::options::{BenchOptions, ReportPart};
use crate::cost::parts::{bulk_commands, flow_scale, follower, load_mix, mapping_scale};
use crate::cost::program_stats::BpfStats;
use crate::cost::report::BenchReport;
use crate::cost::{targets, text};
use crate::error::Result;
use crate::machine::{load_average, CpuTime, Machine};
use crate::progress::StatusLine;

/// Measures what a packet costs, as the command line says.
pub fn main() -> ExitCode {
    match run(&BenchOptions::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("ERR: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &BenchOptions) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces and BPF need root: run it as root (sudo make bench)".into());
    }
    let (start, cpu_time) = (Instant::now(), CpuTime::now()?);
    let mut report = BenchReport { machine: Machine::look(), ..BenchReport::default() };
    println!("{}", text::start(&report));
    run_parts(options, &mut report)?;
    report.machine.seconds = start.elapsed().as_secs_f64();
    report.machine.load_after = load_average();
    report.machine.steal_percent = 100.0 * CpuTime::now()?.stolen_since(cpu_time);
    report.targets = targets::judge(&report);
    print!("{}\n{}", text::targets(&report.targets), text::conditions(&report.machine));
    let json = serde_json::to_string_pretty(&report)? + "\n";
    if options.is_report() {
        let folder = folder();
        std::fs::create_dir_all(&folder)?;
        write(&folder.join("bench.txt"), &text::whole(&report))?;
        write(&folder.join("bench.json"), &json)?;
        eprintln!("written: {}", folder.join("bench.{txt,json}").display());
    }
    options.json.iter().try_for_each(|file| write(file, &json))
}

fn run_parts(options: &BenchOptions, report: &mut BenchReport) -> Result<()> {
    let _stats = BpfStats::enable()?;
    let line = StatusLine::new();
    for part in options.parts() {
        let done = run_part(part, options, &line, report);
        line.clear();
        done.map_err(|err| format!("{}: {err}", part.name()))?;
        println!("{}", text::part(part, report));
    }
    Ok(())
}

/// Runs one part and adds its rows to the report.
fn run_part(
    part: ReportPart,
    options: &BenchOptions,
    line: &StatusLine,
    report: &mut BenchReport,
) -> Result<()> {
    match part {
        ReportPart::Mappings => report.comparisons.push(mapping_scale::measure(options, line)?),
        ReportPart::Flows => report.flows = flow_scale::measure(options, line)?,
        ReportPart::Bulk => report.bulk = bulk_commands::measure(options, line)?,
        ReportPart::Stream => {
            let (comparison, rows) = follower::measure(options, line)?;
            report.comparisons.push(comparison);
            report.stream = rows;
        }
        mix => {
            let results = load_mix::measure(mix, options, line)?;
            report.comparisons.push(results.comparison);
            report.accuracy = results.accuracy.or(report.accuracy.take());
            report.memory = results.memory.or(report.memory.take());
        }
    }
    Ok(())
}

/// Returns `docs/reports/` of the source from which the program was built.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reports")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|err| format!("write {}: {err}", path.display()).into())
}

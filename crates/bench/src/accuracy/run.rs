// SPDX-License-Identifier: GPL-2.0-only
//! The program: measures all rows and writes the report. Fails if a bound does not hold.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::accuracy::cases::Acks;
use crate::accuracy::report::AccuracyReport;
use crate::accuracy::rounds::measure_all;
use crate::error::Result;
use crate::machine::Machine;

/// Measure how right the RTTs are, in a lab of network namespaces (root).
#[derive(Parser)]
struct AccuracyOptions {
    /// Write the report to this file
    #[arg(long, default_value = "docs/reports/accuracy.md", value_name = "FILE")]
    output: PathBuf,
    /// Seconds of traffic for each pair of delays; three times as long for 600 ms
    #[arg(long, default_value_t = 9, value_name = "N")]
    seconds: u64,
}

/// Measures how right the RTTs are, as the command line says.
pub fn main() -> ExitCode {
    let options = AccuracyOptions::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("ERR: network namespaces need root: run it as root (sudo make accuracy)");
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("ERR: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every bound held.
fn run(options: &AccuracyOptions) -> Result<bool> {
    let machine = Machine::look();
    let time = Duration::from_secs(options.seconds);
    let prompt = measure_all(Acks::Prompt, time)?;
    let delayed = measure_all(Acks::Delayed, time)?;
    let report = AccuracyReport { machine, prompt, delayed };
    fs::write(&options.output, report.render())
        .map_err(|err| format!("{}: {err}", options.output.display()))?;
    println!("{}\nwritten: {}", report.summary(), options.output.display());
    Ok(report.held())
}

//! `make accuracy`: known delays on both sides, real TCP of many kinds, our RTTs beside the delay line's
//! and the kernel's. Writes docs/ACCURACY.md and fails if a bound does not hold.

mod drive;
mod figures;
mod machine;
mod plan;
mod progress;
mod report;
mod rounds;
mod row;
mod stage;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use plan::Acks;
use report::Report;
use rounds::measure_all;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measure how right the RTTs are, in a lab of network namespaces (root).
#[derive(Parser)]
struct Options {
    /// Write the report here
    #[arg(long, default_value = "docs/ACCURACY.md", value_name = "FILE")]
    output: PathBuf,
    /// Seconds of traffic per pair of delays; three times as long for 600 ms
    #[arg(long, default_value_t = 9, value_name = "N")]
    seconds: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "ERR: the lab is made of network namespaces: run it as root (sudo make accuracy)"
        );
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

/// Whether every bound held.
fn run(options: &Options) -> Result<bool> {
    let machine = machine::describe()?;
    let time = Duration::from_secs(options.seconds);
    let prompt = measure_all(Acks::Prompt, time)?;
    let delayed = measure_all(Acks::Delayed, time)?;
    let report = Report { machine, prompt, delayed };
    fs::write(&options.output, report.render())
        .map_err(|err| format!("{}: {err}", options.output.display()))?;
    println!("{}\nwritten: {}", report.summary(), options.output.display());
    Ok(report.held())
}

//! What a packet costs: the packet path beside reference programs, attached in turn under one load.
//!
//! ```text
//! generator ── to-wan ─ wan [shaper] lan ── to-lan: counted and dropped     (segments down)
//! generator ── to-lan ─ lan [shaper] wan ── to-wan: counted and dropped     (ACKs up)
//! ```

mod accuracy;
mod bulk;
mod compare;
mod flows;
mod frame;
mod generator;
mod loads;
mod machine;
mod mappings;
mod memory;
mod options;
mod progress;
mod quantile;
mod report;
mod sender;
mod stage;
mod stats;
mod stream;
mod systems;
mod table;
mod targets;
mod text;
mod workload;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use machine::{CpuTime, Machine};
use options::{Options, Part};
use progress::Line;
use report::Report;

/// Whatever went wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// Of anything here.
pub type Result<T> = std::result::Result<T, Error>;

fn main() -> Result<()> {
    let options = Options::parse();
    if !lab::is_root() {
        return Err("network namespaces and BPF need root".into());
    }
    let (start, cpu_time) = (Instant::now(), CpuTime::now());
    let mut report = Report { machine: Machine::look(), ..Report::default() };
    println!("{}", text::start(&report));
    run(&options, &mut report)?;
    report.machine.seconds = start.elapsed().as_secs_f64();
    report.machine.load_after = machine::load_average();
    report.machine.steal_percent = CpuTime::now().steal_percent(cpu_time);
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

fn run(options: &Options, report: &mut Report) -> Result<()> {
    let _stats = stats::BpfStats::enable()?;
    let line = Line::new();
    for part in options.parts() {
        let done = match part {
            Part::Mappings => mappings::run(options, &line, report),
            Part::Flows => flows::run(options, &line, report),
            Part::Bulk => bulk::run(options, &line, report),
            Part::Stream => stream::run(options, &line, report),
            load => loads::run(load, options, &line, report),
        };
        line.clear();
        done.map_err(|err| format!("{}: {err}", part.name()))?;
        println!("{}", text::part(part, report));
    }
    Ok(())
}

/// `docs/reports/` of the source that this was built from.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reports")
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|err| format!("write {}: {err}", path.display()).into())
}

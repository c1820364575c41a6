//! Show what is attached where, how full the maps are, and what the packet path counts.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Instant;

use serde::Serialize;

use crate::abi::COUNTERS;
use crate::attach::Attached;
use crate::cli::cpumap_pping::Status;
use crate::error::{Error, Result};
use crate::inventory::{Counters, Cpu, Fill, Interface, Inventory};
use crate::output::write_columns;
use crate::pin::PinDir;

/// Runs the command. Also before anything is loaded: a JSON reader gets `{"loaded":false}`, and
/// everybody the exit code.
///
/// # Errors
/// See [`crate::error::EXIT_CODES`].
pub fn run(dir: &PinDir, how: &Status, inventory: Result<Inventory>) -> Result<ExitCode> {
    let inventory = match inventory {
        Err(err @ Error::MapFile(_)) if how.json => {
            super::print(|out| writeln!(out, r#"{{"loaded":false}}"#))?;
            return Err(err);
        }
        result => result?,
    };
    let report = Report::new(dir, how, inventory)?;
    super::print(|out| match how.json {
        true => write_json(out, &report),
        false => write_text(out, &report, how.all),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Everything to show; the field names are the JSON's keys, listed in the help of `--json`.
#[derive(Serialize)]
struct Report {
    loaded: bool,
    interfaces: Vec<Interface>,
    cpus: Vec<Cpu>,
    maps: BTreeMap<&'static str, Fill>,
    interval: f64,
    #[serde(serialize_with = "by_name")]
    counters: Vec<Counter>,
}

#[derive(Serialize)]
struct Counter {
    #[serde(skip)]
    name: &'static str,
    count: u64,
    per_second: f64,
    help: &'static str,
}

fn by_name<S: serde::Serializer>(
    counters: &[Counter],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(counters.iter().map(|counter| (counter.name, counter)))
}

impl Report {
    /// Reads the counters twice, an interval apart.
    fn new(dir: &PinDir, how: &Status, inventory: Inventory) -> Result<Self> {
        let (start, before) = (Instant::now(), Counters::read(dir)?);
        sleep(how.interval);
        let (interval, after) = (start.elapsed().as_secs_f64(), Counters::read(dir)?);
        let counter = |(index, &(name, help)): (usize, &(&'static str, &'static str))| {
            let count = after.total(index);
            // Less than before: somebody has replaced the map.
            let grown = count.saturating_sub(before.total(index));
            Counter { name, count, per_second: tenths(grown as f64 / interval), help }
        };
        let Inventory { interfaces, cpus, maps, .. } = inventory;
        let counters = COUNTERS.iter().enumerate().map(counter).collect();
        Ok(Self { loaded: true, interfaces, cpus, maps, interval: tenths(interval), counters })
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn write_json(out: &mut impl Write, report: &Report) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}

fn write_text(out: &mut impl Write, report: &Report, all: bool) -> io::Result<()> {
    write_columns(out, &["interface", "direction", "XDP", "classifier"], interface_rows(report))?;
    writeln!(out)?;
    let head = ["CPU", "takes frames", "frame queue", "TX queue", "HTB major", "mappings"];
    write_columns(out, &head, report.cpus.iter().map(cpu_row))?;
    writeln!(out)?;
    write_columns(out, &["map", "used", "of", ""], report.maps.iter().map(map_row))?;
    writeln!(out)?;
    let shown = |counter: &&Counter| all || counter.count > 0;
    let head = ["counter", "total", "a second", "what it counts"];
    write_columns(out, &head, report.counters.iter().filter(shown).map(counter_row))
}

fn interface_rows(report: &Report) -> impl Iterator<Item = [String; 4]> + '_ {
    report.interfaces.iter().map(|interface| {
        let Interface { name, ifindex, direction, xdp, classifier, pinned_maps } = interface;
        let name = match name {
            Some(name) => name.to_string(),
            None => format!("gone (index {ifindex})"),
        };
        let maps = if *pinned_maps == Some(false) { ", not the pinned maps" } else { "" };
        [
            name,
            direction.map_or("-", |direction| direction.name()).to_owned(),
            program(xdp.as_ref()),
            program(classifier.as_ref()) + maps,
        ]
    })
}

fn program(attached: Option<&Attached>) -> String {
    match attached {
        None => "-".to_owned(),
        Some(Attached { id, name, mode: None }) => format!("{name} (id {id})"),
        Some(Attached { id, name, mode: Some(mode) }) => format!("{name} (id {id}, {mode})"),
    }
}

fn cpu_row(cpu: &Cpu) -> [String; 6] {
    let or_dash = |number: u32| if number == 0 { "-".to_owned() } else { number.to_string() };
    [
        cpu.cpu.to_string(),
        if cpu.available { "yes" } else { "no" }.to_owned(),
        or_dash(cpu.queue_size.unwrap_or(0)),
        or_dash(cpu.tx_queue.into()),
        format!("{:x}:", cpu.htb_major),
        cpu.mappings.to_string(),
    ]
}

fn map_row((name, fill): (&&'static str, &Fill)) -> [String; 4] {
    let percent = fill.used as f64 * 100.0 / fill.limit.max(1) as f64;
    let (used, limit) = (fill.used.to_string(), fill.limit.to_string());
    [name.to_string(), used, limit, format!("{percent:.1} %")]
}

fn counter_row(counter: &Counter) -> [String; 4] {
    let Counter { name, count, per_second, help } = counter;
    [name.to_string(), count.to_string(), format!("{per_second:.1}"), help.to_string()]
}

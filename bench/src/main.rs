//! What a packet costs: the packet path beside reference programs, attached in turn under one load.
//!
//! ```text
//! generator ── to-wan ─ wan [shaper] lan ── to-lan: counted and dropped     (segments down)
//! generator ── to-lan ─ lan [shaper] wan ── to-wan: counted and dropped     (ACKs up)
//! ```

mod accuracy;
mod compare;
mod frame;
mod generator;
mod stage;
mod stats;
mod systems;
mod workload;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Parser;
use compare::{compare, Schedule, Series};
use cpumap_pping::cli::RttOptions;
use generator::Generator;
use stage::Stage;
use systems::{inside, Reference, System};
use workload::Load;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures the packet path beside reference programs. Needs root.
#[derive(Parser)]
struct Options {
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Rounds, each with every system
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds a system is measured in a round
    #[arg(long)]
    window: Option<u64>,
    /// Add variants of ours with pieces switched off
    #[arg(long)]
    pieces: bool,
    /// Compare another build of our object too: NAME=FILE (cpumap_pping.bpf.o)
    #[arg(long, value_name = "NAME=FILE")]
    object: Vec<String>,
    /// Poll the NICs from threads, a batch at a time, instead of once a frame
    #[arg(long)]
    threaded: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if !lab::privileged() {
        return Err("network namespaces and BPF need root".into());
    }
    let _stats = stats::BpfStats::enable()?;
    live_mix(&options)
}

fn schedule(options: &Options) -> Schedule {
    let ms = Duration::from_millis;
    let (rounds, window) = if options.quick { (4, 500) } else { (10, 1000) };
    Schedule {
        rounds: options.rounds.unwrap_or(rounds),
        window: ms(options.window.unwrap_or(window)),
        settle: ms(300),
        warm_up: ms(2000),
    }
}

fn all_systems(load: &Load, options: &Options) -> Result<Vec<System>> {
    let ours = systems::ours(load, &RttOptions::default(), "ours")?;
    let mut all = vec![
        systems::reference(Reference::Empty, load)?,
        systems::reference(Reference::Textbook, load)?,
        systems::reference(Reference::Predecessor, load)?,
    ];
    let no_rtt = RttOptions { enabled: false, ..RttOptions::default() };
    all.push(systems::ours(load, &no_rtt, "ours, RTT off")?);
    if options.pieces {
        all.push(systems::ours_with(&ours, "ours, no metadata", |config| config.metadata = 0)?);
    }
    for object in &options.object {
        let (name, file) = object.split_once('=').ok_or("--object takes NAME=FILE")?;
        let name = String::leak(name.to_owned());
        all.push(systems::ours_from(&ours, name, &std::fs::read(file)?)?);
    }
    all.insert(2, ours);
    Ok(all)
}

fn live_mix(options: &Options) -> Result<()> {
    let load = Load::live_mix();
    let stage = Stage::build(false)?;
    let systems = inside(&stage.shaper, || all_systems(&load, options))?;
    inside(&stage.shaper, || {
        systems[0].attach()?;
        if options.threaded {
            for device in [lab::LAN, lab::WAN] {
                std::fs::write(format!("/sys/class/net/{device}/threaded"), "1")?;
            }
        }
        Ok(())
    })?;
    systems.iter().try_for_each(System::prefer_cpumap_threads)?;
    let generator = Generator::start(&stage.edge, &load, false, 0)?;
    let schedule = schedule(options);
    let series = compare(&stage, &generator, &systems, &schedule, |round, name| {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[Klive mix: round {} of {}, {name}", round + 1, schedule.rounds);
            let _ = std::io::stderr().flush();
        }
    })?;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    print_series(&series);
    let ours = systems.iter().find(|system| system.name == "ours").ok_or("ours is missing")?;
    let found = accuracy::accuracy(&stage, &generator, ours, Duration::from_secs(3))?;
    println!(
        "RTT: mean of each handle against the truth: off by {:.0} us (median), {:.0} us (p95); {} of {} \
         handles with traffic reported",
        found.median_us, found.p95_us, found.handles, found.expected
    );
    print_generator(&generator);
    Ok(())
}

fn print_series(series: &[Series]) {
    let textbook = series.iter().find(|each| each.name == "textbook");
    println!(
        "{:<20} {:>6} {:>6} {:>7} {:>9} {:>6} | {:>8} {:>8} {:>8} {:>8} | {:>7} {:>7}",
        "system",
        "XDP",
        "TC",
        "packet",
        "x textbk",
        "quiet",
        "XDP ack",
        "XDP data",
        "TC data",
        "TC ack",
        "samples",
        "packets"
    );
    for each in series {
        let samples = each.median(|window| match window.samples {
            Some(samples) => 100.0 * samples as f64 / window.possible as f64,
            None => f64::NAN,
        });
        let part = |index: usize| each.median(|window| window.parts[index].ns_per_run());
        println!(
            "{:<20} {:>6.0} {:>6.0} {:>7.0} {:>9.2} {:>6.0} | {:>8.0} {:>8.0} {:>8.0} {:>8.0} | {:>6.1}% {:>6.1}%",
            each.name,
            each.median(|window| window.xdp.ns_per_run()),
            each.median(|window| window.tc.ns_per_run()),
            each.median(|window| window.per_packet()),
            textbook.map_or(f64::NAN, |textbook| each.ratio(textbook)),
            each.quiet(),
            part(0), part(1), part(2), part(3),
            samples,
            each.median(|window| 100.0 * window.tc.count as f64 / window.sent as f64),
        );
    }
}

fn print_generator(generator: &Generator) {
    use std::sync::atomic::Ordering::Relaxed;
    let progress = &generator.progress;
    let acks = progress.acks.load(Relaxed).max(1);
    println!(
        "generator: {} segments, {} ACKs, {} refused, {} ticks skipped, true RTT {:.3} ms",
        progress.segments.load(Relaxed),
        acks,
        progress.refused.load(Relaxed),
        progress.skipped.load(Relaxed),
        progress.rtt_ns.load(Relaxed) as f64 / acks as f64 / 1e6,
    );
}

//! The loads: every system attached in turn, under each of them.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cpumap_pping::kernel::load::RttOptions;

use crate::accuracy::{a_handle_a_flow, accuracy};
use crate::compare::{compare, Schedule};
use crate::generator::Generator;
use crate::memory::memory;
use crate::options::{Options, Part};
use crate::progress::Line;
use crate::report::{Comparison, Report, Sent, Subject};
use crate::stage::Stage;
use crate::systems::{inside, ours, ours_from, ours_with, reference, Ours, Reference, System};
use crate::table::grouped;
use crate::targets::name;
use crate::workload::{Load, Order, Shape};
use crate::Result;

/// The CPU that generates, and on which frames come in.
const GENERATOR_CPU: usize = 0;

/// The load of a part that compares systems; the others have loads of their own.
fn load_of(part: Part) -> Load {
    let shape = Shape::default();
    match part {
        Part::HotFlow => Load::hot_flow(),
        Part::Cold => Load::cold(),
        Part::Ipv6 => Load::shaped(Shape { ipv6: true, ..shape }),
        Part::TwoTags => Load::shaped(Shape { tags: vec![(0x88a8, 100), (0x8100, 200)], ..shape }),
        Part::TimestampsOff => Load::shaped(Shape { timestamps: false, ..shape }),
        Part::Udp => Load::shaped(Shape { udp: true, ..shape }),
        Part::LiveMix | Part::Mappings | Part::Flows | Part::Bulk | Part::Stream => {
            Load::live_mix()
        }
    }
}

/// A load in words.
pub fn about(load: &Load) -> String {
    let Shape { ipv6, udp, timestamps, tags, .. } = &load.shape;
    let who = match load.order {
        Order::One(_) => "one flow".to_owned(),
        order => {
            let flows = u64::from(load.flows);
            let which = match order {
                Order::Weighted(parts) => {
                    format!("half of the packets on {} of them", grouped(flows / u64::from(parts)))
                }
                _ => "each packet of another one".to_owned(),
            };
            let subscribers = grouped(load.subscribers.into());
            format!("{} flows of {subscribers} subscribers, {which}", grouped(flows))
        }
    };
    let rate = grouped(u64::from(load.per_tick) * 1000);
    let rtts: Vec<_> = load.rtt_ticks.iter().map(u64::to_string).collect();
    let mut text = format!(
        "{who}; {rate} segments/s of {} bytes down, as many {} up, RTT {} ms",
        load.shape.payload,
        if *udp { "packets" } else { "ACKs" },
        rtts.join(" or ")
    );
    for (is_so, what) in [
        (*ipv6, "; IPv6"),
        (*udp, "; UDP"),
        (!timestamps, "; no TCP timestamps"),
        (!tags.is_empty(), "; two VLAN tags, bridged"),
    ] {
        text += if is_so { what } else { "" };
    }
    text
}

/// Runs one and adds it to the report.
pub fn run(part: Part, options: &Options, line: &Line, report: &mut Report) -> Result<()> {
    let load = load_of(part);
    let schedule = options.schedule(part);
    line.say(&format!("{}: loading", part.name()));
    let stage = Stage::build(load.shape.is_bridged())?;
    let mut loads = vec![load.clone()];
    let mut systems = systems_for(&stage, &load, part, options)?;
    if part == Part::Cold {
        // In the same rounds, so that the two can be compared.
        loads.push(Load::live_mix());
        let warm = Ours { name: name::OURS_LIVE_MIX, ..Ours::new(&loads[1]) };
        systems.push(ours(&stage, &warm)?.under(1));
    }
    let mut each_flow = None;
    if part == Part::LiveMix {
        loads.push(a_handle_a_flow(&load));
        each_flow = Some(ours(&stage, &Ours::new(&loads[1]))?.under(1));
    }
    systems.iter().chain(&each_flow).try_for_each(System::prefer_cpumap_threads)?;
    let generator = start(&stage, &loads, options)?;
    let subject = Subject {
        name: part.name(),
        about: about(&load),
        beside: Reference::Textbook.name(),
        pairs: &PAIRS,
    };
    let found = rounds(&stage, &generator, &systems, &schedule, &subject, line)?;
    if let Some(each_flow) = each_flow {
        line.say(&format!("{}: RTTs beside the truth", part.name()));
        report.accuracy = Some(accuracy(&stage, &generator, &each_flow, Duration::from_secs(4))?);
        let ours = systems.iter().find(|system| system.name == name::OURS);
        report.memory = ours.map(memory).transpose()?;
    }
    report.comparisons.push(found);
    Ok(())
}

/// Ratios to be shown, where both were measured.
const PAIRS: [(&str, &str); 4] = [
    (name::OURS, "textbook"),
    (name::OURS, "predecessor-shaped"),
    (name::OURS, name::RTT_OFF),
    (name::OURS, name::OURS_LIVE_MIX),
];

fn systems_for(stage: &Stage, load: &Load, part: Part, options: &Options) -> Result<Vec<System>> {
    let full = ours(stage, &Ours::new(load))?;
    let no_rtt = RttOptions { enabled: false, ..RttOptions::default() };
    let off = ours(stage, &Ours { name: name::RTT_OFF, rtt: no_rtt, ..Ours::new(load) })?;
    let mut extra = Vec::new();
    if part == Part::LiveMix && options.pieces {
        extra.push(ours_with(&full, "ours, no metadata", |config| config.metadata = 0)?);
    }
    for (name, file) in options.object.iter().filter(|_| part == Part::LiveMix) {
        extra.push(ours_from(&full, name, &std::fs::read(file)?)?);
    }
    let mut all = inside(&stage.shaper, || {
        [Reference::Empty, Reference::Textbook, Reference::Predecessor]
            .into_iter()
            .map(|which| reference(which, load))
            .collect::<Result<Vec<_>>>()
    })?;
    // Neighbours in a round are best compared.
    all.insert(2, full);
    all.push(off);
    all.extend(extra);
    Ok(all)
}

/// Starts the generator, and waits until it sends.
pub fn start(stage: &Stage, loads: &[Load], options: &Options) -> Result<Generator> {
    inside(&stage.shaper, || {
        for device in [lab::LAN, lab::WAN].iter().filter(|_| options.threaded) {
            std::fs::write(format!("/sys/class/net/{device}/threaded"), "1")?;
        }
        Ok(())
    })?;
    let generator = Generator::start(&stage.edge, loads, GENERATOR_CPU)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while generator.progress.segments.load(Relaxed) == 0 {
        if !generator.is_running() || Instant::now() > deadline {
            return Err("the generator does not start".into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(generator)
}

/// All rounds of a comparison, summed up.
pub fn rounds(
    stage: &Stage,
    generator: &Generator,
    systems: &[System],
    schedule: &Schedule,
    subject: &Subject<'_>,
    line: &Line,
) -> Result<Comparison> {
    let series = compare(stage, generator, systems, schedule, |round, name| {
        line.say(&format!("{}: round {} of {}, {name}", subject.name, round + 1, schedule.rounds));
    })?;
    Ok(Comparison::new(subject, schedule, &series, Sent::by(generator)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_in_words() {
        assert_eq!(
            about(&load_of(Part::LiveMix)),
            "20 000 flows of 4000 subscribers, half of the packets on 1250 of them; 60 000 segments/s of 120 \
             bytes down, as many ACKs up, RTT 20 ms"
        );
        assert!(about(&load_of(Part::HotFlow)).starts_with("one flow; 60 000 segments/s of 1400 "));
        assert!(about(&load_of(Part::TwoTags)).ends_with("RTT 20 ms; two VLAN tags, bridged"));
        assert!(about(&load_of(Part::Udp)).contains("as many packets up"));
    }
}

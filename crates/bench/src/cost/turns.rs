// SPDX-License-Identifier: GPL-2.0-only
//! Lets systems take turns under a load.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::{LAN, WAN};

use crate::cost::compare::{compare, Schedule};
use crate::cost::comparison::{Comparison, GeneratorTotals, Subject};
use crate::cost::generator::FrameGenerator;
use crate::cost::options::BenchOptions;
use crate::cost::systems::system::{inside, System};
use crate::cost::testbed::Testbed;
use crate::cost::workload::{FrameShape, Load, Order};
use crate::error::Result;
use crate::progress::StatusLine;
use crate::table::grouped;

/// The CPU on which the generator runs and on which its frames come in.
const GENERATOR_CPU: usize = 0;

/// Describes a load in words.
pub fn about(load: &Load) -> String {
    let FrameShape { ipv6, udp, timestamps, tags, .. } = &load.shape;
    let flows = match load.order {
        Order::One(_) => "one flow".to_owned(),
        order => {
            let flows = u64::from(load.flows);
            let which = match order {
                Order::Weighted(parts) => {
                    format!("half of the packets on {} of them", grouped(flows / u64::from(parts)))
                }
                _ => "each packet of another flow".to_owned(),
            };
            let subscribers = grouped(load.subscribers.into());
            format!("{} flows of {subscribers} subscribers, {which}", grouped(flows))
        }
    };
    let rate = grouped(u64::from(load.per_tick) * 1000);
    let rtts: Vec<_> = load.rtt_ticks.iter().map(u64::to_string).collect();
    let mut text = format!(
        "{flows}; {rate} segments/s of {} bytes down, as many {} up, RTT {} ms",
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

/// Starts the generator and waits until it sends.
pub fn start(testbed: &Testbed, loads: &[Load], options: &BenchOptions) -> Result<FrameGenerator> {
    inside(&testbed.shaper, || {
        for device in [LAN, WAN].iter().filter(|_| options.threaded) {
            std::fs::write(format!("/sys/class/net/{device}/threaded"), "1")?;
        }
        Ok(())
    })?;
    let generator = FrameGenerator::start(&testbed.edge, loads, GENERATOR_CPU)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while generator.counts.segments.load(Relaxed) == 0 {
        if !generator.is_running() || Instant::now() > deadline {
            return Err("the generator did not start within 20 s".into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(generator)
}

/// Measures all rounds of a comparison and sums them up.
pub fn rounds(
    testbed: &Testbed,
    generator: &FrameGenerator,
    systems: &[System],
    schedule: &Schedule,
    subject: &Subject<'_>,
    line: &StatusLine,
) -> Result<Comparison> {
    let series = compare(testbed, generator, systems, schedule, |round, name| {
        line.say(&format!("{}: round {} of {}, {name}", subject.name, round + 1, schedule.rounds));
    })?;
    Ok(Comparison::new(subject, schedule, &series, GeneratorTotals::of(generator)))
}

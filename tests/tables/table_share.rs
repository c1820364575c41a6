// SPDX-License-Identifier: GPL-2.0-only

//! Nobody captures the flow table: floods, connections that come and go, and one greedy host cost the others no samples,
//! beside a quiet run.

use crate::common::rig::LoadOptions;
use crate::common::scene::{with_bare_scene, Scene};
use lab::packet::{Packet, Tcp, ACK, FIN, RST, SYN};
use std::net::IpAddr;
use std::time::Duration;

/// The others: this many subscribers with two flows each, in a table of 2048 places.
const OTHERS: u8 = 200;
const PLACES: u32 = 2048;
/// Packets of the one who disturbs, before each round of the others.
const DISTURBANCE: u32 = 10_000;
const RTT: Duration = Duration::from_millis(20);

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80));

fn other(n: u8) -> IpAddr {
    [100, 64, 0, n].into()
}

/// Sends one segment of a subscriber to the server, or back.
fn send(
    scene: &Scene,
    subscriber: IpAddr,
    port: u16,
    down: bool,
    tcp: impl Fn(Tcp) -> Tcp,
    bytes: usize,
) {
    let packet = Packet::new(subscriber, SERVER).tcp(tcp(Tcp::new(port, 443))).payload(bytes);
    let (packet, skb) = match down {
        true => (packet.reply(), scene.to_subscriber()),
        false => (packet, scene.to_internet()),
    };
    scene.classify_quickly(&packet.build(), skb, 1);
}

/// One round of the others: each flow sends a new TSval, and 20 ms later its echo comes back.
fn round_of_others(scene: &Scene, tsval: u32) {
    let each = |what: &dyn Fn(IpAddr, u16)| {
        (0..OTHERS).for_each(|n| (1000..1002).for_each(|port| what(other(n), port)));
    };
    each(&|host, port| send(scene, host, port, false, |tcp| tcp.timestamps(tsval, 1), 10));
    scene.advance(RTT);
    each(&|host, port| send(scene, host, port, true, |tcp| tcp.timestamps(7, tsval), 0));
}

/// Returns the share of the others' samples that are kept beside a disturbance.
fn share_kept(disturb: impl Fn(&Scene, u32) + Send + Sync) -> f64 {
    let options =
        LoadOptions { flow_buckets: PLACES / 8, rtt_handles: 4096, ..LoadOptions::default() };
    let mut share = 0.0;
    with_bare_scene(options, |scene| {
        (0..OTHERS)
            .for_each(|n| scene.map_quietly(&other(n).to_string(), 0, 0x1_0100 + u32::from(n)));
        scene.map_quietly("100.64.9.9", 0, 0x1_0020);
        scene.map("198.18.0.0/15", 0, 0x1_0030);
        let samples = || -> u64 {
            let records = scene.records();
            let of = |n| records.get(&(0x1_0100 + u32::from(n))).map_or(0, |r| r.total[1].count);
            (0..OTHERS).map(of).sum()
        };
        disturb(scene, 0);
        round_of_others(scene, 100); // The first TSval of a flow gives no sample.
        let before = samples();
        let rounds = 4;
        for round in 1..=rounds {
            disturb(scene, round);
            round_of_others(scene, 100 + round);
        }
        share = (samples() - before) as f64 / (rounds * u32::from(OTHERS) * 2) as f64;
    });
    share
}

const GREEDY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 9, 9));

fn port(n: u32) -> u16 {
    (1024 + n % 60_000) as u16
}

/// An address of the flood's, each used once.
fn spoofed(round: u32, n: u32) -> IpAddr {
    IpAddr::V4(
        (u32::from(std::net::Ipv4Addr::new(198, 18, 0, 0)) + (round * DISTURBANCE + n) % 130_000)
            .into(),
    )
}

/// What somebody else does before a round of the others.
type Disturbance = fn(&Scene, u32);

#[test]
fn nobody_captures_the_table() {
    let quiet = share_kept(|_, _| ());
    assert_eq!(quiet, 1.0, "quiet");
    let rows: [(&str, Disturbance); 5] = [
        ("a flood of SYNs", |scene, round| {
            for n in 0..DISTURBANCE {
                send(
                    scene,
                    spoofed(round, n),
                    port(n),
                    false,
                    |tcp| tcp.flags(SYN).timestamps(n, 0),
                    0,
                );
            }
        }),
        ("a flood of answers to SYNs", |scene, round| {
            for n in 0..DISTURBANCE {
                let tcp = |tcp: Tcp| tcp.flags(SYN | ACK).timestamps(n, 1);
                send(scene, spoofed(round, n), port(n), true, tcp, 0);
            }
        }),
        ("a flood of data", |scene, round| {
            for n in 0..DISTURBANCE {
                send(scene, spoofed(round, n), port(n), false, |tcp| tcp.timestamps(n, 1), 10);
            }
        }),
        ("connections that come and go", |scene, round| {
            for n in 0..DISTURBANCE / 4 {
                let (host, port) = (spoofed(round, n), port(n));
                send(scene, host, port, false, |tcp| tcp.timestamps(5, 1), 10);
                send(scene, host, port, true, |tcp| tcp.timestamps(9, 5), 10);
                let last = if n % 2 == 0 { FIN | ACK } else { RST };
                send(scene, host, port, false, |tcp| tcp.flags(last).timestamps(6, 9), 0);
                send(scene, host, port, true, |tcp| tcp.flags(last).timestamps(10, 6), 0);
            }
        }),
        ("one host with as many live flows as it can have", |scene, round| {
            for n in 0..DISTURBANCE / 2 {
                send(scene, GREEDY, port(n), false, |tcp| tcp.timestamps(5 + round, 1), 10);
                send(scene, GREEDY, port(n), true, |tcp| tcp.timestamps(9 + round, 5), 10);
            }
        }),
    ];
    for (description, disturb) in rows {
        let share = share_kept(disturb);
        eprintln!("beside {description}: {:.1} % of the others' samples", 100.0 * share);
        assert!(share >= 0.99 * quiet, "{description}: {share}");
    }
}

/// Subscribers without a mapping of their own, who share the class of the default entry.
const UNMAPPED: u32 = 500;
/// Subscribers with a class of their own beside them.
const MAPPED: u32 = 50;
const FLOWS_EACH: u16 = 11;

/// All of them have live flows, three times as many as the table has places, and the packets of all are mixed: between a
/// segment and its answer come those of the others.
#[test]
fn a_class_of_many_subscribers_leaves_the_others_their_share() {
    let options =
        LoadOptions { flow_buckets: PLACES / 8, rtt_handles: 4096, ..LoadOptions::default() };
    with_bare_scene(options, |scene| {
        const DEFAULT: u32 = 0x1_0020;
        scene.map("::/0", 0, DEFAULT);
        let address = |n: u32| IpAddr::V4((0x6440_0000 + n).into());
        (0..MAPPED).for_each(|n| scene.map_quietly(&address(n).to_string(), 0, 0x1_0100 + n));
        let all: Vec<(IpAddr, u16)> = (0..FLOWS_EACH)
            .flat_map(|port| (0..MAPPED + UNMAPPED).map(move |n| (address(n), 1000 + port)))
            .collect();
        // A stride that shares no factor with the number of flows mixes the subscribers.
        let mixed = |i: usize| all[i * 1237 % all.len()];
        let rounds = 6;
        let samples = || {
            let records = scene.records();
            let of = |handle| records.get(&handle).map_or(0, |record| record.total[1].count);
            ((0..MAPPED).map(|n| of(0x1_0100 + n)).sum::<u64>(), of(DEFAULT))
        };
        let mut before = (0, 0);
        for round in 0..rounds {
            if round == 2 {
                before = samples(); // By then every flow could enter, and was answered.
            }
            let tsval = 100 + round;
            // The answer to a segment comes when a quarter of the others have sent theirs.
            let late = all.len() / 4;
            for i in 0..all.len() + late {
                if let Some(i) = (i < all.len()).then_some(i) {
                    let (host, port) = mixed(i);
                    send(scene, host, port, false, |tcp| tcp.timestamps(tsval, 1), 10);
                }
                if i >= late {
                    let (host, port) = mixed(i - late);
                    send(scene, host, port, true, |tcp| tcp.timestamps(7, tsval), 0);
                }
            }
            scene.advance(RTT);
        }
        let kept = samples();
        let share = |samples: u64, subscribers: u32| {
            samples as f64 / f64::from((rounds - 2) * subscribers * u32::from(FLOWS_EACH))
        };
        let (mapped, unmapped) =
            (share(kept.0 - before.0, MAPPED), share(kept.1 - before.1, UNMAPPED));
        eprintln!("mapped: {:.1} %, unmapped: {:.1} %", 100.0 * mapped, 100.0 * unmapped);
        assert!(mapped >= 0.97, "mapped subscribers keep {mapped}");
        assert!(unmapped >= 0.25, "the class of the default entry keeps {unmapped}");
    });
}

// SPDX-License-Identifier: GPL-2.0-only

//! The RTTs of captures, beside a slow reading of the same files by tshark and the rules in their plainest form.

use crate::common::command::Said;
use crate::common::events::data;
use crate::common::replayed::Replayed;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A TCP segment with timestamps, as tshark reads it.
struct Segment {
    time_ns: i64,
    ends: [String; 2],
    value: u32,
    echo: u32,
    ack: bool,
    payload: u64,
    syn: bool,
}

const FIELDS: [&str; 12] = [
    "frame.time_epoch",
    "ip.src",
    "ipv6.src",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "tcp.dstport",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    "tcp.flags.ack",
    "tcp.len",
    "tcp.flags.syn",
];

fn segments(capture: &Path) -> Vec<Segment> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args(["-Y", "tcp.options.timestamp.tsval", "-T", "fields"]);
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let said = Said::by(&mut tshark);
    assert_eq!(said.code, 0, "{said:?}");
    said.out.lines().map(segment).collect()
}

fn segment(line: &str) -> Segment {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |index: usize| fields[index].parse().unwrap();
    let flag = |index: usize| matches!(fields[index], "1" | "True");
    let (seconds, fraction) = fields[0].split_once('.').unwrap();
    let ns: i64 = format!("{fraction:0<9}")[..9].parse().unwrap();
    Segment {
        time_ns: seconds.parse::<i64>().unwrap() * 1_000_000_000 + ns,
        ends: [1, 4].map(|at| format!("{}{} {}", fields[at], fields[at + 1], fields[at + 2])),
        value: number(7),
        echo: number(8),
        ack: flag(9),
        payload: u64::from(fields[10].parse::<u32>().unwrap()),
        syn: flag(11),
    }
}

/// Finds the RTTs: the first packet with data of each TSval, but for the first TSval of a direction, to the first echo.
fn reference(capture: &Path) -> BTreeMap<i64, usize> {
    let mut last: BTreeMap<[String; 2], u32> = BTreeMap::new();
    let mut waiting: BTreeMap<([String; 2], u32), i64> = BTreeMap::new();
    let mut rtts = BTreeMap::new();
    for segment in segments(capture) {
        let way = segment.ends.clone();
        let back = [way[1].clone(), way[0].clone()];
        if segment.ack {
            if let Some(time_ns) = waiting.remove(&(back.clone(), segment.echo)) {
                *rtts.entry(segment.time_ns - time_ns).or_default() += 1;
            }
            waiting.retain(|(other, value), _| *other != back || *value > segment.echo);
        }
        let known = last.get(&way).copied();
        if known.is_none_or(|known| segment.value > known) {
            last.insert(way.clone(), segment.value);
            if known.is_some() && segment.payload > 0 && !segment.syn {
                waiting.insert((way, segment.value), segment.time_ns);
            }
        }
    }
    rtts.retain(|rtt, _| (0..=10_000_000_000).contains(rtt));
    rtts
}

/// Both readings have the same RTTs, of the recorded run and of the captures that once were wrong.
#[test]
fn rtts_as_tshark_has_them() {
    lab::require_root();
    lab::require_tool("tshark");
    let names = [
        "plain.pcap",
        "sll_all_in.pcap",
        "sll_twice.pcap",
        "epb_all_in.pcapng",
        "mpls.pcap",
        "can_first.pcapng",
        "stepback.pcap",
    ];
    let captures = names.map(|name| data("captures").join(name));
    for capture in captures.into_iter().chain([data("run.pcap")]) {
        let mut rtts = BTreeMap::new();
        for rtt in Replayed::of_file(&capture, "").rtts() {
            *rtts.entry(rtt as i64).or_default() += 1;
        }
        assert!(!rtts.is_empty());
        assert_eq!(rtts, reference(&capture), "{}", capture.display());
    }
}

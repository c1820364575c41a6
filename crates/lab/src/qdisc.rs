// SPDX-License-Identifier: GPL-2.0-only
//! The queueing disciplines of a shaper, as LibreQoS sets them up: mq, one HTB for each queue, classes
//! and leaves.

use crate::ns::Netns;
use crate::tool;
use std::collections::HashMap;
use std::io;

/// One HTB class under the tree of a TX queue.
#[derive(Clone, Debug)]
pub struct HtbClass {
    /// TX queue, from 1; also the major number.
    pub queue: u16,
    /// Minor number, 4 or more: 1 is the tree's root, 2 its default, 3 for the shaper's own packets.
    pub minor: u16,
    /// Rate as tc writes it: `100mbit`.
    pub rate: String,
    /// Most packets that the leaf holds.
    pub limit: u32,
}

impl HtbClass {
    /// Makes a class with a leaf of 1000 packets.
    pub fn new(queue: u16, minor: u16, rate: &str) -> Self {
        Self { queue, minor, rate: rate.to_owned(), limit: 1000 }
    }
}

/// Counters of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// Installs mq as 7FFF:, for each of `queues` an HTB with the default class 2 and class 3 for the shaper's
/// own packets (MLD, ND; the contract names minor 3), and `classes`. Deletes an existing root qdisc first,
/// as LibreQoS does when it reloads; clsact and its filters stay.
pub fn mq_htb(netns: &Netns, device: &str, queues: u16, classes: &[HtbClass]) -> io::Result<()> {
    // The command fails if the device has no root qdisc; that is no error here.
    let _ = netns.command("tc").args(["qdisc", "delete", "dev", device, "root"]).output()?;
    let mut lines = vec![format!("qdisc add dev {device} root handle 7FFF: mq")];
    for queue in 1..=queues {
        let parent = format!("dev {device} parent {queue:x}:");
        lines.extend([
            format!("qdisc add dev {device} parent 7FFF:{queue:x} handle {queue:x}: htb default 2"),
            format!("class add {parent} classid {queue:x}:1 htb rate 10gbit ceil 10gbit quantum 60000"),
            format!("class add {parent}1 classid {queue:x}:2 htb rate 5gbit ceil 10gbit prio 5 quantum 60000"),
            format!("qdisc add {parent}2 pfifo limit 10000"),
            format!("class add {parent}1 classid {queue:x}:3 htb rate 100mbit ceil 10gbit prio 4 quantum 60000"),
            format!("qdisc add {parent}3 pfifo limit 1000"),
        ]);
    }
    for HtbClass { queue, minor, rate, limit } in classes {
        let parent = format!("dev {device} parent {queue:x}:");
        lines.extend([
            format!("class add {parent}1 classid {queue:x}:{minor:x} htb rate {rate} ceil {rate} prio 3 quantum 60000"),
            format!("qdisc add {parent}{minor:x} pfifo limit {limit}"),
        ]);
    }
    tool::batch(netns.command("tc"), &lines)
}

/// Returns the counters of every HTB class of a device, by (major, minor).
pub fn htb_class_stats(netns: &Netns, device: &str) -> io::Result<HashMap<(u16, u16), ClassStats>> {
    let text = tool::output(netns.command("tc").args(["-s", "class", "show", "dev", device]))?;
    Ok(parse_class_stats(&text))
}

fn parse_class_stats(text: &str) -> HashMap<(u16, u16), ClassStats> {
    let mut stats = HashMap::new();
    let mut class = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["class", "htb", id, ..] => class = parse_classid(id),
            ["class", ..] => class = None,
            ["Sent", bytes, "bytes", packets, "pkt", "(dropped", dropped, ..] => {
                let number = |word: &str| word.trim_end_matches(',').parse().unwrap_or(0);
                let (bytes, packets, dropped) = (number(bytes), number(packets), number(dropped));
                if let Some(class) = class.take() {
                    stats.insert(class, ClassStats { bytes, packets, dropped });
                }
            }
            _ => {}
        }
    }
    stats
}

fn parse_classid(id: &str) -> Option<(u16, u16)> {
    let (major, minor) = id.split_once(':')?;
    Some((u16::from_str_radix(major, 16).ok()?, u16::from_str_radix(minor, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_statistics_are_read() {
        let text = "\
class mq 7fff:1 root leaf 1: 
 Sent 5 bytes 1 pkt (dropped 0, overlimits 0 requeues 0) 
class htb 1:a parent 1:1 leaf 8003: prio 3 rate 100Mbit ceil 100Mbit burst 1600b cburst 1600b 
 Sent 1234 bytes 17 pkt (dropped 2, overlimits 5 requeues 0) 
 backlog 0b 0p requeues 0
";
        let stats = parse_class_stats(text);
        assert_eq!(stats.len(), 1);
        assert_eq!(stats[&(1, 10)], ClassStats { bytes: 1234, packets: 17, dropped: 2 });
    }
}

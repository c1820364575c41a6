// SPDX-License-Identifier: GPL-2.0-only

//! Packets and bytes are those that the kernel counts; each segment of a GRO or GSO packet counts.

use crate::common::command::{json, Said, MS};
use crate::common::listener::{Listener, Place};
use lab::{traffic, Amount, Flow, Lab, Netns, Pattern, Plan, Server, Subscriber, UdpReceiver, ETH};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::thread::sleep;

/// Packets and bytes.
type PacketsAndBytes = [u64; 2];

/// Returns the packets and bytes that an interface has received and sent.
fn of_interface(place: &Place) -> [PacketsAndBytes; 2] {
    let said =
        Said::by(place.netns.command("ip").args(["-j", "-s", "link", "show", "dev", &place.dev]));
    let stats = &json(&said.out)[0]["stats64"];
    ["rx", "tx"].map(|way| ["packets", "bytes"].map(|what| stats[way][what].as_u64().unwrap()))
}

fn since(now: [PacketsAndBytes; 2], before: [PacketsAndBytes; 2]) -> [PacketsAndBytes; 2] {
    [0, 1].map(|way| [0, 1].map(|what| now[way][what] - before[way][what]))
}

fn add(sum: &mut PacketsAndBytes, counted: &Value) {
    for (sum, what) in sum.iter_mut().zip(["packets", "bytes"]) {
        *sum += counted[what].as_u64().unwrap();
    }
}

/// Returns the records of a listener that aggregates, after some traffic.
fn aggregates(place: &Place, options: &str, traffic: impl FnOnce()) -> Vec<Value> {
    let listener = Listener::on(place, &format!("-F jsonl -a 0.3 {options}"));
    traffic();
    let said = listener.end(Signal::SIGTERM);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    said.out.lines().map(json).collect()
}

/// Sums the counts that `pick` finds in each record.
fn sum<'a>(records: &'a [Value], pick: impl Fn(&'a Value) -> Option<&'a Value>) -> PacketsAndBytes {
    let mut sum = PacketsAndBytes::default();
    for classes in records.iter().filter_map(pick) {
        classes.as_object().unwrap().values().for_each(|counted| add(&mut sum, counted));
    }
    sum
}

/// Sums the packets and bytes that a subnet sent or received.
fn of_subnet(records: &[Value], subnet: &str, stats: &str) -> PacketsAndBytes {
    sum(records, |record| (record["ip_prefix"] == subnet).then(|| &record[stats]))
}

fn all_traffic(records: &[Value]) -> PacketsAndBytes {
    sum(records, |record| record.get("protocol_counters"))
}

#[test]
fn every_packet_and_byte() {
    lab::require_root();
    let lab = Lab::build(Plan::new([Subscriber::new("alice", 1)])).unwrap();
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let server = Server::start(internet.netns(), 0).unwrap();
    let udp = UdpReceiver::start(internet.netns()).unwrap();
    let place = Place::new(alice.netns(), ETH);
    // No GSO packets, not even between TCP and the driver.
    let mut ip = alice.netns().command("ip");
    assert!(ip.args(["link", "set", ETH, "gso_max_segs", "1"]).status().unwrap().success());
    let mut kernel = [PacketsAndBytes::default(); 2];
    let records = aggregates(&place, "--aggregate-timeout 0", || {
        let before = of_interface(&place);
        for address in [internet.v4(), internet.v6()] {
            let flow = Flow::upload(Amount::Bytes(200_000)).rate(1_000_000);
            traffic::run(alice.netns(), &server, address, &flow).unwrap();
        }
        let target = SocketAddr::new(internet.v4(), udp.port());
        traffic::send_udp(alice.netns(), target, 500, 100, 200 * MS).unwrap();
        sleep(200 * MS);
        kernel = since(of_interface(&place), before);
    });
    let [received, sent] = kernel;
    let total = [received[0] + sent[0], received[1] + sent[1]];
    assert_eq!(all_traffic(&records), total, "{records:#?}");
    let both = |a: PacketsAndBytes, b: PacketsAndBytes| [a[0] + b[0], a[1] + b[1]];
    // Each packet counts for its sender and for its receiver.
    for (of_internet, of_alice, kernel) in
        [("rx_stats", "tx_stats", received), ("tx_stats", "rx_stats", sent)]
    {
        let (v4, v6) = ("192.0.2.0/24", "2001:db8::/48");
        let far = both(of_subnet(&records, v4, of_internet), of_subnet(&records, v6, of_internet));
        assert_eq!(far, kernel, "{of_internet} {records:#?}");
        let (v4, v6) = ("100.64.1.0/24", "fd00:64:1::/48");
        let near = both(of_subnet(&records, v4, of_alice), of_subnet(&records, v6, of_alice));
        assert_eq!(near, kernel, "{of_alice} {records:#?}");
    }
    let ecn = records.iter().filter_map(|record| record["ecn_counters"]["no_ECT"].as_u64());
    assert_eq!(ecn.sum::<u64>(), total[0]);
}

/// Returns how many TCP segments a namespace has sent.
fn segments(netns: &Netns) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let snmp = netns.run(read).unwrap();
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    // OutSegs leaves the segments that were sent again out (RFC 4022).
    let sent = names.zip(values).filter(|(name, _)| ["OutSegs", "RetransSegs"].contains(name));
    sent.map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

/// Makes a pair of hosts with all offloads on: GSO packets are on the wire.
fn offloading_pair() -> [Netns; 2] {
    let ends = [Netns::new().unwrap(), Netns::new().unwrap()];
    let far = ends[1].path();
    let lines = [
        format!("ip link add {ETH} type veth peer name {ETH} netns {}", far.display()),
        format!("ip addr add 10.11.1.1/24 dev {ETH}"),
    ];
    let say = |end: usize, line: &str| {
        let mut words = line.split(' ');
        let said = Said::by(ends[end].command(words.next().unwrap()).args(words));
        assert_eq!(said.code, 0, "{line}: {said:?}");
    };
    lines.iter().for_each(|line| say(0, line));
    say(1, &format!("ip addr add 10.11.1.2/24 dev {ETH}"));
    [0, 1].into_iter().for_each(|end| say(end, &format!("ip link set {ETH} up")));
    ends
}

#[test]
fn segments_of_super_packets() {
    lab::require_root();
    let ends = offloading_pair();
    let server = Server::start(&ends[1], 0).unwrap();
    let place = Place::new(&ends[0], ETH);
    let (mut kernel, mut on_the_wire) = (0, [PacketsAndBytes::default(); 2]);
    let records = aggregates(&place, "", || {
        let sent = || ends.iter().map(segments).sum::<u64>();
        let before = (sent(), of_interface(&place));
        let address = "10.11.1.2".parse().unwrap();
        for pattern in [Pattern::Upload, Pattern::Download] {
            let flow = Flow::new(pattern(Amount::Bytes(5_000_000)));
            traffic::run(&ends[0], &server, address, &flow).unwrap();
        }
        sleep(200 * MS);
        kernel = sent() - before.0;
        on_the_wire = since(of_interface(&place), before.1);
    });
    let tcp = sum(&records, |record| record.get("protocol_counters"));
    let of_tcp: u64 = records
        .iter()
        .filter_map(|record| record["protocol_counters"]["TCP"]["packets"].as_u64())
        .sum();
    assert_eq!(of_tcp, kernel, "{records:#?}");
    assert!(on_the_wire[0][0] + on_the_wire[1][0] < kernel / 2, "super-packets: {on_the_wire:?}");
    // The bytes are those on the wire, where a GSO packet has one header for all its segments.
    assert_eq!(tcp[1], on_the_wire[0][1] + on_the_wire[1][1], "{records:#?}");
}

/// Returns the RTT events of a listener without aggregates, after some traffic.
fn rtts(place: &Place, options: &str, traffic: impl FnOnce()) -> Vec<Value> {
    let listener = Listener::on(place, &format!("-F jsonl -r 0 {options}"));
    traffic();
    sleep(200 * MS);
    let said = listener.end(Signal::SIGTERM);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    said.out.lines().map(json).filter(|event| event["rtt"].is_u64()).collect()
}

/// The bytes of a flow are TCP payload, that of GSO packets included; nothing of the pure ACKs counts.
#[test]
fn payload_of_flows() {
    lab::require_root();
    const BYTES: u64 = 5_000_000;
    let ends = offloading_pair();
    let server = Server::start(&ends[1], 0).unwrap();
    let place = Place::new(&ends[0], ETH);
    let events = rtts(&place, "", || {
        let flow = Flow::upload(Amount::Bytes(BYTES));
        traffic::run(&ends[0], &server, "10.11.1.2".parse().unwrap(), &flow).unwrap();
    });
    let last = events.iter().rfind(|event| event["src_ip"] == "10.11.1.2").unwrap();
    let [sent, received] = ["sent_bytes", "rec_bytes"].map(|name| last[name].as_u64().unwrap());
    // The last bytes may come after the last sample, and what is sent again counts again.
    assert!((BYTES / 2..=2 * BYTES).contains(&sent), "{last}");
    assert!(received < 100 && last["rec_packets"].as_u64().unwrap() > 20, "{last}");
}

/// The bytes of an ICMP flow are those behind the header of each echo. The host's own requests are measured.
#[test]
fn payload_of_echoes() {
    lab::require_root();
    lab::require_tool("ping");
    let ends = offloading_pair();
    let place = Place::new(&ends[0], ETH);
    for size in [0, 100] {
        let events = rtts(&place, "-C", || {
            let mut ping = ends[0].command("ping");
            let size = size.to_string();
            assert_eq!(Said::by(ping.args(["-c3", "-i0.1", "-s", &size, "10.11.1.2"])).code, 0);
        });
        let counts: Vec<_> = events
            .iter()
            .map(|event| ["sent_bytes", "rec_bytes"].map(|name| event[name].as_u64().unwrap()))
            .collect();
        assert_eq!(counts, [1, 2, 3].map(|time| [time * size; 2]), "{events:?}");
    }
}

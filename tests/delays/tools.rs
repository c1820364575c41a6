// SPDX-License-Identifier: GPL-2.0-only

//! Four measurements of the same traffic: pping live, pping of tcpdump's capture, tshark and tcptrace.
//!
//! They measure the same thing where every answer is sent at once: in question and answer without a
//! pause, and in bulk transfers, of which every second segment is acknowledged as it arrives. Elsewhere
//! they do not, and there is no such traffic here:
//!
//! * A delayed ACK answers several segments. It echoes the timestamp of the first of them (RFC 7323, 4.3),
//!   so pping's RTT has the delay in it; tshark and tcptrace take the last, whose wait is shorter.
//! * tshark and tcptrace take each segment, pping the first of each TSval, two of which are under way at
//!   once: it has fewer samples. A retransmitted segment has a TSval of its own; tcptrace leaves it out.
//! * tcptrace cuts its samples to whole milliseconds.

use crate::common::command::{program, Said, MS};
use crate::common::events::{array, median};
use crate::common::listener::{Listener, Place};
use crate::common::patience::agree;
use crate::common::recording::Recording;
use crate::live::turn;
use lab::{traffic, Amount, Flow, Lab, Plan, Server, Subscriber, LAN};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

/// Who answered, and whom: addresses and ports.
type FlowName = (IpAddr, u16, IpAddr, u16);
/// RTTs in milliseconds.
type Rtts = BTreeMap<FlowName, Vec<f64>>;

fn of_pping(events: &[Value]) -> Rtts {
    let mut rtts = Rtts::new();
    for event in events.iter().filter(|event| event["rtt"].is_u64()) {
        let ip = |name: &str| event[name].as_str().unwrap().parse().unwrap();
        let port = |name: &str| event[name].as_u64().unwrap() as u16;
        let flow = (ip("src_ip"), port("src_port"), ip("dest_ip"), port("dest_port"));
        rtts.entry(flow).or_default().push(event["rtt"].as_f64().unwrap() / 1e6);
    }
    rtts
}

/// The ACK's sender is who answered.
fn of_tshark(capture: &Path) -> Rtts {
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-Y", "tcp.analysis.ack_rtt", "-T", "fields", "-E", "separator=,", "-r"])
        .arg(capture);
    let ends = ["ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport"];
    for field in ends.into_iter().chain(["tcp.analysis.ack_rtt"]) {
        command.args(["-e", field]);
    }
    let said = Said::by(&mut command);
    assert_eq!(said.code, 0, "{said:?}");
    let mut rtts = Rtts::new();
    for line in said.out.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        // One of the two families is empty.
        let ip = |at: usize| [fields[at], fields[at + 1]].concat().parse().unwrap();
        let port = |at: usize| fields[at].parse().unwrap();
        let rtt: f64 = fields[6].parse().unwrap();
        rtts.entry((ip(0), port(2), ip(3), port(5))).or_default().push(rtt * 1000.0);
    }
    rtts
}

/// It calls the ends of its connections a, b, c, …, and writes the RTTs of a's segments, which b
/// answered, into a2b_rttraw.dat: a sequence number and milliseconds a line.
fn of_tcptrace(capture: &Path) -> Rtts {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new("tcptrace");
    let said = Said::by(command.args(["-lrn", "-Z"]).arg(capture).current_dir(folder.path()));
    assert_eq!(said.code, 0, "{said:?}");
    let mut hosts = BTreeMap::new();
    for line in said.out.lines() {
        let Some((letters, end)) =
            line.trim().strip_prefix("host ").and_then(|host| host.split_once(':'))
        else {
            continue;
        };
        let (ip, port) = end.trim().rsplit_once(':').unwrap();
        hosts.insert(letters.to_owned(), (ip.parse().unwrap(), port.parse().unwrap()));
    }
    let mut rtts = Rtts::new();
    for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        let Some((asked, answered)) =
            name.strip_suffix("_rttraw.dat").and_then(|ends| ends.split_once('2'))
        else {
            continue;
        };
        let ((dst, dst_port), (src, src_port)) = (hosts[asked], hosts[answered]);
        let text = fs::read_to_string(file.path()).unwrap();
        let of_line = |line: &str| line.split_whitespace().nth(1).unwrap().parse().unwrap();
        rtts.insert((src, src_port, dst, dst_port), text.lines().map(of_line).collect());
    }
    rtts
}

/// Question and answer and a bulk transfer each way, on a shaper's LAN: both sides of it.
fn traffic(lab: &Lab, server: &Server) {
    let [v4, v6] = [lab.internet().v4(), lab.internet().v6()];
    let talk = Flow::request_response(30, Duration::ZERO);
    let amount = Amount::Bytes(1_500_000);
    let [upload, download] = [Flow::upload(amount), Flow::download(amount)];
    // Two segments in a millisecond and a half.
    let flows =
        [(v4, talk), (v6, talk), (v4, download.rate(2_000_000)), (v6, upload.rate(2_000_000))];
    let alice = lab.subscriber("alice").netns();
    for (address, flow) in flows {
        traffic::run(alice, server, address, &flow).unwrap();
    }
    sleep(200 * MS);
}

/// Returns the medians of the flows with enough RTTs.
fn medians(rtts: Rtts) -> BTreeMap<FlowName, f64> {
    let enough = rtts.into_iter().filter(|(_, rtts)| rtts.len() >= 10);
    enough.map(|(flow, rtts)| (flow, median(rtts))).collect()
}

#[test]
fn all_tools_agree() {
    lab::require_root();
    ["tcpdump", "tshark", "tcptrace"].into_iter().for_each(lab::require_tool);
    let _turn = turn();
    let alice = Subscriber::new("alice", 1).rtt(15 * MS);
    let lab = Lab::build(Plan::new([alice]).internet_rtt(30 * MS)).unwrap();
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    let (folder, place) = (TempDir::new().unwrap(), Place::of(lab.shaper(), LAN));
    let capture = folder.path().join("capture");
    let listener = Listener::on(&place, "-r 0 -F json");
    let recording = Recording::start(&place, &capture, 128);
    traffic(&lab, &server);
    recording.end();
    let live = of_pping(&array(&listener.end(Signal::SIGINT).out));
    let mut read = Command::new(program("pping"));
    let read = Said::by(read.arg("--read").arg(&capture).args(["-r", "0", "-F", "json"]));
    let read = of_pping(&array(&read.out));
    assert!(live.keys().eq(read.keys()), "{live:?}\n{read:?}");
    for (flow, rtts) in &live {
        // Both measured the same packets. Times in a capture are in microseconds, so a few RTTs may differ.
        assert!(
            rtts.len().abs_diff(read[flow].len()) <= 1 + rtts.len() / 50,
            "{flow:?}: {rtts:?} {:?}",
            read[flow]
        );
    }
    let live = medians(live);
    // Both sides of both conversations, and the receivers of the two transfers.
    assert_eq!(live.len(), 6, "{live:?}");
    for (name, rtts) in
        [("--read", read), ("tshark", of_tshark(&capture)), ("tcptrace", of_tcptrace(&capture))]
    {
        let others = medians(rtts);
        assert!(live.keys().eq(others.keys()), "{name}: {live:#?} {others:#?}");
        for (flow, median) in &live {
            println!("{name} {flow:?}: {median:.3} {:.3}", others[flow]);
            assert!(agree(*median, others[flow]), "{name}: {flow:?}: {median} {}", others[flow]);
        }
    }
}

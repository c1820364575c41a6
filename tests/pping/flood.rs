// SPDX-License-Identifier: GPL-2.0-only

//! A flood of half-open flows: memory stays bounded, and an established flow is measured meanwhile.

use crate::common::command::{json, program};
use crate::common::events::{flow_events, rtts_of};
use lab::packet::{hosts, Packet, PacketLayout, Tcp, ACK, PSH, SYN};
use nix::libc;
use serde_json::Value;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The number of flows that are never established. One of `ANSWERED` gets an answer.
const SYNS: u32 = 1_000_000;
const ANSWERED: u32 = 4;
/// The time between two of these flows.
const SPACE: Duration = Duration::from_micros(10);
/// The time between two exchanges of the established flow, and the time to the answer.
const EXCHANGE: Duration = Duration::from_millis(25);
const RTT: Duration = Duration::from_millis(20);
/// The memory that the flood may take, in bytes: that of two flows for each place of the table.
const GROWTH: u64 = 128 << 20;
/// The text in every line about the established flow.
const ESTABLISHED: &str = "\"100.64.1.1\"";

/// Writes a pcap capture with nanoseconds.
struct Writer<W: Write>(W);

impl<W: Write> Writer<W> {
    fn begin(mut out: W) -> Self {
        let words: [u32; 6] = [0xA1B2_3C4D, 4 << 16 | 2, 0, 0, 65_535, 1];
        words.iter().for_each(|word| out.write_all(&word.to_le_bytes()).unwrap());
        Self(out)
    }

    fn packet(&mut self, at: Duration, frame: &[u8]) {
        let length = frame.len() as u32;
        let time = [1_700_000_000 + at.as_secs() as u32, at.subsec_nanos()];
        for word in [time[0], time[1], length, length] {
            self.0.write_all(&word.to_le_bytes()).unwrap();
        }
        self.0.write_all(frame).unwrap();
    }
}

/// Returns a segment of the established flow.
fn segment(flags: u8, from_alice: bool, value: u32, echo: u32, payload: usize) -> Vec<u8> {
    let tcp = Tcp::new(40_000, 443).flags(flags).timestamps(value, echo);
    let packet = Packet::new(hosts::ALICE, hosts::SERVER).tcp(tcp).payload(payload);
    if from_alice { packet } else { packet.reply() }.build()
}

/// A SYN from an address that sends nothing else, and the answer to it.
struct Stranger {
    syn: Vec<u8>,
    answer: Vec<u8>,
    layout: PacketLayout,
}

impl Stranger {
    fn new() -> Self {
        let somebody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let syn =
            Packet::new(somebody, hosts::SERVER).tcp(Tcp::new(0, 443).flags(SYN).timestamps(1, 0));
        let answer = Tcp::new(443, 0).flags(SYN | ACK).timestamps(1, 1);
        let answer = Packet::new(hosts::SERVER, somebody).tcp(answer);
        Self { syn: syn.build(), answer: answer.build(), layout: syn.layout() }
    }

    /// Changes the address and the port. The checksums become wrong, which pping does not check.
    fn become_number(&mut self, number: u32) {
        let (address, port) = (0x0B00_0000 + number, 1024 + (number % 60_000) as u16);
        let PacketLayout { network, transport, .. } = self.layout;
        self.syn[network + 12..][..4].copy_from_slice(&address.to_be_bytes());
        self.answer[network + 16..][..4].copy_from_slice(&address.to_be_bytes());
        self.syn[transport..][..2].copy_from_slice(&port.to_be_bytes());
        self.answer[transport + 2..][..2].copy_from_slice(&port.to_be_bytes());
    }
}

/// Writes the flood and the established flow; returns the number of the flow's exchanges.
fn play(out: impl Write, syns: u32) -> usize {
    let mut out = Writer::begin(BufWriter::with_capacity(1 << 16, out));
    let handshake = [(SYN, true, 1, 0), (SYN | ACK, false, 1, 1), (ACK, true, 2, 1)];
    for (at, (flags, from_alice, value, echo)) in (0..).zip(handshake) {
        let frame = segment(flags, from_alice, value, echo, 0);
        out.packet(Duration::from_millis(at), &frame);
    }
    let flood = |number: u32| Duration::from_millis(10) + SPACE * number;
    let (mut number, mut exchanges, mut stranger) = (0, 0, Stranger::new());
    let mut until = |time: Duration, out: &mut Writer<_>| {
        while number < syns && flood(number) < time {
            stranger.become_number(number);
            out.packet(flood(number), &stranger.syn);
            if number % ANSWERED == 0 {
                out.packet(flood(number), &stranger.answer);
            }
            number += 1;
        }
    };
    while EXCHANGE * exchanges < SPACE * SYNS {
        exchanges += 1;
        let (at, value) = (EXCHANGE * exchanges, 10 + exchanges);
        until(at, &mut out);
        out.packet(at, &segment(PSH | ACK, true, value, exchanges, 100));
        until(at + RTT, &mut out);
        out.packet(at + RTT, &segment(ACK, false, 1 + exchanges, value, 0));
    }
    exchanges as usize
}

/// The output of a replay.
struct ReplayProcess {
    events: Vec<Value>,
    err: String,
    /// The largest memory of the process, in bytes.
    memory: u64,
    exchanges: usize,
}

impl ReplayProcess {
    /// Replays `syns` half-open flows. Measures handshakes, too, so that each SYN waits for its answer.
    fn new(syns: u32) -> Self {
        let mut command = Command::new(program("pping"));
        command.args("--read - -F jsonl -r 0 --include-SYN".split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[allow(clippy::zombie_processes, reason = "wait4 is what waits")]
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || play(stdin, syns));
        let out = BufReader::new(child.stdout.take().unwrap());
        // Parse only the lines of interest: parsing a million lines would take longer than printing them.
        let of_interest = |line: &String| line.contains(ESTABLISHED) || line.contains("lost");
        let lines = out.lines().map(Result::unwrap).filter(of_interest);
        let events = lines.map(|line| json(&line)).collect();
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let exchanges = writer.join().unwrap();
        Self { events, err, memory: wait(child.id()), exchanges }
    }
}

/// Waits for a child that must succeed; returns its largest memory in bytes.
fn wait(pid: u32) -> u64 {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: nothing else waits for this child; the kernel fills both structs.
    let usage = unsafe {
        libc::wait4(pid as i32, &mut status, 0, usage.as_mut_ptr());
        usage.assume_init()
    };
    assert_eq!(status, 0);
    usage.ru_maxrss as u64 * 1024
}

#[test]
fn an_established_flow_is_measured_all_the_while() {
    lab::require_root();
    let (quiet, flooded) = (ReplayProcess::new(0), ReplayProcess::new(SYNS));
    println!("{} MiB, {} MiB in the flood", quiet.memory >> 20, flooded.memory >> 20);
    assert!(flooded.memory < quiet.memory + GROWTH, "{} {}", quiet.memory, flooded.memory);
    let summaries = [&quiet, &flooded].map(|replay| replay.err.as_str());
    let packets = 3 + 2 * quiet.exchanges;
    let start = format!("{packets} packets read, {packets} measured");
    assert!(summaries[0].starts_with(&start), "{summaries:?}");
    assert!(summaries.iter().all(|text| text.lines().count() == 1), "{summaries:?}");
    for replay in [quiet, flooded] {
        // One more RTT, of 1 ms, is the handshake's.
        let rtts = rtts_of(&replay.events, hosts::SERVER);
        let exact = rtts.iter().filter(|rtt| (**rtt - 20.0).abs() < 0.1).count();
        assert_eq!((exact, rtts.len()), (replay.exchanges, replay.exchanges + 1), "{rtts:?}");
        assert_eq!(flow_events(&replay.events, "opening"), ["SYN by dest", "SYN-ACK by dest"]);
        assert_eq!(flow_events(&replay.events, "closing"), [""; 0]);
    }
}

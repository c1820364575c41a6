// SPDX-License-Identifier: GPL-2.0-only

//! A reload under traffic loses no packet.

use crate::caller::{compat_tree, Caller};
use crate::common::command::MS;
use crate::common::shaper::{cpumap_threads, map_id, Shaper};
use crate::traffic_lab;
use lab::{traffic, Flow, Host, HostLink, Lab, Netns, Pattern, Server, UdpReceiver, LAN, WAN};
use std::net::{SocketAddr, UdpSocket};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::Instant;

/// Packets sent and lost while something was done.
#[derive(Debug)]
pub struct Toll {
    /// Numbered UDP packets, both directions.
    pub sent: u64,
    pub lost: u64,
    /// Frames of all traffic into the shaper and out of it.
    pub frames: [u64; 2],
}

/// Tells the streams when to rest and when to stop.
#[derive(Default)]
pub struct Conductor {
    stop: AtomicBool,
    rest: AtomicBool,
}

impl Conductor {
    /// Runs `work` while the numbered packets pause; none of them is under way then.
    fn resting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.rest.store(true, Relaxed);
        sleep(50 * MS);
        let result = work();
        self.rest.store(false, Relaxed);
        result
    }

    /// Sends 1000 packets a second from `from` until told to stop; returns how many.
    fn send(&self, from: &Netns, target: SocketAddr) -> u64 {
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(target).unwrap();
            let (mut due, mut sent) = (Instant::now(), 0u64);
            while !self.stop.load(Relaxed) {
                due += MS;
                sleep(due.saturating_duration_since(Instant::now()));
                if self.rest.load(Relaxed) {
                    continue;
                }
                let mut packet = [0; 200];
                packet[..8].copy_from_slice(&sent.to_be_bytes());
                socket.send(&packet).unwrap();
                sent += 1;
            }
            sent
        };
        from.run(send).unwrap()
    }

    /// Makes short connections, one after the other, until told to stop.
    fn connect(&self, lab: &Lab, server: &Server, flow: &Flow) {
        let (alice, internet) = (lab.subscriber("alice"), lab.internet());
        while !self.stop.load(Relaxed) {
            let report = traffic::run(alice.netns(), server, internet.v4(), flow).unwrap();
            assert_eq!(report.bytes, 20 * 500);
        }
    }
}

/// Returns how many frames of the two hosts went into the shaper and out of it.
fn frames(lab: &Lab) -> [u64; 2] {
    let links = [lab.subscriber("alice").link(), lab.internet().link()];
    let sum = |of: fn(&HostLink) -> u64| links.iter().map(|link| of(link)).sum();
    [
        sum(|link| link.to_shaper.counters().forwarded),
        sum(|link| link.from_shaper.counters().forwarded),
    ]
}

/// Runs `work` beside a UDP stream of constant rate and TCP connections, in both directions.
pub fn under_traffic(lab: &Lab, server: &Server, work: impl FnOnce(&Conductor)) -> Toll {
    let (alice, internet) = (lab.subscriber("alice"), lab.internet());
    let (conductor, before) = (Conductor::default(), frames(lab));
    let (count, interval, segment) = (20, 5 * MS, 500);
    let flows = [
        Flow::new(Pattern::PacedDownload { segment, interval, count }),
        Flow::new(Pattern::PacedUpload { segment, interval, count }),
    ];
    let (sent, lost) = thread::scope(|scope| {
        let conductor = &conductor;
        let stream = |from: &'_ Host, to: &'_ Host| {
            let receiver = UdpReceiver::start(to.netns()).unwrap();
            let target = SocketAddr::new(to.v4(), receiver.port());
            let sent = conductor.send(from.netns(), target);
            (sent, receiver.finish(sent, 300 * MS).unwrap().lost)
        };
        let streams = [(alice, internet), (internet, alice)]
            .map(|(from, to)| scope.spawn(move || stream(from, to)));
        let transfers =
            flows.map(|flow| scope.spawn(move || conductor.connect(lab, server, &flow)));
        sleep(200 * MS);
        let done = catch_unwind(AssertUnwindSafe(|| work(conductor)));
        sleep(200 * MS);
        conductor.stop.store(true, Relaxed);
        let streams = streams.map(|stream| stream.join().unwrap());
        transfers.into_iter().for_each(|transfer| transfer.join().unwrap());
        done.unwrap_or_else(|panic| resume_unwind(panic));
        streams.iter().fold((0, 0), |sum, (sent, lost)| (sum.0 + sent, sum.1 + lost))
    });
    let after = frames(lab);
    Toll { sent, lost, frames: [0, 1].map(|way| after[way] - before[way]) }
}

#[test]
fn a_reload_loses_no_packet() {
    lab::require_root();
    let ((lab, server), tree) = (traffic_lab(), compat_tree());
    let shaper = lab.shaper();
    let mut caller = Caller::new(shaper, tree.path());
    caller.libreqos(|tc| tc());
    caller.wait_for_the_storm();
    let facts = || {
        let cpus = shaper.map("cpu_map");
        let programs = [LAN, WAN].map(|dev| shaper.xdp(dev).unwrap().0);
        (cpumap_threads(map_id(&cpus)), shaper.pins(), programs)
    };
    let (threads, pins, programs) = facts();
    assert_eq!(threads.len(), 2, "a thread for each CPU");
    // Our commands of the sequence, under all traffic.
    let toll = under_traffic(&lab, &server, |_| {
        caller.reload();
        caller.storm();
        caller.wait_for_the_storm();
    });
    assert_eq!(toll.lost, 0, "{toll:?}");
    assert_eq!(toll.frames[0], toll.frames[1], "TCP included: {toll:?}");
    assert!(toll.sent > 500, "{toll:?}");
    // The whole sequence. The kernel loses packets while it exchanges a root qdisc (the device runs on noop meanwhile). So
    // the numbered packets pause there; TCP does not.
    let toll = under_traffic(&lab, &server, |conductor| {
        caller.libreqos(|tc| conductor.resting(tc));
        caller.wait_for_the_storm();
    });
    assert_eq!(toll.lost, 0, "{toll:?}");
    assert!(toll.sent > 500, "{toll:?}");
    let (threads_after, pins_after, programs_after) = facts();
    assert_eq!(threads_after, threads, "the cpumap's threads are the same");
    assert_eq!(pins_after, pins);
    assert!(programs_after.iter().all(|id| !programs.contains(id)), "new programs");
    assert_eq!(lab.dropped_frames(), 0);
}

// SPDX-License-Identifier: GPL-2.0-only

//! Known delays, heard by every hook and behind every header.

use crate::common::command::MS;
use crate::common::echo::echo_in_turn;
use crate::common::events::{flow_events, least, median, rtts_of};
use crate::common::listener::{hear, Place};
use crate::common::patience::{agree, ms, patiently};
use lab::{
    traffic, Encapsulation, Flow, Host, Lab, Netns, Plan, Server, Subscriber, TunLine, ETH, LAN,
    TUN,
};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{scope, sleep};
use std::time::Duration;

const SUBSCRIBER: Duration = Duration::from_millis(15);
const INTERNET: Duration = Duration::from_millis(30);
const EXCHANGES: u32 = 30;
/// The least number of samples of these exchanges. An exchange gives no sample if it begins in the millisecond in which
/// the answer before it was acknowledged: then it has the TSval of that acknowledgement.
const SAMPLES: usize = 24;

pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab with Alice, 15 ms from the shaper, and the internet, 30 ms behind it.
struct DelayedLab {
    server: Server,
    lab: Lab,
    _turn: MutexGuard<'static, ()>,
}

impl DelayedLab {
    fn new(encapsulation: &Encapsulation) -> Self {
        let turn = turn();
        let alice = Subscriber::new("alice", 1).rtt(SUBSCRIBER);
        let mut plan = Plan::new([alice]).internet_rtt(INTERNET);
        if !encapsulation.is_none() {
            plan = plan.encapsulation(encapsulation);
        }
        let lab = Lab::build(plan).unwrap();
        let server = Server::start(lab.internet().netns(), 0).unwrap();
        Self { server, lab, _turn: turn }
    }

    fn alice(&self) -> &Host {
        self.lab.subscriber("alice")
    }

    /// Returns Alice's own interface.
    fn at_alice(&self) -> Place {
        Place::new(self.alice().netns(), ETH)
    }

    /// Runs a connection over each family: request, answer, request, answer.
    fn talk(&self) {
        let flow = Flow::request_response(EXCHANGES, Duration::ZERO);
        let run = |address| traffic::run(self.alice().netns(), &self.server, address, &flow);
        both([self.lab.internet().v4(), self.lab.internet().v6()], |address| {
            run(address).unwrap();
        });
        // The FINs are still on their way.
        sleep(2 * (SUBSCRIBER + INTERNET));
    }
}

/// Runs both families at once.
fn both(addresses: [IpAddr; 2], run: impl Fn(IpAddr) + Sync) {
    let run = &run;
    scope(|threads| {
        for address in addresses {
            threads.spawn(move || run(address));
        }
    });
}

/// Checks the RTTs of a host: at least `count` of them, none below the delay, the median as close as the contract says.
fn check(events: &[Value], host: IpAddr, delay: Duration, count: usize) -> Result<(), String> {
    let rtts = rtts_of(events, host);
    assert!(rtts.len() >= count, "{host}: {} RTTs: {events:#?}", rtts.len());
    assert!(least(&rtts) > ms(delay) - 0.1, "{host}: {rtts:?}");
    match (least(&rtts), median(rtts)) {
        (least, median) if agree(least, ms(delay)) && agree(median, ms(delay)) => Ok(()),
        (least, median) => {
            Err(format!("{host}: median {median} ms, at least {least} ms, for {delay:?}"))
        }
    }
}

/// Starts a listener for each of the options and asserts that each hears the RTTs of all the hosts. Returns their events.
fn all_hear<const N: usize>(
    place: &Place,
    options: [&str; N],
    hosts: &[(IpAddr, Duration)],
    traffic: impl Fn(),
) -> Vec<Vec<Value>> {
    let mut heard = Vec::new();
    patiently(|| {
        heard = hear(place, options, &traffic).into();
        let mut each = heard
            .iter()
            .flat_map(|events: &Vec<Value>| hosts.iter().map(move |host| (events, host)));
        each.try_for_each(|(events, (host, delay))| check(events, *host, *delay, SAMPLES))
    });
    heard
}

/// Asserts that both hooks hear the RTTs of both sides on a shaper's interface, in this encapsulation.
fn check_encapsulation(encapsulation: &Encapsulation) {
    lab::require_root();
    let scene = DelayedLab::new(encapsulation);
    let (alice, internet) = (scene.alice(), scene.lab.internet());
    let hosts = [
        (alice.v4(), SUBSCRIBER),
        (alice.v6(), SUBSCRIBER),
        (internet.v4(), INTERNET),
        (internet.v6(), INTERNET),
    ];
    let place = Place::of(scene.lab.shaper(), LAN);
    for events in all_hear(&place, ["-r 0", "-r 0 -I xdp -x native"], &hosts, || scene.talk()) {
        assert!(events.iter().all(|event| event["protocol"] == "TCP"), "{events:#?}");
        // Both directions of two connections.
        let mut opened = flow_events(&events, "opening");
        opened.sort();
        let reasons = ["SYN by dest", "SYN by dest", "SYN-ACK by dest", "SYN-ACK by dest"];
        assert_eq!(opened, reasons, "{events:#?}");
        assert_eq!(flow_events(&events, "closing").len(), 4, "{events:#?}");
    }
}

lab::test_encapsulations!(check_encapsulation);

/// On a host, pping measures the other hosts, and the host itself only with --include-local.
#[test]
fn a_host_and_its_own_answers() {
    lab::require_root();
    let scene = DelayedLab::new(&Encapsulation::none());
    let hosts = [scene.lab.internet().v4(), scene.lab.internet().v6()];
    let far = hosts.map(|host| (host, SUBSCRIBER + INTERNET));
    let own = [scene.alice().v4(), scene.alice().v6()];
    let options = ["-r 0", "-r 0 --include-local", "-r 0 -l --ingress-hook xdp"];
    let heard = all_hear(&scene.at_alice(), options, &far, || scene.talk());
    for host in own {
        let rtts = [0, 1, 2].map(|listener| rtts_of(&heard[listener], host));
        assert!(rtts[0].is_empty(), "{rtts:?}");
        for rtts in &rtts[1..] {
            assert!(rtts.len() >= SAMPLES && least(rtts) < 1.0, "{rtts:?}");
        }
    }
    let all = ["-r 0 -I xdp -x generic"];
    all_hear(&scene.at_alice(), all, &far, || scene.talk());
}

/// Handshakes are measured only with --include-SYN.
#[test]
fn handshakes() {
    lab::require_root();
    let scene = DelayedLab::new(&Encapsulation::none());
    let [plain, syn] = hear(&scene.at_alice(), ["-r 0", "-r 0 -s"], || scene.talk());
    let of_syn = |events: &[Value]| {
        let first = |event: &&Value| event["sent_packets"] == 1 && event["rec_packets"] == 1;
        events.iter().filter(first).count()
    };
    assert_eq!((of_syn(&plain), of_syn(&syn)), (0, 2), "{plain:#?}");
    let rtts = |events: &[Value]| events.iter().filter(|event| event["rtt"].is_u64()).count();
    assert_eq!(rtts(&syn), rtts(&plain) + 2, "one for each connection");
}

/// Returns the distances between a flow's RTT events in milliseconds.
fn distances(events: &[Value], host: IpAddr) -> Vec<f64> {
    let host = host.to_string();
    let rtts =
        events.iter().filter(|event| event["src_ip"] == host.as_str() && event["rtt"].is_u64());
    let times: Vec<_> = rtts.filter_map(|event| event["timestamp"].as_u64()).collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect()
}

#[test]
fn rate_limits() {
    lab::require_root();
    let scene = DelayedLab::new(&Encapsulation::none());
    let host = scene.lab.internet().v4();
    let path = ms(SUBSCRIBER + INTERNET);
    // The default is ten a second. 4 RTTs are 180 ms.
    let options = ["-r 0", "", "-r 250", "-R 4", "--rtt-rate 4 --rtt-type smoothed"];
    let heard = hear(&scene.at_alice(), options, || scene.talk());
    for (events, least_distance) in heard.iter().zip([path, 100.0, 250.0, 4.0 * path, 4.0 * path]) {
        let (distances, total) = (distances(events, host), f64::from(EXCHANGES) * path);
        assert!(least(&distances) > least_distance - 0.1, "{least_distance}: {distances:?}");
        // The first RTT after the limit is an event, at most one RTT later.
        let many = total / (least_distance + path) - 2.0;
        assert!(distances.len() as f64 >= many, "{least_distance}: {distances:?}");
    }
}

/// Echoes of both families: the identifier stands for the ports, and each request gives a sample.
#[test]
fn echoes() {
    lab::require_root();
    let scene = DelayedLab::new(&Encapsulation::none());
    let hosts = [scene.lab.internet().v4(), scene.lab.internet().v6()];
    let far = hosts.map(|host| (host, SUBSCRIBER + INTERNET));
    let traffic = || {
        both(hosts, |host| echo_in_turn(scene.alice().netns(), host, 2153, EXCHANGES as u16));
        scene.talk();
    };
    let options = ["-r 0 -C", "-r 0 --icmp --tcp -I xdp"];
    let heard = all_hear(&scene.at_alice(), options, &far, traffic);
    let echoes = |events: &[Value], protocol: &str| {
        let of_protocol = |event: &&Value| event["protocol"] == protocol && event["rtt"].is_u64();
        let rtts: Vec<_> = events.iter().filter(of_protocol).cloned().collect();
        assert!(rtts.iter().all(|event| event["src_port"] == event["dest_port"]), "{rtts:#?}");
        rtts.len() as u32
    };
    for events in &heard {
        for protocol in ["ICMP", "ICMPv6"] {
            assert_eq!(echoes(events, protocol), EXCHANGES, "{protocol}: {events:#?}");
        }
    }
    assert!(heard[0].iter().all(|event| event["protocol"] != "TCP"));
    assert!(heard[1].iter().any(|event| event["protocol"] == "TCP"));
}

/// An interface whose packets begin with the IP header.
#[test]
fn without_ethernet() {
    lab::require_root();
    let _turn = turn();
    let delay = 20 * MS;
    let ends = [Netns::new().unwrap(), Netns::new().unwrap()];
    let _line = TunLine::start([&ends[0], &ends[1]], delay).unwrap();
    let server = Server::start(&ends[1], 0).unwrap();
    let far = TunLine::addresses(1).map(|host| (host, delay));
    let place = Place::new(&ends[0], TUN);
    let flow = Flow::request_response(EXCHANGES, Duration::ZERO);
    let talk = || {
        both(far.map(|(host, _)| host), |host| {
            traffic::run(&ends[0], &server, host, &flow).unwrap();
        });
        sleep(2 * delay);
    };
    all_hear(&place, ["-r 0", "-r 0 -I xdp -x generic"], &far, talk);
}

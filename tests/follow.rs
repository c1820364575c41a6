// SPDX-License-Identifier: GPL-2.0-only

//! `xdp_pping --follow`: the stream of a shaper at work. It costs the shaper neither packets nor samples.

mod common;

use common::command::{eventually, json, Said, MS};
use common::shaper::{sandbox_with_devices, Shaper};
use cpumap_pping::abi::skel::cpumap_pping::CpumapPpingSkelBuilder;
use cpumap_pping::abi::{maps, ABI_VERSION};
use cpumap_pping::domain::IfName;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::kernel::tc::tc_attach;
use lab::{traffic, Flow, Lab, Plan, Server, Subscriber, LAN, WAN};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::Duration;

const SUBSCRIBER_MS: u64 = 15;
const INTERNET_MS: u64 = 30;

/// Builds a shaper with one subscriber: class 1:5 on CPU 0.
fn at_work() -> (Lab, Server) {
    let alice = Subscriber::new("alice", 1).rtt(Duration::from_millis(SUBSCRIBER_MS));
    let plan = Plan::new([alice]).internet_rtt(Duration::from_millis(INTERNET_MS));
    let lab = Lab::build(plan).unwrap();
    lab.shaper().attach_both(LAN, WAN);
    for ip in [lab.subscriber("alice").v4(), lab.subscriber("alice").v6()] {
        lab.shaper()
            .ok(&format!("xdp_iphash_to_cpu_cmdline --add --ip {ip} --cpu 0 --classid 1:5"));
    }
    let server = Server::start(lab.internet().netns(), 0).unwrap();
    (lab, server)
}

fn talk(lab: &Lab, server: &Server, ipv6: bool) {
    let address = if ipv6 { lab.internet().v6() } else { lab.internet().v4() };
    let flow = Flow::request_response(40, Duration::ZERO);
    traffic::run(lab.subscriber("alice").netns(), server, address, &flow).unwrap();
    std::thread::sleep(300 * MS); // the FINs are still on their way
}

/// Returns how many classifiers have a follower behind them.
fn followed(lab: &Lab) -> usize {
    libbpf_rs::set_print(None); // libbpf warns of interfaces without clsact
    lab.shaper()
        .run(|| cpumap_pping::stream::source::following::followed(&Default::default()))
        .unwrap()
        .unwrap()
}

/// `xdp_pping --follow` in the shaper's namespace.
struct Follower(Child);

impl Follower {
    fn start(lab: &Lab, options: &str) -> Self {
        let line = format!("xdp_pping --follow {options}");
        let mut command = lab.shaper().prepare(&line);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually(&line, || followed(lab) == 2);
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    fn end(self, signal: Signal) -> Said {
        self.signal(signal);
        Said::from(self.0.wait_with_output().unwrap())
    }
}

fn of_kind<'a>(events: &'a [Value], key: &str, value: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event[key] == value).collect()
}

#[test]
fn events_have_the_class_and_the_side() {
    lab::require_root();
    let (lab, server) = at_work();
    for ipv6 in [false, true] {
        let follower = Follower::start(&lab, "--format json --rate-limit 0");
        talk(&lab, &server, ipv6);
        let said = follower.end(Signal::SIGINT);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let Value::Array(events) = json(&said.out) else { panic!("{}", said.out) };
        for (side, ms) in [("subscriber", SUBSCRIBER_MS), ("internet", INTERNET_MS)] {
            let rtts: Vec<_> = events
                .iter()
                .filter(|event| event["side"] == side)
                .filter_map(|event| event["rtt"].as_u64())
                .collect();
            assert!(rtts.len() >= 8, "{side}: {rtts:?}");
            let least = *rtts.iter().min().unwrap() as f64 / 1e6;
            assert!((least - ms as f64).abs() < 1.0 + 0.05 * ms as f64, "{side}: {least} ms");
        }
        assert!(events.iter().all(|event| event["tc"] == "1:5" && event["protocol"] == "TCP"));
        let opened = of_kind(&events, "flow_event", "opening");
        let reasons: Vec<_> = opened.iter().map(|event| &event["reason"]).collect();
        assert_eq!(reasons, ["SYN", "SYN-ACK"], "{events:?}");
        // Each opening has the time of its own packet, though the shaper's flow table takes no SYN.
        let [syn, syn_ack] = [0, 1].map(|i| opened[i]["timestamp"].as_u64().unwrap());
        let apart = (syn_ack - syn) as f64 / 1e6;
        assert!((29.0..80.0).contains(&apart), "{apart} ms");
        assert!(!of_kind(&events, "flow_event", "closing").is_empty());
        eventually("the kernel empties the array", || followed(&lab) == 0);
    }
}

/// A killed follower leaves nothing behind the classifiers, and the next one can follow.
#[test]
fn a_follower_that_is_killed_is_gone() {
    lab::require_root();
    let (lab, server) = at_work();
    let before = lab.shaper().pins();
    let follower = Follower::start(&lab, "--format jsonl");
    let refused = lab.shaper().call("xdp_pping --follow");
    assert_eq!(
        refused.parts(),
        (1, "", "ERR: --follow: the shaper has a follower already; end it first: pkill -f 'xdp_pping.*--follow'\n")
    );
    follower.end(Signal::SIGKILL);
    eventually("the kernel empties the array", || followed(&lab) == 0);
    let follower = Follower::start(&lab, "--format jsonl -r 0");
    talk(&lab, &server, false);
    let said = follower.end(Signal::SIGTERM);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.lines().count() > 10);
    assert_eq!(lab.shaper().pins(), before, "a follower pins nothing");
}

/// A follower that is refused leaves the file of the one that is running alone.
#[test]
fn a_refused_follower_touches_no_file() {
    lab::require_root();
    let (lab, server) = at_work();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("file");
    let options = format!("--format json -r 0 --write {}", file.display());
    let follower = Follower::start(&lab, &options);
    talk(&lab, &server, false);
    eventually("the events are written", || file.metadata().is_ok_and(|file| file.len() > 1000));
    let refused = lab.shaper().call(&format!("xdp_pping --follow {options}"));
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert_eq!(follower.end(Signal::SIGTERM).parts(), (0, "", ""));
    let Value::Array(events) = json(&std::fs::read_to_string(&file).unwrap()) else { panic!() };
    assert!(events.iter().filter(|event| event["rtt"].is_u64()).count() > 10, "{events:?}");
}

/// A follower that does not read loses events only: no packet, and no sample of the shaper's records.
#[test]
fn a_follower_that_stalls_costs_only_events() {
    lab::require_root();
    let (lab, server) = at_work();
    let follower = Follower::start(&lab, "--format jsonl -r 0");
    follower.signal(Signal::SIGSTOP);
    talk(&lab, &server, false);
    let counted = lab.shaper().counters();
    assert!(counted.of("rtt_subscriber") > 8 && counted.of("rtt_internet") > 8);
    follower.signal(Signal::SIGCONT);
    let said = follower.end(Signal::SIGINT);
    assert_eq!(said.code, 0, "{said:?}");
    let rtts = said.out.lines().filter(|line| line.contains("\"rtt\":")).count() as u64;
    let measured = counted.of("rtt_subscriber") + counted.of("rtt_internet");
    assert!(rtts + 2 >= measured, "{rtts} of {measured}: the ring buffer held them all");
}

/// A reload replaces the programs; the follower joins the new ones.
#[test]
fn a_reload_is_followed() {
    lab::require_root();
    let (lab, server) = at_work();
    let follower = Follower::start(&lab, "--format jsonl -r 0");
    lab.shaper().attach_both(LAN, WAN);
    eventually("the follower joins the new programs", || followed(&lab) == 2);
    talk(&lab, &server, false);
    let said = follower.end(Signal::SIGINT);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.lines().filter(|line| line.contains("\"rtt\":")).count() > 10);
}

/// Writes another ABI version into the pinned `cpp_control`, so that the next load replaces the maps.
fn outdate(lab: &Lab) {
    let (map, key) = (lab.shaper().map(maps::CONTROL), 0u32.to_ne_bytes());
    let mut control = map.lookup(&key, MapFlags::ANY).unwrap().unwrap();
    control[20..24].copy_from_slice(&1u32.to_ne_bytes());
    map.update(&key, &control, MapFlags::ANY).unwrap();
}

/// An upgrade replaces maps and programs; the follower goes on with the new ones.
#[test]
fn an_upgrade_is_followed() {
    lab::require_root();
    let (lab, server) = at_work();
    let follower = Follower::start(&lab, "--format jsonl -r 0");
    outdate(&lab);
    lab.shaper().ok(&format!("tc_classify --dev-egress {LAN}"));
    assert_eq!(followed(&lab), 0, "new classifiers on both interfaces");
    eventually("the follower joins the new programs", || followed(&lab) == 2);
    talk(&lab, &server, false);
    let said = follower.end(Signal::SIGINT);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.lines().filter(|line| line.contains("\"rtt\":")).count() > 10);
}

/// A larger flow table has flows that the follower has no account for.
#[test]
fn a_larger_flow_table_ends_the_stream() {
    lab::require_root();
    let (lab, _server) = at_work();
    let follower = Follower::start(&lab, "--format jsonl -r 0");
    outdate(&lab);
    lab.shaper().ok(&format!("tc_classify --dev-egress {LAN} --flows 524288"));
    let said = Said::from(follower.0.wait_with_output().unwrap());
    let error =
        "ERR: --follow: the flow table has grown from 262144 flows to 524288; start it again\n";
    assert_eq!((said.code, said.err.as_str()), (1, error));
}

/// Classifiers of another version hand packets over in another way.
#[test]
fn a_classifier_of_another_version_ends_the_stream() {
    lab::require_root();
    let (lab, _server) = at_work();
    let follower = Follower::start(&lab, "--format jsonl -r 0");
    let mut storage = MaybeUninit::uninit();
    let mut open = CpumapPpingSkelBuilder::default().open(&mut storage).unwrap();
    let config = &mut open.maps.rodata_data.as_deref_mut().unwrap().config;
    config.abi_version = 3;
    let skel = open.load().unwrap();
    let program = skel.progs.tc_classify.as_fd();
    let dev = IfName::parse("--dev", LAN).unwrap();
    lab.shaper().run(|| tc_attach(&PinDir::default(), &dev, program)).unwrap().unwrap();
    let said = Said::from(follower.0.wait_with_output().unwrap());
    let error = format!(
        "ERR: --follow: the classifiers have ABI version 3 now, not {ABI_VERSION}; start the xdp_pping of the installed \
         version\n"
    );
    assert_eq!((said.code, said.err.as_str()), (1, error.as_str()));
    eventually("no program is left behind the other classifier", || followed(&lab) == 0);
}

#[test]
fn nothing_to_follow_is_one_line() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let said = sandbox.call("xdp_pping --follow");
    assert_eq!(said.code, 22);
    assert!(said.err.starts_with("ERR: ") && said.err.lines().count() == 1, "{said:?}");
    assert_eq!(said.out, "");
}

/// Of two followers that start at once, one is refused: none takes over what the other has entered.
#[test]
fn two_at_once() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    sandbox.attach_both("lan", "wan");
    for _ in 0..5 {
        let start = || {
            let mut command = sandbox.prepare("xdp_pping --follow --format json");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut both = [start(), start()];
        let ended = |child: &mut Child| child.try_wait().unwrap().is_some();
        eventually("one is refused", || both.iter_mut().any(ended));
        let [mut first, second] = both;
        let (refused, running) = if ended(&mut first) { (first, second) } else { (second, first) };
        let refused = Said::from(refused.wait_with_output().unwrap());
        let message = "ERR: --follow: the shaper has a follower already";
        assert!(refused.code == 1 && refused.err.starts_with(message), "{refused:?}");
        kill(Pid::from_raw(running.id() as i32), Signal::SIGTERM).unwrap();
        let said = Said::from(running.wait_with_output().unwrap());
        assert_eq!(said.parts(), (0, "[]\n", ""));
    }
}

/// Every interface takes a file. The soft limit is raised to the hard one; a hard one that is too low is named.
#[test]
fn more_interfaces_than_files() {
    lab::require_root();
    const INTERFACES: usize = 40;
    let sandbox = sandbox_with_devices(1);
    for number in 0..INTERFACES {
        let dev = format!("dev{number}");
        sandbox.ok(&format!("ip link add {dev} type veth"));
        sandbox.ok(&format!("tc_classify --dev-egress {dev}"));
    }
    let follow = |limit: &str| {
        let pping = common::command::program("xdp_pping");
        let line =
            format!("ulimit {limit} && exec timeout -s INT 2 {pping} --follow --format json");
        Said::by(sandbox.command("sh").args(["-c", &line]))
    };
    let hard = follow("-n 45");
    let message = "ERR: --follow: each interface takes an open file, and the limit is 45; raise it: ulimit -n, or \
                   LimitNOFILE= of the unit\n";
    assert_eq!(hard.parts(), (1, "", message));
    let soft = follow("-S -n 45");
    assert_eq!((soft.out.as_str(), soft.err.as_str()), ("[]\n", ""));
}

// SPDX-License-Identifier: GPL-2.0-only

//! Failures and limits: full tables, killed commands, entries that vanish under traffic.

mod common;

use common::command::MS;
use common::shaper::{sandbox_with_devices, Shaper};
use lab::{Lab, Plan, Sandbox, Subscriber, UdpReceiver, LAN, WAN};
use libbpf_rs::{MapCore, MapFlags};
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread::{self, sleep};

/// Loads again and asserts that all of it is there: programs on both hooks, every pin, and commands that work.
fn check_usable(sandbox: &Sandbox) {
    sandbox.attach_both("lan", "wan");
    for dev in ["lan", "wan"] {
        assert!(sandbox.xdp(dev).is_some());
        assert_eq!(sandbox.filters(dev, "egress").len(), 1);
    }
    sandbox.ok("xdp_iphash_to_cpu_cmdline --add --ip 10.0.0.1 --cpu 1 --classid 2:5");
    assert_eq!(sandbox.mappings()["10.0.0.1/32"], (1, "2".into(), "5".into()));
    sandbox.ok("xdp_iphash_to_cpu_cmdline --del --ip 10.0.0.1");
    assert_eq!(sandbox.ok("xdp_pping"), "[\n{}]\n");
    let pins = sandbox.pins();
    for name in cpumap_pping::abi::maps::ALL {
        assert!(pins.iter().any(|pin| pin == name), "{name}: {pins:?}");
    }
}

#[test]
fn a_load_may_be_killed_at_any_time() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let lines = [
        "xdp_iphash_to_cpu --dev lan --lan",
        "tc_classify --dev-egress lan",
        "xdp_iphash_to_cpu --dev wan --wan",
        "tc_classify --dev-egress wan",
    ];
    // The time of one command, to kill the next ones in the middle.
    let started = std::time::Instant::now();
    sandbox.attach_both("lan", "wan");
    let each = started.elapsed() / 4;
    let mut killed = 0;
    for round in 0..50 {
        if round % 10 == 0 {
            // Every tenth load is a first load, not a reload.
            for dev in ["lan", "wan"] {
                sandbox.ok(&format!("ip link set dev {dev} xdp off"));
                sandbox.call(&format!("tc qdisc delete dev {dev} clsact"));
            }
            sandbox.ok("rm -rf /sys/fs/bpf/tc");
        }
        let mut command = sandbox.prepare(lines[round % lines.len()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(each * (round as u32 * 7 % 50) / 60);
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 10 == 9 {
            check_usable(&sandbox);
        }
    }
    assert!(killed >= 25, "only {killed} were killed in time");
    check_usable(&sandbox);
}

#[test]
fn loads_at_the_same_time_do_not_mix() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    thread::scope(|scope| {
        for line in [
            "xdp_iphash_to_cpu --dev lan --lan",
            "xdp_iphash_to_cpu --dev wan --wan",
            "tc_classify --dev-egress lan",
            "tc_classify --dev-egress wan",
            "xdp_iphash_to_cpu --dev lan --lan",
            "tc_classify --dev-egress lan",
        ] {
            let sandbox = &sandbox;
            scope.spawn(move || sandbox.ok(line));
        }
    });
    check_usable(&sandbox);
}

/// The mapping holds as many entries as its size says; one more is refused, and replacing still works.
#[test]
fn the_table_takes_what_it_promises() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    sandbox.attach_both("lan", "wan");
    let table = sandbox.map("map_ip_hash");
    let promised = table.max_entries();
    assert!(promised >= 1 << 20);
    let key = |number: u32| {
        let mut key = 128u32.to_ne_bytes().to_vec();
        key.extend([0xff; 12]);
        key.extend((0x0a00_0000 + number).to_be_bytes());
        key
    };
    let value = [0u32.to_ne_bytes(), 0x1_0005u32.to_ne_bytes()].concat();
    // In batches, since a million single updates take too long.
    for first in (0..promised).step_by(1 << 14) {
        let numbers = first..promised.min(first + (1 << 14));
        let (count, keys) = (numbers.len() as u32, numbers.flat_map(key).collect::<Vec<u8>>());
        let values = value.repeat(count as usize);
        table.update_batch(&keys, &values, count, MapFlags::ANY, MapFlags::ANY).unwrap();
    }
    let add = |ip: &str| {
        sandbox.call(&format!("xdp_iphash_to_cpu_cmdline --add --ip {ip} --cpu 1 --classid 2:5"))
    };
    let said = add("192.0.2.1");
    let full = format!("ERR: write to map_ip_hash: it is full ({promised} entries)");
    assert_eq!((said.code, said.out.as_str()), (20, ""));
    assert!(said.err.starts_with(&full), "{said:?}");
    assert_eq!(add("10.0.0.7").parts(), (0, "", ""), "an entry can still be replaced");
    let listed = sandbox.ok("xdp_iphash_to_cpu_cmdline --list");
    serde_json::from_str::<serde::de::IgnoredAny>(&listed).expect("strictly valid JSON");
    assert_eq!(listed.lines().count(), promised as usize + 2, "a line for each, and the braces");
    for entry in [
        "\n\"10.0.0.7/32\" : { \"cpu\" : 1, \"tc_maj\" : \"2\" , \"tc_min\" : \"5\" },\n",
        "\n\"10.15.255.255/32\" : { \"cpu\" : 0, \"tc_maj\" : \"1\" , \"tc_min\" : \"5\" }\n",
    ] {
        assert!(listed.contains(entry), "{entry}");
    }
    sandbox.ok("xdp_iphash_to_cpu_cmdline --del --ip 10.0.0.7");
    assert_eq!(add("192.0.2.1").parts(), (0, "", ""));
    // A reload works with a full table, and `--clear` empties it.
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    sandbox.ok("xdp_iphash_to_cpu_cmdline --clear");
    assert!(sandbox.mappings().is_empty());
    assert_eq!(add("192.0.2.1").parts(), (0, "", ""));
}

#[test]
fn edits_under_traffic_lose_no_packet() {
    lab::require_root();
    let plan = Plan::new([Subscriber::new("alice", 1).rtt(MS)]).internet_rtt(MS);
    let lab = Lab::build(plan).unwrap();
    let (shaper, alice, internet) = (lab.shaper(), lab.subscriber("alice"), lab.internet());
    shaper.attach_both(LAN, WAN);
    let ip = "100.64.1.2";
    let edits = [
        format!("--add --ip {ip} --cpu 1 --classid 2:5"),
        format!("--add --ip {ip} --cpu 0 --classid 1:5"),
        format!("--del --ip {ip}"),
        "--add --ip ::/0 --cpu 1 --classid 2:2".to_owned(),
        "--clear".to_owned(),
        format!("--add --ip {ip} --cpu 1 --classid 2:5"),
        "--clear".to_owned(),
    ];
    let streams = thread::scope(|scope| {
        let streams = [(alice, internet), (internet, alice)].map(|(from, to)| {
            scope.spawn(move || {
                let receiver = UdpReceiver::start(to.netns()).unwrap();
                let target = SocketAddr::new(to.v4(), receiver.port());
                let sent =
                    lab::traffic::send_udp(from.netns(), target, 2000, 100, 3000 * MS).unwrap();
                receiver.finish(sent, 200 * MS).unwrap()
            })
        });
        for _ in 0..3 {
            for edit in &edits {
                shaper.ok(&format!("xdp_iphash_to_cpu_cmdline {edit}"));
                sleep(50 * MS);
            }
        }
        streams.map(|stream| stream.join().unwrap())
    });
    for report in streams {
        assert_eq!((report.received, report.lost), (6000, 0), "{report:?}");
    }
    let counts = shaper.counters();
    for moved in ["xdp_redirected", "xdp_unmapped", "tc_classified", "tc_unmapped"] {
        assert!(counts.of(moved) > 100, "{moved}: {counts:?}");
    }
    assert_eq!(lab.dropped_frames(), 0);
}

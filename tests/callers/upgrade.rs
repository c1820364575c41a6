// SPDX-License-Identifier: GPL-2.0-only

//! Our programs among those of others: foreign filters and XDP, the predecessor's maps, a foreign writer.

use crate::common::command::MS;
use crate::common::foreign::{pin_foreign_program, pin_map};
use crate::common::shaper::{cpumap_threads, map_id, sandbox_with_devices, Shaper, GLOBALS};
use crate::traffic_lab;
use lab::{htb_class_stats, mq_htb, traffic, Flow, HtbClass, Sandbox, LAN, WAN};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use std::thread::sleep;

#[test]
fn what_is_not_ours_stays() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    let foreign = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_SCHED_CLS);
    sandbox.ok("tc qdisc add dev lan clsact");
    for (hook, priority, handle) in [("egress", 7, 1), ("egress", 1, 9), ("ingress", 1, 1)] {
        let at = format!("dev lan {hook} prio {priority} handle {handle}");
        sandbox.ok(&format!("tc filter add {at} bpf da pinned {foreign}"));
    }
    let theirs = |hook: &str| {
        let mut filters = sandbox.filters("lan", hook);
        filters.retain(|filter| {
            hook == "ingress" || (filter.priority, filter.handle.as_str()) != (1, "0x1")
        });
        filters
    };
    let ours = || {
        let filters = sandbox.filters("lan", "egress");
        filters.into_iter().find(|filter| (filter.priority, filter.handle.as_str()) == (1, "0x1"))
    };
    let before = ["egress", "ingress"].map(theirs);
    assert_eq!((before[0].len(), before[1].len()), (2, 1));
    let mut last = None;
    for _ in 0..3 {
        sandbox.ok("tc_classify --dev-egress lan");
        assert_eq!(["egress", "ingress"].map(theirs), before, "filters, handles and programs");
        let now = ours().expect("our filter");
        assert_ne!(last, Some(now.id), "a new program");
        last = Some(now.id);
    }
    // A foreign XDP program stays; ours attaches without one, and replaces our own.
    let foreign = pin_foreign_program(&sandbox, libbpf_sys::BPF_PROG_TYPE_XDP);
    sandbox.ok(&format!("ip link set dev lan xdp pinned {foreign}"));
    let theirs = sandbox.xdp("lan");
    assert_eq!(sandbox.call("xdp_iphash_to_cpu --dev lan --lan").code, 3);
    assert_eq!(sandbox.xdp("lan"), theirs);
    assert_eq!(direction_of(&sandbox, "lan"), 0, "a refused load leaves the direction");
    sandbox.ok("ip link set dev lan xdp off");
    sandbox.ok("xdp_iphash_to_cpu --dev lan --lan");
    let first = sandbox.xdp("lan").unwrap().0;
    sandbox.ok("xdp_iphash_to_cpu --dev lan --wan");
    assert_ne!(sandbox.xdp("lan").unwrap().0, first);
    assert_eq!(direction_of(&sandbox, "lan"), 1);
    sandbox.ok("xdp_iphash_to_cpu --dev lan --remove");
    assert_eq!((sandbox.xdp("lan"), direction_of(&sandbox, "lan")), (None, 0));
}

/// Returns the entry of an interface in `map_ifindex_type`.
fn direction_of(sandbox: &Sandbox, dev: &str) -> u32 {
    read_u32(&sandbox.map("map_ifindex_type"), sandbox.ifindex(dev))[0]
}

fn read_u32(map: &MapHandle, key: u32) -> Vec<u32> {
    let value = map.lookup(&key.to_ne_bytes(), MapFlags::ANY).unwrap().unwrap();
    value.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
}

/// The pins of the predecessor: maps of its sizes with entries in them, and maps that only it has.
#[test]
fn an_upgrade_keeps_the_predecessors_maps() {
    lab::require_root();
    let (lab, server) = traffic_lab();
    let shaper = lab.shaper();
    let maps = [
        ("map_ip_hash", MapType::LpmTrie, [20, 8, 65534]),
        ("map_ifindex_type", MapType::Array, [4, 4, 256]),
        ("map_txq_config", MapType::Array, [4, 4, 64]),
        ("cpu_map", MapType::Cpumap, [4, 4, 64]),
        ("packet_ts", MapType::Hash, [48, 16, 1000]),
        ("flow_state", MapType::Hash, [44, 200, 1000]),
        ("rtt_tracker", MapType::Hash, [4, 300, 1000]),
    ];
    let pinned = maps.map(|(name, map_type, sizes)| {
        // The kernel allows no cpumap larger than its CPU limit, so the predecessor's has 64 entries.
        let made = pin_map(shaper, name, map_type, sizes);
        (name, made)
    });
    let map = |name: &str| &pinned.iter().find(|(known, _)| *known == name).unwrap().1;
    let write =
        |name, key: &[u8], value: &[u8]| map(name).update(key, value, MapFlags::ANY).unwrap();
    // 100.64.1.2/32 -> CPU 1, 2:9; CPU 1 has queue 2, major 2; CPU 63 has values that our commands would not write.
    let mut alice = 128u32.to_ne_bytes().to_vec();
    alice.extend([0xff; 12]);
    alice.extend([100, 64, 1, 2]);
    let to = [1u32.to_ne_bytes(), 0x2_0009u32.to_ne_bytes()].concat();
    write("map_ip_hash", &alice, &to);
    write("map_txq_config", &0u32.to_ne_bytes(), &[1, 0, 1, 0]);
    write("map_txq_config", &1u32.to_ne_bytes(), &[2, 0, 2, 0]);
    write("map_txq_config", &63u32.to_ne_bytes(), &[64, 0, 64, 0]);
    write("map_ifindex_type", &255u32.to_ne_bytes(), &2u32.to_ne_bytes());
    for cpu in 0..2u32 {
        write("cpu_map", &cpu.to_ne_bytes(), &2048u32.to_ne_bytes());
    }
    let threads = cpumap_threads(map_id(map("cpu_map")));
    shaper.attach_both(LAN, WAN);
    for (name, before) in &pinned {
        let after = shaper.map(name);
        assert_eq!(map_id(&after), map_id(before), "{name} is the same map");
        assert_eq!(after.max_entries(), before.max_entries());
    }
    assert_eq!(shaper.mappings()["100.64.1.2/32"], (1, "2".into(), "9".into()));
    assert_eq!(read_u32(map("map_ifindex_type"), 255), [2]);
    assert_eq!(read_u32(map("map_txq_config"), 63), [64 << 16 | 64]);
    assert_eq!(cpumap_threads(map_id(map("cpu_map"))), threads, "entries that are right stay");
    // The old entry works: every packet is in its class.
    for dev in [LAN, WAN] {
        mq_htb(shaper.netns(), dev, 2, &[HtbClass::new(2, 9, "100mbit")]).unwrap();
    }
    let flow = Flow::request_response(20, MS);
    traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
    let stats = htb_class_stats(shaper.netns(), LAN).unwrap();
    assert!(stats[&(2, 9)].packets >= 20 && stats[&(2, 2)].packets == 0, "{stats:?}");
    assert_eq!(shaper.counters().of("tc_wrong_cpu"), 0);
    assert!(shaper.rtts().contains_key("2:9"));
}

/// Our address caches see a write by bpftool within a second.
#[test]
fn a_foreign_writer_takes_effect_within_a_second() {
    lab::require_root();
    lab::require_tool("bpftool");
    let (lab, server) = traffic_lab();
    let shaper = lab.shaper();
    shaper.attach_both(LAN, WAN);
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.2 --cpu 1 --classid 2:9");
    let classes = [HtbClass::new(2, 9, "100mbit"), HtbClass::new(2, 10, "100mbit")];
    for dev in [LAN, WAN] {
        mq_htb(shaper.netns(), dev, 2, &classes).unwrap();
    }
    let packets = |minor| htb_class_stats(shaper.netns(), LAN).unwrap()[&(2, minor)].packets;
    let run = || {
        let flow = Flow::request_response(20, MS);
        traffic::run(lab.subscriber("alice").netns(), &server, lab.internet().v4(), &flow).unwrap();
    };
    run();
    assert!(packets(9) >= 20 && packets(10) == 0);
    let pin = format!("{}/map_ip_hash", GLOBALS);
    let key = "key hex 80 00 00 00 ff ff ff ff ff ff ff ff ff ff ff ff 64 40 01 02";
    shaper.ok(&format!("bpftool map update pinned {pin} {key} value hex 01 00 00 00 0a 00 02 00"));
    sleep(1000 * MS);
    let before = packets(9);
    run();
    assert_eq!(packets(9), before);
    assert!(packets(10) >= 20);
    // A change by our own command takes effect at once. (Wait for the last ACK of the connection.)
    sleep(100 * MS);
    shaper.ok("xdp_iphash_to_cpu_cmdline --add --ip 100.64.1.2 --cpu 1 --classid 2:9");
    let before = packets(10);
    run();
    assert_eq!(packets(10), before);
}

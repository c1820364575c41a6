// SPDX-License-Identifier: GPL-2.0-only

//! The snapshot: what it says of records that cannot be read, and how many lines the loader makes.

use crate::common::foreign::pin_map_with;
use crate::common::shaper::{sandbox_with_devices, Shaper};
use cpumap_pping::abi::{self, as_bytes, from_bytes, Control, RttHandle, RttRecent};
use cpumap_pping::kernel::machine::{ktime_ns, online_cpus};
use cpumap_pping::rtt::window;
use lab::Sandbox;
use libbpf_rs::{MapCore, MapFlags, MapType};

const CLASS: u32 = 0x1_0005;

fn put(sandbox: &Sandbox, map: &str, key: u32, value: &[u8]) {
    sandbox.map(map).update(&key.to_ne_bytes(), value, MapFlags::ANY).unwrap();
}

fn control(sandbox: &Sandbox) -> Control {
    let control = sandbox.map("cpp_control").lookup(&0u32.to_ne_bytes(), MapFlags::ANY).unwrap();
    from_bytes(&control.unwrap())
}

fn lines_of_a_cpu(sandbox: &Sandbox) -> u32 {
    control(sandbox).recent_lines
}

/// Writes a record with one sample of 20 ms in the current epoch for two classes.
fn write_records(sandbox: &Sandbox) {
    let tick = ktime_ns().unwrap() >> abi::RTT_TICK_BITS;
    let (epoch, last_tick) = (abi::epoch_number(tick) as u32, tick as u32);
    let mut line = RttRecent { epoch, last_tick, ..RttRecent::default() };
    line.sample[0] = 2_500_000;
    let mut record = RttHandle::default();
    window::add_recent(&mut record, &line);
    for class in [CLASS, CLASS + 1] {
        put(sandbox, "cpp_rtt", class, as_bytes(&record));
    }
}

/// One line on stderr says what is missing, why, and what to do; stdout stays valid JSON.
#[test]
fn a_class_that_cannot_be_read_is_left_out_with_a_warning() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    sandbox.attach_both("lan", "wan");
    write_records(&sandbox);
    let entry = |class: u32| {
        let handle = format!("{}:{}", class >> 16, class & 0xffff);
        format!(
            "{{\"tc\":\"{handle}\", \"avg\": 20.00, \"min\": 20.00, \"max\": 20.00, \
             \"median\": 20.00, \"samples\": 1}},\n"
        )
    };
    let (first, second) = (entry(CLASS), entry(CLASS + 1));
    let both = format!("[\n{first}{second}{{}}]\n");
    assert_eq!(sandbox.call("xdp_pping").parts(), (0, both.as_str(), ""));
    // A writer that has stopped between the two marks of a flush.
    let line = RttRecent {
        tc_handle: CLASS,
        state: (abi::recent_state(7, 1) | abi::RECENT_FLUSHING) as u32,
        ..RttRecent::default()
    };
    let slot = abi::recent_slot(CLASS.into(), lines_of_a_cpu(&sandbox).into());
    put(&sandbox, "cpp_rtt_recent", slot as u32, as_bytes(&line));
    let warning =
        "WARN: 1 of 2 classes are left out: a CPU stopped while it added their samples to \
                   their records; run the command again\n";
    let rest = format!("[\n{second}{{}}]\n");
    assert_eq!(sandbox.call("xdp_pping").parts(), (0, rest.as_str(), warning));
}

/// The lines follow the online CPUs, and a reload keeps what it finds.
#[test]
fn lines_follow_the_online_cpus() {
    lab::require_root();
    let sandbox = sandbox_with_devices(2);
    sandbox.attach_both("lan", "wan");
    let lines = lines_of_a_cpu(&sandbox);
    assert!(lines.is_power_of_two(), "{lines}");
    assert_eq!(sandbox.map("cpp_rtt_recent").max_entries(), online_cpus().unwrap() * lines);
    // As if fewer CPUs, with fewer lines, had been online when the pins were made.
    sandbox.shell("rm /sys/fs/bpf/tc/globals/cpp_rtt_recent");
    let (name, sizes) = ("cpp_rtt_recent", [4, 64, online_cpus().unwrap() * 64]);
    pin_map_with(&sandbox, name, MapType::Array, sizes, libbpf_sys::BPF_F_MMAPABLE);
    put(&sandbox, "cpp_control", 0, as_bytes(&Control { recent_lines: 64, ..control(&sandbox) }));
    sandbox.attach_both("lan", "wan");
    let entries = sandbox.map("cpp_rtt_recent").max_entries();
    assert_eq!((lines_of_a_cpu(&sandbox), entries), (64, online_cpus().unwrap() * 64));
    assert_eq!(sandbox.ok("xdp_pping"), "[\n{}]\n");
}

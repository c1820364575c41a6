// SPDX-License-Identifier: GPL-2.0-only

//! A writer that the test stops within a flush, as a hypervisor stops the CPUs of its guests: a debug register watches a
//! word of the record or of the line, and the handler of the trap takes its time. So the writer stops for milliseconds
//! after each write to that word, and a reader on the other CPU looks at what it has written so far.

use crate::common::names::{__sk_buff, flow, flow_bucket, limits};
use crate::common::rig::{get, LoadOptions, RECENT_LINES};
use crate::common::scene::{run_on_cpu, spawn_in_scene, with_scene_of, Scene, ALICE_CLASS};
use crate::common::test_run::{from_bytes, test_run};
use crate::fixtures::{segment, Meter};
use cpumap_pping::abi::{
    epoch_number, hist_word, recent_slot, RttEpoch, RttHandle, RttRecent, RttTotals, RTT_EPOCHS,
    RTT_TICK_BITS,
};
use cpumap_pping::rtt::histogram::bucket_of;
use lab::packet::{hosts::*, Packet, Tcp, RST, SYN};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use nix::errno::Errno;
use nix::libc;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Time for which a writer stops: longer than a reading takes.
const STOP: Duration = Duration::from_millis(5);

/// One instruction of BPF: code, destination and source register, offset, immediate value.
fn instruction(code: u8, [dst, src]: [u8; 2], off: i16, imm: i32) -> libbpf_sys::bpf_insn {
    let mut made = libbpf_sys::bpf_insn { code, off, imm, ..Default::default() };
    made.set_dst_reg(dst);
    made.set_src_reg(src);
    made
}

fn load(kind: libbpf_sys::bpf_prog_type, code: &[libbpf_sys::bpf_insn]) -> OwnedFd {
    // SAFETY: strings and instructions outlive the call; the descriptor is ours alone.
    unsafe {
        let (name, license) = (c"stalls".as_ptr(), c"GPL".as_ptr());
        let length = code.len() as u64;
        let fd = libbpf_sys::bpf_prog_load(kind, name, license, code.as_ptr(), length, null_mut());
        assert!(fd >= 0, "load a program: {fd}");
        OwnedFd::from_raw_fd(fd)
    }
}

/// Returns the address of a map's value in the kernel.
fn address_of(map: &MapHandle, key: u32) -> u64 {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as u64,
        ..Default::default()
    };
    let out = MapHandle::create(MapType::Array, Some("address"), 4, 8, 1, &options).expect("a map");
    let map_of = |fd: i32| [instruction(0x18, [1, 1], 0, fd), instruction(0, [0, 0], 0, 0)];
    let look_up = |fd: i32| {
        let [low, high] = map_of(fd);
        [
            low,
            high,
            instruction(0xbf, [2, 10], 0, 0), // r2 = the key on the stack
            instruction(0x07, [2, 0], 0, -4),
            instruction(0x85, [0, 0], 0, 1), // r0 = the value's address
        ]
    };
    let mut code = vec![instruction(0x62, [10, 0], -4, key as i32)]; // the key
    code.extend(look_up(map.as_fd().as_raw_fd()));
    code.push(instruction(0xbf, [6, 0], 0, 0)); // r6 = r0
    code.push(instruction(0x62, [10, 0], -4, 0)); // key 0
    code.extend(look_up(out.as_fd().as_raw_fd()));
    code.push(instruction(0x15, [0, 0], 1, 0)); // no value: leave
    code.push(instruction(0x7b, [0, 6], 0, 0)); // *r0 = r6
    code.push(instruction(0xb7, [0, 0], 0, 0)); // return 0
    code.push(instruction(0x95, [0, 0], 0, 0));
    let program = load(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, &code);
    test_run(&program, &vec![0; size_of::<__sk_buff>()], &[0; 64], 1).expect("a test run");
    let value = out.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).expect("look-up").expect("a value");
    u64::from_ne_bytes(value.try_into().expect("8 bytes"))
}

/// Stops a CPU for [`STOP`] after each write to a word of the kernel's, as long as the value lives.
struct Stalls {
    _event: OwnedFd,
}

impl Stalls {
    fn at(cpu: i32, address: u64, handler: &OwnedFd) -> Self {
        let event = write_event(cpu, address);
        // include/uapi/linux/perf_event.h
        const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;
        // SAFETY: both descriptors are open; the call takes the second by its number.
        let done = unsafe {
            libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_SET_BPF as _, handler.as_raw_fd())
        };
        assert_eq!(done, 0, "attach the handler: {}", Errno::last());
        Self { _event: event }
    }
}

/// Loads a program that reads the clock until [`STOP`] has passed. It looks after each 50 readings, 5000 times at most:
/// the verifier follows no more than 8192 jumps out of a loop.
fn slow_handler() -> OwnedFd {
    const READINGS: i16 = 50;
    let read_clock = instruction(0x85, [0, 0], 0, 5); // r0 = bpf_ktime_get_ns()
    let mut code = vec![
        instruction(0xb7, [6, 0], 0, 0), // r6 = 0
        read_clock,
        instruction(0xbf, [7, 0], 0, 0), // r7 = r0
    ];
    code.extend([read_clock; READINGS as usize]);
    code.extend([
        instruction(0x1f, [0, 7], 0, 0),                      // r0 -= r7
        instruction(0x25, [0, 0], 2, STOP.as_nanos() as i32), // if r0 > STOP: leave
        instruction(0x07, [6, 0], 0, 1),                      // r6 += 1
        instruction(0xa5, [6, 0], -(READINGS + 4), 5000),     // if r6 < 5000: again
        instruction(0xb7, [0, 0], 0, 0),                      // return 0
        instruction(0x95, [0, 0], 0, 0),
    ]);
    load(libbpf_sys::BPF_PROG_TYPE_PERF_EVENT, &code)
}

/// Opens the event of a CPU's writes to the four bytes at `address`.
fn write_event(cpu: i32, address: u64) -> OwnedFd {
    /// `struct perf_event_attr`, up to the length of a breakpoint.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        sample_period: u64,
        unused: [u64; 3],
        wakeup_events: u32,
        breakpoint_type: u32,
        breakpoint_address: u64,
        breakpoint_length: u64,
    }
    const PERF_TYPE_BREAKPOINT: u32 = 5;
    const HW_BREAKPOINT_W: u32 = 2;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    let attributes = Attributes {
        kind: PERF_TYPE_BREAKPOINT,
        size: size_of::<Attributes>() as u32,
        sample_period: 1,
        breakpoint_type: HW_BREAKPOINT_W,
        breakpoint_address: address,
        breakpoint_length: 4,
        ..Attributes::default()
    };
    // SAFETY: the attributes have the size that they name; the descriptor is ours alone.
    unsafe {
        let number = libc::SYS_perf_event_open;
        let fd = libc::syscall(number, &raw const attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
        assert!(fd >= 0, "a debug register of CPU {cpu}: {}", Errno::last());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// Where a writer stops: after each write to a word of its line, of the record, or of the record's current epoch.
enum Watched {
    Line(usize),
    Record(usize),
    Epoch(usize),
}

impl Watched {
    fn address(&self, scene: &Scene) -> u64 {
        let record = || address_of(&scene.cpp_rtt, ALICE_CLASS);
        match self {
            Self::Line(offset) => {
                // The line of CPU 1.
                let slot = recent_slot(ALICE_CLASS.into(), RECENT_LINES.into()) as u32;
                address_of(&scene.cpp_rtt_recent, RECENT_LINES + slot) + *offset as u64
            }
            Self::Record(offset) => record() + *offset as u64,
            Self::Epoch(offset) => {
                let number = epoch_number(scene.now().as_nanos() as u64 >> RTT_TICK_BITS);
                let index = RTT_EPOCHS + number % RTT_EPOCHS; // of the internet side
                let epoch = offset_of!(RttHandle, epoch) + index as usize * size_of::<RttEpoch>();
                record() + (epoch + offset) as u64
            }
        }
    }
}

/// A reader on the other CPU sees totals that only grow, and every sample at last, wherever the writer stops.
#[test]
fn totals_only_grow_beside_a_writer_stopped_inside_a_flush() {
    lab::require_cpus(2);
    let total = offset_of!(RttHandle, total) + size_of::<RttTotals>();
    let word = 4 * hist_word(bucket_of((RTT.as_nanos() / 8) as u32) as u64) as usize;
    let stops = [
        ("the state", Watched::Line(offset_of!(RttRecent, state))),
        ("the first sample", Watched::Line(offset_of!(RttRecent, sample))),
        ("a counter", Watched::Epoch(offset_of!(RttEpoch, hist) + word)),
        ("the epoch's sum", Watched::Epoch(offset_of!(RttEpoch, sum_ns))),
        ("the epoch's count", Watched::Epoch(offset_of!(RttEpoch, count))),
        ("the total count", Watched::Record(total + offset_of!(RttTotals, count))),
        ("the total sum", Watched::Record(total + offset_of!(RttTotals, sum_ns))),
    ];
    with_scene_of(LoadOptions { recent_samples: 12, ..LoadOptions::DEFAULT }, |scene| {
        for (port, (what, watched)) in (1000..).zip(&stops) {
            read_beside(scene, what, watched, port);
        }
    });
}

const RTT: Duration = Duration::from_millis(20);

/// Sets a flag when it is dropped, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Returns the number of samples, unless the writer stops for too long: it stops for each of twelve samples.
fn total_unless_left_out(scene: &Scene) -> Option<u64> {
    let collected = scene.records_that_stand_still();
    let count = |(_, record): &(u32, RttHandle)| record.total[1].count;
    (collected.left_out == 0).then(|| collected.found.first().map_or(0, count))
}

fn read_beside(scene: &Scene, what: &str, watched: &Watched, port: u16) {
    static HANDLER: LazyLock<OwnedFd> = LazyLock::new(slow_handler);
    let handler = &*HANDLER;
    let before = total_unless_left_out(scene).unwrap_or(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        spawn_in_scene(scope, 1, || {
            let _end = SetAtEnd(&done);
            let mut meter = Meter::new(scene, port);
            let mut sample = || meter.sample(RTT);
            (0..12).for_each(|_| sample()); // makes the record
            let _stalls = Stalls::at(1, watched.address(scene), handler);
            let start = Instant::now();
            (0..24).for_each(|_| sample());
            let stopped = start.elapsed();
            // Two flushes, and a stop in each.
            assert!(stopped > 2 * STOP, "{what}: stopped for {stopped:?} only");
        });
        run_on_cpu(0);
        let (mut last, mut readings) = (0, 0);
        while !done.load(SeqCst) {
            let Some(now) = total_unless_left_out(scene) else { continue };
            assert!(now >= last, "{what}: {now} after {last}");
            (last, readings) = (now, readings + 1);
        }
        assert!(readings > 3, "{what}: {readings} readings");
    });
    assert_eq!(total_unless_left_out(scene), Some(before + 36), "{what}");
    assert_eq!(scene.counters().of("rtt_internet"), before + 36, "{what}");
}

/// Another flow takes the way of one whose direction a CPU has just forgotten because of a SYN. What the CPU takes back must
/// not be what it has forgotten: the new flow would begin with the last TSval of the old one.
#[test]
fn a_forgotten_direction_is_not_given_to_the_next_flow() {
    lab::require_cpus(2);
    // A busy machine may let this CPU come too late.
    const TRIES: u16 = 100;
    with_scene_of(LoadOptions { flow_buckets: 1, ..LoadOptions::DEFAULT }, |scene| {
        let handler = slow_handler();
        let up = |packet: Packet| scene.classify_quickly(&packet.build(), scene.to_internet(), 1);
        let down = |packet: Packet| {
            scene.classify_quickly(&packet.reply().build(), scene.to_subscriber(), 1)
        };
        let data = |port, tsval| segment(false, port, tsval, 1).payload(10);
        // Seven flows that stay.
        for port in 1..limits::FLOW_WAYS as u16 {
            up(data(port, 100));
            down(data(port, 100));
        }
        let mut in_time = false;
        for old in 1000..1000 + TRIES {
            if in_time {
                return;
            }
            let new = old + 1000;
            up(data(old, 5000)); // half open: the only one that makes room
            let (way, word) = way_with(scene, |way| way.dir.iter().any(|dir| *dir as u32 == 5000));
            let address = address_of(&scene.cpp_flow, 0)
                + (way * size_of::<flow>() + offset_of!(flow, dir) + 8 * word) as u64;
            let stopped = AtomicBool::new(false);
            std::thread::scope(|scope| {
                spawn_in_scene(scope, 1, || {
                    let _end = SetAtEnd(&stopped);
                    let _stalls = Stalls::at(1, address, &handler);
                    let syn = Tcp::new(old, 443).flags(SYN).timestamps(9000, 0);
                    up(Packet::new(ALICE, SERVER).tcp(syn));
                });
                run_on_cpu(0);
                // Until it has been forgotten, and then while the other CPU stands still.
                while word_of(scene, way, word) != 0 && !stopped.load(SeqCst) {
                    std::hint::spin_loop();
                }
                if word_of(scene, way, word) == 0 {
                    down(data(new, 7000));
                    in_time = !stopped.load(SeqCst);
                }
            });
            let left = word_of(scene, way, word) as u32;
            assert!(!in_time || left == 0, "the new flow has {left} of the old one");
            let end = |port| Tcp::new(port, 443).flags(RST).timestamps(9001, 1);
            for port in [old, new] {
                down(Packet::new(ALICE, SERVER).tcp(end(port)));
            }
        }
        assert!(in_time, "the other CPU never stood still");
    });
}

fn bucket(scene: &Scene) -> flow_bucket {
    from_bytes(&get(&scene.cpp_flow, &0u32.to_ne_bytes()).expect("bucket 0"))
}

/// Returns which way has a flow, and which of its directions has been seen.
fn way_with(scene: &Scene, is_it: impl Fn(&flow) -> bool) -> (usize, usize) {
    let bucket = bucket(scene);
    let way = bucket.way.iter().position(is_it).expect("the flow is in the table");
    let word = bucket.way[way].dir.iter().position(|dir| *dir != 0).expect("a direction");
    (way, word)
}

fn word_of(scene: &Scene, way: usize, word: usize) -> u64 {
    bucket(scene).way[way].dir[word]
}

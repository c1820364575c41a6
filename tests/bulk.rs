// SPDX-License-Identifier: GPL-2.0-only

//! Many entries at once: `--batch`, `--replace`, `--list` and the snapshot, on real maps, while others read and write.
//! `make bench BENCH="--only bulk"` measures how long they take.

mod common;

use common::command::Said;
use common::foreign::pin_map;
use common::shaper::Shaper;
use libbpf_rs::MapType;
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use cpumap_pping::abi::maps;
use cpumap_pping::abi::{
    IpMapping, IpPrefix, RttHandle, RTT_EPOCHS, RTT_EPOCH_FACTOR, RTT_TICK_BITS,
};
use cpumap_pping::domain::prefix::parse_cidr;
use cpumap_pping::kernel::machine::ktime_ns;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::kernel::pin::PinDir;
use cpumap_pping::rtt::records::Records;
use lab::Sandbox;
use tempfile::TempDir;

const XDP_REDIRECT: u32 = 4;

/// Runs `xdp_iphash_to_cpu_cmdline` with `input` as its standard input.
fn edit(sandbox: &Sandbox, args: &str, input: &str) -> (i32, String, String) {
    let mut command = sandbox.prepare(&format!("xdp_iphash_to_cpu_cmdline {args}"));
    let said = Said::by_with_input(&mut command, input);
    (said.code, said.out, said.err)
}

/// The same for an edit that must succeed without a warning; returns its stdout.
fn done(sandbox: &Sandbox, args: &str, input: &str) -> String {
    let (code, out, err) = edit(sandbox, args, input);
    assert_eq!((code, err.as_str()), (0, ""), "{args}: {out}");
    out
}

/// Makes a sandbox in which everything is loaded, and attached to its loopback device.
fn loaded() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.ok("xdp_iphash_to_cpu --dev lo --lan --skb-mode --quiet");
    sandbox
}

#[test]
fn a_file_changes_the_mapping_at_once_or_not_at_all() {
    lab::require_root();
    let sandbox = loaded();
    let file = "# three\n--add --ip 10.0.0.0/24 --cpu 0 --classid 1:2\n-a -i10.0.0.7 -c0 -t1:3\n\n\
        --add --ip 2001:db8::/32 --cpu 0 --class 1:4 # v6\n";
    let three = "added 3, changed 0, deleted 0, unchanged 0\n";
    assert_eq!(done(&sandbox, "--batch - --dry-run", file), three);
    assert!(sandbox.mappings().is_empty());
    assert_eq!(done(&sandbox, "--batch -", file), three);
    let before = sandbox.mappings();
    assert_eq!(before.len(), 3);
    assert_eq!(before["10.0.0.7/32"], (0, "1".into(), "3".into()));

    let good = "--add --ip 10.0.0.7 --cpu 0 --classid 1:9\n".repeat(16);
    let table = [
        ("--batch -", "--add --ip 10.0.0.300 --cpu 0 --classid 1:1", 30),
        ("--batch -", "--add --ip 10.0.0.3 --cpu 70000 --classid 1:1", 31),
        ("--batch -", "--add --ip 10.0.0.3 --cpu 0 --classid 1:x", 2),
        ("--batch -", "--list", 2),
        ("--batch -", "--del --ip 10.0.0.8", 21),
        ("--batch - --dry-run", "--del --ip 10.0.0.8", 21),
        ("--replace -", "--del --ip 10.0.0.7", 2),
        ("--replace -", "stray", 2),
    ];
    for (args, bad, expected) in table {
        let (code, out, err) = edit(&sandbox, args, &format!("{good}{bad}\n--later\n"));
        // `--later` is a syntax error, which the command finds before it looks line 17 up in the mapping.
        let line = if expected == 21 { 18 } else { 17 };
        let start = format!("ERR: standard input line {line}: ");
        if expected != 21 {
            assert_eq!((code, out.as_str()), (expected, ""), "{bad}: {err}");
        }
        assert!(err.starts_with(&start), "{bad}: {err}");
        let (code, _, err) = edit(&sandbox, args, &format!("{good}{bad}\n"));
        assert_eq!(code, expected, "{bad}: {err}");
        assert!(err.starts_with("ERR: standard input line 17: "), "{bad}: {err}");
        assert_eq!(sandbox.mappings(), before, "{bad}");
    }
}

#[test]
fn a_mapping_becomes_exactly_the_file() {
    lab::require_root();
    let sandbox = loaded();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mapping");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let replace = format!("--replace {}", path.display());
    let line = |ip: &str, class: &str| format!("--add --ip {ip} --cpu 0 --classid {class}\n");
    write(&[line("10.0.0.1", "1:1"), line("10.0.0.2", "1:2"), line("::/0", "1:3")].concat());
    assert_eq!(done(&sandbox, &replace, ""), "added 3, changed 0, deleted 0, unchanged 0\n");
    write(&[line("10.0.0.1", "1:1"), line("10.0.0.2", "1:9"), line("10.0.0.3", "1:4")].concat());
    let summary = "added 1, changed 1, deleted 1, unchanged 1\n";
    assert_eq!(done(&sandbox, &format!("{replace} --dry-run"), ""), summary);
    assert!(sandbox.mappings().contains_key("::/0"));
    assert_eq!(done(&sandbox, &replace, ""), summary);
    let after = sandbox.mappings();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"]);
    assert_eq!(after["10.0.0.2/32"], (0, "1".into(), "9".into()));
    assert_eq!(done(&sandbox, &replace, ""), "added 0, changed 0, deleted 0, unchanged 3\n");

    let swap =
        "--del --ip 10.0.0.1\n--add --ip 10.0.0.1 --cpu 0 --classid 1:a\n--del --ip 10.0.0.3\n";
    let changed = "added 0, changed 1, deleted 1, unchanged 1\n";
    assert_eq!(done(&sandbox, "--batch -", swap), changed);

    let twice = [line("10.0.0.1", "1:1"), line("10.0.0.1/32", "1:b")].concat();
    let (code, out, err) = edit(&sandbox, "--replace -", &twice);
    assert_eq!((code, out.as_str()), (0, "added 0, changed 1, deleted 1, unchanged 0\n"));
    let warning =
        "WARN: standard input line 2: 10.0.0.1/32 was on line 1 already: the last line counts\n";
    assert_eq!(err, warning);

    assert_eq!(done(&sandbox, "--replace -", ""), "added 0, changed 0, deleted 1, unchanged 0\n");
    assert!(sandbox.mappings().is_empty());
}

#[test]
fn classes_of_other_queues_are_warned_about_a_few_times() {
    lab::require_root();
    let sandbox = loaded();
    let file: String =
        (0..9).map(|n| format!("--add --ip 10.0.0.{n} --cpu 0 --classid 7:{n}\n")).collect();
    for args in ["--replace - --dry-run", "--replace -"] {
        let (code, _, err) = edit(&sandbox, args, &file);
        assert_eq!(code, 0, "{err}");
        let lines: Vec<_> = err.lines().collect();
        assert_eq!(lines.len(), 4, "{err}");
        assert!(lines[0].starts_with("WARN: 10.0.0.0/32: class 7:0 has major 7, "), "{err}");
        assert_eq!(lines[3], "WARN: 6 more entries whose class is not of their CPU's HTB");
    }
}

#[test]
fn what_does_not_fit_changes_nothing() {
    lab::require_root();
    // A map as a predecessor may have left it pinned, with room for four.
    let sandbox = Sandbox::new().unwrap();
    let _small = pin_map(&sandbox, "map_ip_hash", MapType::LpmTrie, [20, 8, 4]);
    let add = |range: std::ops::Range<u32>| -> String {
        range.map(|n| format!("--add --ip 10.0.0.{n} --cpu 0 --classid 1:{n}\n")).collect()
    };
    for mode in ["--batch -", "--replace -"] {
        let (code, out, err) = edit(&sandbox, mode, &add(0..5));
        assert_eq!((code, out.as_str()), (20, ""), "{err}");
        assert!(err.contains("it makes 5 entries, and the map has room for 4"), "{err}");
        assert!(sandbox.mappings().is_empty());
    }
    assert_eq!(
        done(&sandbox, "--batch -", &add(0..4)),
        "added 4, changed 0, deleted 0, unchanged 0\n"
    );
    let before = sandbox.mappings();
    let (code, _, err) = edit(&sandbox, "--replace -", &add(2..6));
    assert_eq!(code, 20, "{err}");
    assert!(err.contains("new entries come before old ones go"), "{err}");
    assert_eq!(sandbox.mappings(), before);
    // A batch may delete before it adds, so it fits.
    let swap = add(4..6) + "--del --ip 10.0.0.0\n--del --ip 10.0.0.1\n";
    assert_eq!(done(&sandbox, "--batch -", &swap), "added 2, changed 0, deleted 2, unchanged 2\n");
    assert!(sandbox.mappings().contains_key("10.0.0.5/32"));
}

#[test]
fn nothing_loaded_and_no_file() {
    lab::require_root();
    let sandbox = Sandbox::new().unwrap();
    let (code, out, err) = edit(&sandbox, "--replace -", "-xi1.2.3.4");
    assert_eq!((code, out.as_str()), (2, ""), "the file is checked first: {err}");
    let (code, out, err) = edit(&sandbox, "--batch -", "-xi1.2.3.4");
    assert_eq!((code, out.as_str()), (22, ""), "{err}");
    let (code, _, err) = edit(&sandbox, "--batch /nonexistent", "");
    assert_eq!(code, 1);
    assert!(err.starts_with("ERR: read /nonexistent: "), "{err}");
}

// --- while others read

const NETS: u32 = 4096;

/// Returns two mappings of the same addresses. The first has /24s; in the second some are the same, some have another
/// class, some are split into /25s, and some are in a /22 with their neighbours.
fn two_files() -> [String; 2] {
    let net = |n: u32| format!("10.{}.{}", n / 256, n % 256);
    let [mut one, mut other] = [String::new(), String::new()];
    for n in 0..NETS {
        let add = |file: &mut String, prefix: String, class: u32| {
            writeln!(file, "--add --ip {prefix} --cpu 0 --classid 1:{class:x}").unwrap();
        };
        add(&mut one, format!("{}.0/24", net(n)), 1 + n);
        match n % 4 {
            0 => add(&mut other, format!("{}.0/24", net(n)), 1 + n),
            1 => add(&mut other, format!("{}.0/24", net(n)), 0x4000 + n),
            2 => {
                add(&mut other, format!("{}.0/25", net(n)), 0x4000 + n);
                add(&mut other, format!("{}.128/25", net(n)), 0x8000 + n);
            }
            _ => add(&mut other, format!("{}.0/22", net(n - 3)), 0x4000 + n),
        }
    }
    [one, other]
}

/// Returns the classes that a look-up of an address (net n, its last byte) may find.
fn allowed(n: u32, last: u32) -> [u32; 2] {
    let other = match (n % 4, last) {
        (0, _) => 1 + n,
        (2, 128..) => 0x8000 + n,
        _ => 0x4000 + n,
    };
    [0x1_0000 | (1 + n), 0x1_0000 | other]
}

fn address(n: u32, last: u32) -> [u8; 4] {
    [10, (n / 256) as u8, (n % 256) as u8, last as u8]
}

/// Looks addresses up until told to stop; returns the number of look-ups.
fn look_up(stop: &AtomicBool) -> u64 {
    let map: Map<IpPrefix, IpMapping> = PinDir::default().open(maps::IP_HASH).unwrap();
    let mut looked = 0;
    while !stop.load(Relaxed) {
        let (n, last) = (((looked * 2_654_435_761) >> 7) as u32 % NETS, (looked * 37) as u32 % 256);
        let [a, b, c, d] = address(n, last);
        let prefix = parse_cidr(&format!("{a}.{b}.{c}.{d}")).unwrap();
        let key = IpPrefix { prefixlen: 128, addr: prefix.addr() };
        let found = map.get(&key).unwrap().map(|found| found.tc_handle);
        let allowed = allowed(n, last);
        assert!(found.is_some_and(|class| allowed.contains(&class)), "{n} {last}: {found:x?}");
        looked += 1;
    }
    looked
}

/// Opens the steering program on `lo`.
fn steering_program() -> OwnedFd {
    let mut id = 0;
    // SAFETY: `id` outlives the call; the descriptor is ours.
    unsafe {
        assert_eq!(libbpf_sys::bpf_xdp_query_id(1, 0, &mut id), 0);
        let fd = libbpf_sys::bpf_prog_get_fd_by_id(id);
        assert!(fd >= 0, "{fd}");
        OwnedFd::from_raw_fd(fd)
    }
}

/// Returns an Ethernet frame with an IPv4 packet from `source`.
fn frame(source: [u8; 4]) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..18].copy_from_slice(&[0x45, 0, 0, 50]);
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..30].copy_from_slice(&source);
    frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
    frame
}

/// Sends packets of mapped subscribers through the program until told to stop; returns how many.
fn steer(stop: &AtomicBool) -> u64 {
    let program = steering_program();
    let mut sent = 0;
    while !stop.load(Relaxed) {
        let n = ((sent * 2_654_435_761) >> 7) as u32 % NETS;
        let packet = frame(address(n, (sent * 37) as u32 % 256));
        let context = libbpf_sys::xdp_md {
            data_end: packet.len() as u32,
            ingress_ifindex: 1,
            ..Default::default()
        };
        let mut options = libbpf_sys::bpf_test_run_opts {
            sz: size_of::<libbpf_sys::bpf_test_run_opts>() as u64,
            data_in: packet.as_ptr().cast(),
            data_size_in: packet.len() as u32,
            ctx_in: (&raw const context).cast(),
            ctx_size_in: size_of_val(&context) as u32,
            ..Default::default()
        };
        // SAFETY: packet and context outlive the call, with the sizes given.
        let result =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
        assert_eq!((result, options.retval), (0, XDP_REDIRECT), "{n}: passed up, not steered");
        sent += 1;
    }
    sent
}

#[test]
fn a_look_up_during_a_replace_finds_the_old_or_the_new_entry() {
    lab::require_root();
    let sandbox = loaded();
    let files = two_files();
    done(&sandbox, "--replace -", &files[0]);
    let stop = AtomicBool::new(false);
    let replaced = thread::scope(|scope| {
        let readers = [look_up, look_up, steer];
        let readers = readers.map(|read| {
            let (sandbox, stop) = (&sandbox, &stop);
            scope.spawn(move || sandbox.run(|| read(stop)).unwrap())
        });
        let end = Instant::now() + Duration::from_secs(4);
        let mut replaced = 0;
        while Instant::now() < end && readers.iter().all(|reader| !reader.is_finished()) {
            replaced += 1;
            let out = done(&sandbox, "--replace -", &files[replaced % 2]);
            assert!(
                out.starts_with("added 3072, changed 1024, deleted 2048")
                    || out.starts_with("added 2048, changed 1024, deleted 3072"),
                "{out}"
            );
        }
        stop.store(true, Relaxed);
        let looked = readers.map(|reader| reader.join().unwrap());
        eprintln!("{replaced} replaced; look-ups, look-ups, packets meanwhile: {looked:?}");
        replaced
    });
    assert!(replaced > 2);
}

// --- the snapshot

/// Returns a record with 156 samples a side in each epoch of the window, in 24 buckets.
fn record(handle: u32, now_ns: u64) -> RttHandle {
    let mut record = RttHandle::default();
    let number = (((now_ns >> RTT_TICK_BITS) * RTT_EPOCH_FACTOR) >> 32) as u32;
    for side in &mut record.epoch {
        for age in 0..RTT_EPOCHS as u32 {
            let epoch = &mut side[((number - age) % RTT_EPOCHS as u32) as usize];
            epoch.epoch = number - age;
            epoch.last_tick = (now_ns >> RTT_TICK_BITS) as u32;
            (epoch.min, epoch.max) = (500_000 + handle % 1000, 9_000_000);
            (epoch.count, epoch.sum_ns) = (156, 156 * 20_000_000);
            epoch.hist[10..22].fill(0x000c_0001);
        }
    }
    record
}

fn fill_rtt(handles: std::ops::Range<u32>) {
    let map: Map<u32, RttHandle> = PinDir::default().open(maps::RTT).unwrap();
    let now = ktime_ns().unwrap();
    for chunk in handles.collect::<Vec<_>>().chunks(1024) {
        let keys: Vec<_> = chunk.iter().map(|n| 0x1_0000 + n).collect();
        let records: Vec<_> = keys.iter().map(|key| record(*key, now)).collect();
        map.set_all(&keys, &records).unwrap();
    }
}

#[test]
fn a_snapshot_misses_and_doubles_no_handle_while_writers_run() {
    lab::require_root();
    const STEADY: u32 = 4096;
    let sandbox = loaded();
    sandbox.run(|| fill_rtt(0..STEADY)).unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let writer = |from: u32, step: u32| {
            let (sandbox, stop, written) = (&sandbox, &stop, &written);
            scope.spawn(move || {
                let write = || {
                    let mut at = from;
                    while !stop.load(Relaxed) && at < 20_000 {
                        // New handles beside the steady ones, which are written again.
                        fill_rtt(at..at + 16);
                        fill_rtt(at % STEADY..at % STEADY + 16);
                        at += step;
                        written.fetch_add(32, Relaxed);
                    }
                };
                sandbox.run(write).unwrap();
            })
        };
        let writers = [writer(STEADY, 32), writer(STEADY + 16, 32)];
        let mut last = 0;
        for _ in 0..8 {
            let reports = sandbox
                .run(|| Records::open(&PinDir::default()).unwrap().reports(true).unwrap())
                .unwrap()
                .found;
            let handles: Vec<_> =
                reports.iter().map(|report| report.tc_handle.0 - 0x1_0000).collect();
            assert!(handles.windows(2).all(|pair| pair[0] < pair[1]), "a handle came twice");
            let steady = handles.iter().filter(|handle| **handle < STEADY).count();
            assert_eq!(steady, STEADY as usize);
            last = reports.len();
        }
        stop.store(true, Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        eprintln!("{} records written meanwhile, {last} handles at last", written.load(Relaxed));
        assert!(written.load(Relaxed) > 1000);
    });
}

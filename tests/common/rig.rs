// SPDX-License-Identifier: GPL-2.0-only

//! The loaded packet path, one packet at a time: BPF_PROG_TEST_RUN on an object without pins, with a clock that the test
//! sets.

use super::names::{
    __sk_buff, control, ip_mapping, limits, rtt_handle, txq_config, xdp_md, Counts,
};
use super::test_run::{
    as_bytes, parse_metadata, test_run, Metadata, TestRun, COOKIE, METADATA, TC_ACT_OK,
};
use cpumap_pping::abi::skel::cpumap_pping::{CpumapPpingSkelBuilder, OpenCpumapPpingSkel};
use cpumap_pping::kernel::load::hash_keys;
use cpumap_pping::kernel::map::Map;
use cpumap_pping::rtt::records::{Collected, Records};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use model::{Facing, SampleSide};
use nix::time::{clock_getres, ClockId};
use std::collections::BTreeMap;
use std::io;
use std::mem::{offset_of, size_of, MaybeUninit};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The result of one frame in XDP.
#[derive(Debug)]
pub struct XdpOutcome {
    pub verdict: u32,
    pub metadata: Option<Metadata>,
    /// The bytes of the metadata, for [`SkbCtx::handed_on`].
    pub handed_on: Option<[u8; METADATA]>,
    pub counters: Counts,
}

/// The result of one packet in TC.
#[derive(Debug)]
pub struct TcOutcome {
    pub verdict: u32,
    pub priority: u32,
    pub counters: Counts,
    pub samples: Vec<Measured>,
}

/// One RTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    pub handle: u32,
    pub side: SampleSide,
    pub rtt: Duration,
}

/// The context of a packet in TC: where it leaves, where it came in, its priority, and its segments. Write
/// `..SkbCtx::default()` behind the fields that a test sets, so that a new field touches only this file.
#[derive(Clone, Copy, Debug, Default)]
pub struct SkbCtx {
    pub ifindex: u32,
    pub ingress_ifindex: u32,
    pub priority: u32,
    /// The number of segments that GRO merged into the packet, or that TSO makes of it; 0 or 1: not merged.
    pub segments: u32,
    /// The metadata that XDP handed on. In test runs `skb->cb` holds it.
    pub handed_on: Option<[u8; METADATA]>,
}

/// Sizes and switches with which the object is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    pub start: Duration,
    pub flow_buckets: u32,
    pub cache_entries: u32,
    pub rtt_handles: u32,
    /// Samples that fill a line. With 1, each sample goes to its record at once.
    pub recent_samples: u32,
    /// CPUs that have lines of recent samples: these, or all.
    pub recent_cpus: u32,
    pub rtt: bool,
    pub handshake: bool,
    pub metadata: bool,
    /// Frames begin with the IP header.
    pub no_link_header: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl LoadOptions {
    pub const DEFAULT: Self = {
        Self {
            start: Duration::from_secs(1_000_000),
            flow_buckets: 1024,
            cache_entries: 1024,
            rtt_handles: 1024,
            recent_samples: 1,
            recent_cpus: u32::MAX,
            rtt: true,
            handshake: false,
            metadata: true,
            no_link_header: false,
        }
    };
}

/// The loaded object. Every method may be called from several threads.
pub struct Rig {
    xdp: OwnedFd,
    tc: OwnedFd,
    pub map_ip_hash: MapHandle,
    pub map_ifindex_type: MapHandle,
    pub map_txq_config: MapHandle,
    pub cpu_map: MapHandle,
    pub cpus_available: MapHandle,
    pub cpp_control: MapHandle,
    pub cpp_addr_cache: MapHandle,
    pub cpp_flow: MapHandle,
    pub cpp_rtt: MapHandle,
    pub cpp_rtt_recent: MapHandle,
    pub cpp_stats: MapHandle,
    records: Records,
    now: AtomicU64,
    generation: AtomicU64,
}

/// Lines of recent samples a CPU.
pub const RECENT_LINES: u32 = 256;
pub const SEED: u64 = 0x0123_4567_89ab_cdef;

/// Returns the number of CPUs that arrays have room for: at least four, so that a packet can be on a wrong CPU.
pub fn cpus() -> u32 {
    libbpf_rs::num_possible_cpus().expect("possible CPUs").max(4) as u32
}

impl Rig {
    pub fn new(options: LoadOptions) -> Self {
        let mut object = MaybeUninit::uninit();
        let mut open = CpumapPpingSkelBuilder::default().open(&mut object).expect("open");
        size_maps(&mut open, &options);
        configure(&mut open, &options);
        let skel = open.load().expect("load");
        let handle = |map| MapHandle::try_from(map).expect("map handle");
        let rtts = Map::new("cpp_rtt", handle(&skel.maps.cpp_rtt));
        let records =
            Records::new(rtts, &handle(&skel.maps.cpp_rtt_recent), RECENT_LINES).expect("records");
        let rig = Self {
            records,
            xdp: skel.progs.xdp_iphash_to_cpu.as_fd().try_clone_to_owned().expect("fd"),
            tc: skel.progs.tc_classify.as_fd().try_clone_to_owned().expect("fd"),
            map_ip_hash: handle(&skel.maps.map_ip_hash),
            map_ifindex_type: handle(&skel.maps.map_ifindex_type),
            map_txq_config: handle(&skel.maps.map_txq_config),
            cpu_map: handle(&skel.maps.cpu_map),
            cpus_available: handle(&skel.maps.cpus_available),
            cpp_control: handle(&skel.maps.cpp_control),
            cpp_addr_cache: handle(&skel.maps.cpp_addr_cache),
            cpp_flow: handle(&skel.maps.cpp_flow),
            cpp_rtt: handle(&skel.maps.cpp_rtt),
            cpp_rtt_recent: handle(&skel.maps.cpp_rtt_recent),
            cpp_stats: handle(&skel.maps.cpp_stats),
            now: AtomicU64::new(options.start.as_nanos() as u64),
            generation: AtomicU64::new(1),
        };
        rig.write_control();
        rig
    }

    // --- the part of user space

    /// Adds a mapping and raises the generation, as our own commands do.
    pub fn map(&self, prefix: &str, cpu: u32, handle: u32) {
        self.map_quietly(prefix, cpu, handle);
        self.bump_generation();
    }

    /// Adds a mapping without raising the generation, as bpftool does.
    pub fn map_quietly(&self, prefix: &str, cpu: u32, tc_handle: u32) {
        put(&self.map_ip_hash, &prefix_key(prefix), &as_bytes(&ip_mapping { cpu, tc_handle }));
    }

    pub fn unmap(&self, prefix: &str) {
        self.map_ip_hash.delete(&prefix_key(prefix)).expect("delete");
        self.bump_generation();
    }

    pub fn bump_generation(&self) {
        self.generation.fetch_add(1, SeqCst);
        self.write_control();
    }

    pub fn direction(&self, ifindex: u32, direction: Facing) {
        put(&self.map_ifindex_type, &ifindex.to_ne_bytes(), &(direction as u32).to_ne_bytes());
    }

    pub fn txq(&self, cpu: u32, queue_mapping: u16, htb_major: u16) {
        let value = as_bytes(&txq_config { queue_mapping, htb_major });
        put(&self.map_txq_config, &cpu.to_ne_bytes(), &value);
    }

    /// Sets whether the CPU takes redirected frames.
    pub fn available(&self, cpu: u32, available: bool) {
        put(&self.cpus_available, &cpu.to_ne_bytes(), &u32::from(available).to_ne_bytes());
    }

    /// Gives the CPU an entry in cpu_map.
    pub fn redirect_to(&self, cpu: u32) {
        put(&self.cpu_map, &cpu.to_ne_bytes(), &192u32.to_ne_bytes());
    }

    pub fn cpu_map_delete(&self, cpu: u32) {
        self.cpu_map.delete(&cpu.to_ne_bytes()).expect("delete");
    }

    /// Deletes every RTT record.
    pub fn cpp_rtt_clear(&self) {
        let handles: Vec<Vec<u8>> = self.cpp_rtt.keys().collect();
        handles.iter().for_each(|key| self.cpp_rtt.delete(key).expect("delete"));
    }

    // --- the clock

    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now.load(SeqCst))
    }

    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(by.as_nanos() as u64, SeqCst);
        self.write_control();
    }

    /// Sets the clock back, as for a CPU that read it before another CPU used a later time.
    pub fn rewind(&self, by: Duration) {
        self.now.fetch_sub(by.as_nanos() as u64, SeqCst);
        self.write_control();
    }

    fn write_control(&self) {
        let control = control {
            generation: self.generation.load(SeqCst),
            hash_seed: SEED,
            meta_cookie: COOKIE,
            abi_version: limits::ABI_VERSION as u32,
            test_now_ns: self.now.load(SeqCst),
            test_frame_len: 0,
            recent_lines: RECENT_LINES,
            ..control::default()
        };
        put(&self.cpp_control, &0u32.to_ne_bytes(), &as_bytes(&control));
    }

    // --- packets

    /// Runs XDP on a frame that comes in by `ifindex`.
    pub fn steer(&self, frame: &[u8], ifindex: u32) -> XdpOutcome {
        self.steer_behind(&[], frame, ifindex)
    }

    /// Runs XDP on a frame behind metadata of another program.
    pub fn steer_behind(&self, foreign: &[u8], frame: &[u8], ifindex: u32) -> XdpOutcome {
        let before = self.counters();
        let run = self.try_steer(foreign, frame, ifindex);
        let run = run.unwrap_or_else(|error| {
            panic!("XDP test run of {} + {} bytes: {error}", foreign.len(), frame.len())
        });
        let counters = self.counters().since(&before);
        assert_eq!(counters.packets(), 1, "one frame, one fate: {counters:?}");
        let (metadata, content) = run.split_metadata();
        assert_eq!(content, frame, "the frame was changed");
        let added = &metadata[..metadata.len() - foreign.len()];
        let metadata = parse_metadata(added);
        XdpOutcome { verdict: run.verdict, metadata, handed_on: added.try_into().ok(), counters }
    }

    /// Runs XDP on a frame without checking the result. Returns the kernel's error: it does not run every frame.
    pub fn try_steer(&self, foreign: &[u8], frame: &[u8], ifindex: u32) -> io::Result<TestRun> {
        let data_in = [foreign, frame].concat();
        let ctx = xdp_md {
            data: foreign.len() as u32,
            data_end: data_in.len() as u32,
            ingress_ifindex: ifindex,
            ..Default::default()
        };
        test_run(&self.xdp, &as_bytes(&ctx), &data_in, 1)
    }

    /// Runs TC on a packet.
    pub fn classify(&self, packet: &[u8], skb: SkbCtx) -> TcOutcome {
        let records = self.records();
        let before = self.counters();
        let run = self.classify_quickly(packet, skb, 1);
        let counters = self.counters().since(&before);
        assert_eq!(counters.packets(), 1, "one packet, one fate: {counters:?}");
        TcOutcome {
            verdict: run.verdict,
            priority: run.priority(),
            samples: samples_between(&records, &self.records()),
            counters,
        }
    }

    /// Runs TC on a packet `repeat` times without reading counters and records.
    pub fn classify_quickly(&self, packet: &[u8], skb: SkbCtx, repeat: u32) -> TestRun {
        let run = self
            .try_classify(packet, skb, repeat)
            .unwrap_or_else(|error| panic!("TC test run of {} bytes: {error}", packet.len()));
        assert_eq!(run.verdict, TC_ACT_OK);
        assert_eq!(run.data, packet, "the packet was changed");
        run
    }

    /// Runs TC on a packet without checking the result. Returns the kernel's error: see [`super::test_run::refused`].
    pub fn try_classify(&self, packet: &[u8], skb: SkbCtx, repeat: u32) -> io::Result<TestRun> {
        let mut ctx = vec![0; size_of::<__sk_buff>()];
        for (at, value) in [
            (offset_of!(__sk_buff, ifindex), skb.ifindex),
            (offset_of!(__sk_buff, ingress_ifindex), skb.ingress_ifindex),
            (offset_of!(__sk_buff, priority), skb.priority),
            (offset_of!(__sk_buff, gso_segs), skb.segments),
        ] {
            ctx[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        if let Some(handed_on) = skb.handed_on {
            let at = offset_of!(__sk_buff, cb);
            ctx[at..at + METADATA].copy_from_slice(&handed_on);
        }
        test_run(&self.tc, &ctx, packet, repeat)
    }

    // --- counters and records

    /// Returns the counters, summed over all CPUs.
    pub fn counters(&self) -> Counts {
        let block = |cpu: u32| get(&self.cpp_stats, &cpu.to_ne_bytes()).expect("cpp_stats");
        Counts::of_all_cpus((0..cpus()).map(block))
    }

    /// Returns the RTT records that can be read, as the commands read them, and how many are left out.
    pub fn records_that_stand_still(&self) -> Collected<(u32, rtt_handle)> {
        self.records.collect(|handle, record| Some((handle, *record))).expect("records")
    }

    /// Returns the RTT records by handle, as the commands read them.
    pub fn records(&self) -> BTreeMap<u32, rtt_handle> {
        let collected = self.records_that_stand_still();
        assert_eq!(collected.left_out, 0, "handles left out");
        collected.found.into_iter().collect()
    }
}

fn size_maps(open: &mut OpenCpumapPpingSkel<'_>, options: &LoadOptions) {
    let possible = libbpf_rs::num_possible_cpus().expect("possible CPUs") as u32;
    let maps = &mut open.maps;
    for (map, entries) in [
        (&mut maps.map_txq_config, cpus()),
        (&mut maps.cpus_available, cpus()),
        (&mut maps.cpp_stats, cpus()),
        (&mut maps.cpu_map, possible),
        (&mut maps.cpp_addr_cache, options.cache_entries),
        (&mut maps.cpp_flow, options.flow_buckets),
        (&mut maps.cpp_rtt, options.rtt_handles),
        (&mut maps.cpp_rtt_recent, options.recent_cpus.min(cpus()) * RECENT_LINES),
    ] {
        map.set_max_entries(entries).expect("max_entries");
    }
}

/// Returns the length of a jiffy in nanoseconds.
pub fn jiffy_ns() -> u64 {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).expect("clock_getres").tv_nsec() as u64
}

fn configure(open: &mut OpenCpumapPpingSkel<'_>, options: &LoadOptions) {
    let jiffy = jiffy_ns();
    let ticks = |ns: u64| (ns / (64 * jiffy)) as u32;
    let rodata = open.maps.rodata_data.as_deref_mut().expect("rodata");
    let config = &mut rodata.config;
    config.hash_key = hash_keys(SEED);
    config.meta_cookie = COOKIE;
    config.cache_mask = options.cache_entries - 1;
    config.cache_ttl_jiffies = (900_000_000 / jiffy) as u32;
    config.flow_mask = options.flow_buckets - 1;
    config.recent_mask = RECENT_LINES - 1;
    config.recent_samples = options.recent_samples;
    config.sweep_ticks = ticks(limits::FLOW_SWEEP_NS);
    config.idle_ticks = ticks(limits::FLOW_IDLE_NS);
    config.resync_ticks = ticks(limits::FLOW_RESYNC_NS);
    config.jiffy_ns = jiffy as u32;
    config.rtt = options.rtt.into();
    config.handshake = options.handshake.into();
    config.metadata = options.metadata.into();
    config.no_link_header = options.no_link_header.into();
    config.test_clock = 1;
}

fn samples_between(
    before: &BTreeMap<u32, rtt_handle>,
    after: &BTreeMap<u32, rtt_handle>,
) -> Vec<Measured> {
    let mut samples = Vec::new();
    for (handle, record) in after {
        for side in [SampleSide::Subscriber, SampleSide::Internet] {
            let total = |record: &rtt_handle| {
                let total = &record.total[side as usize];
                (total.count, total.sum_ns)
            };
            let (count, sum) = before.get(handle).map(total).unwrap_or_default();
            let (new_count, new_sum) = total(record);
            match new_count - count {
                0 => assert_eq!(new_sum, sum, "a sum without a sample"),
                1 => samples.push(Measured {
                    handle: *handle,
                    side,
                    rtt: Duration::from_nanos(new_sum - sum),
                }),
                many => panic!("{many} samples of one packet"),
            }
        }
    }
    samples
}

/// `100.64.0.0/10`, `2001:db8::/32`, or an address.
pub fn prefix_key(prefix: &str) -> Vec<u8> {
    let (addr, length) = prefix.split_once('/').map_or((prefix, None), |(a, l)| (a, Some(l)));
    let (bytes, offset) = match addr.parse().expect("address") {
        IpAddr::V4(v4) => ([[0xff; 12].as_slice(), &v4.octets()].concat(), 96),
        IpAddr::V6(v6) => (v6.octets().to_vec(), 0),
    };
    let length = length.map_or(128, |length| offset + length.parse::<u32>().expect("length"));
    [length.to_ne_bytes().as_slice(), &bytes].concat()
}

pub fn put(map: &MapHandle, key: &[u8], value: &[u8]) {
    map.update(key, value, MapFlags::ANY)
        .unwrap_or_else(|error| panic!("{:?}: {error}", map.name()));
}

pub fn get(map: &MapHandle, key: &[u8]) -> Option<Vec<u8>> {
    map.lookup(key, MapFlags::ANY).unwrap_or_else(|error| panic!("{:?}: {error}", map.name()))
}

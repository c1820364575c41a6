// SPDX-License-Identifier: GPL-2.0-only

//! The loaded programs with their maps in memory: setting the clock, reading counters and starting afresh need no system
//! call.

use crate::common::names::{control, flow_bucket, ip_mapping, rtt_handle, COUNTERS};
use crate::common::rig::{put, LoadOptions, Rig};
use crate::common::test_run::as_bytes;
use cpumap_pping::abi::RECENT_SAMPLES;
use cpumap_pping::kernel::memory::WritableArray;
use libbpf_rs::{MapCore as _, MapHandle};
use model::{AddressPrefix, ModelConfig};
use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering::SeqCst;

/// Enough buckets for every flow of a round, even in a busy bucket.
const FLOW_BUCKETS: u32 = 4096;
const COUNTERS_ROOM: usize = 64;

pub type CounterBlock = [u64; COUNTERS_ROOM];

pub struct Loaded {
    pub rig: Rig,
    control: WritableArray,
    stats: WritableArray,
    flows: WritableArray,
    recent: WritableArray,
    recent_words: usize,
    cpus: u32,
}

impl Loaded {
    pub fn new(config: ModelConfig) -> Self {
        let rig = Rig::new(LoadOptions {
            flow_buckets: FLOW_BUCKETS,
            recent_samples: RECENT_SAMPLES as u32,
            handshake: config.handshake,
            rtt: config.rtt,
            no_link_header: config.no_link_header,
            ..LoadOptions::default()
        });
        let mapped = |map| WritableArray::open(map).expect("mmap");
        Self {
            control: mapped(&rig.cpp_control),
            stats: mapped(&rig.cpp_stats),
            flows: mapped(&rig.cpp_flow),
            recent: mapped(&rig.cpp_rtt_recent),
            recent_words: rig.cpp_rtt_recent.max_entries() as usize * 8,
            cpus: rig.cpp_stats.max_entries(),
            rig,
        }
    }

    /// Clears all maps and applies `setup`.
    pub fn reset(&self, setup: &model::InitialMaps) {
        for index in 0..FLOW_BUCKETS as usize * size_of::<flow_bucket>() / 8 {
            word(&self.flows, index).store(0, SeqCst);
        }
        for index in 0..self.recent_words {
            word(&self.recent, index).store(0, SeqCst);
        }
        delete_all(&self.rig.cpp_rtt);
        delete_all(&self.rig.map_ip_hash);
        for cpu in 0..self.cpus {
            self.rig.txq(cpu, 0, 0);
            self.rig.available(cpu, false);
        }
        for &(ifindex, direction) in &setup.directions {
            self.rig.direction(ifindex, direction);
        }
        for &(cpu, queue, major) in &setup.txqs {
            self.rig.txq(cpu, queue, major);
        }
        for &cpu in &setup.cpus {
            self.rig.redirect_to(cpu);
            self.rig.available(cpu, true);
        }
        for &(prefix, cpu, handle) in &setup.mappings {
            self.map(prefix, cpu, handle);
        }
        self.end_caches();
    }

    /// Adds or replaces a mapping, as our own commands do.
    pub fn map(&self, prefix: AddressPrefix, cpu: u32, tc_handle: u32) {
        let length = u32::from(prefix.length()).to_ne_bytes();
        let key = [length.as_slice(), &prefix.address()].concat();
        put(&self.rig.map_ip_hash, &key, &as_bytes(&ip_mapping { cpu, tc_handle }));
        self.end_caches();
    }

    fn end_caches(&self) {
        word(&self.control, offset_of!(control, generation) / 8).fetch_add(1, SeqCst);
    }

    pub fn set_now(&self, now_ns: u64) {
        word(&self.control, offset_of!(control, test_now_ns) / 8).store(now_ns, SeqCst);
    }

    /// Returns the sums over all CPUs, in the order of include/counters.def.
    pub fn counters(&self) -> CounterBlock {
        let mut sum = [0; COUNTERS_ROOM];
        for cpu in 0..self.cpus as usize {
            for (index, sum) in sum.iter_mut().enumerate().take(COUNTERS.len()) {
                *sum += word(&self.stats, cpu * COUNTERS_ROOM + index).load(SeqCst);
            }
        }
        sum
    }

    pub fn record(&self, handle: u32) -> Option<rtt_handle> {
        self.rig.records().remove(&handle)
    }
}

fn word(array: &WritableArray, index: usize) -> &std::sync::atomic::AtomicU64 {
    array.word(index).expect("within the array")
}

fn delete_all(map: &MapHandle) {
    let keys: Vec<Vec<u8>> = map.keys().collect();
    for key in keys {
        map.delete(&key).expect("delete");
    }
}

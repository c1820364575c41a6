// SPDX-License-Identifier: GPL-2.0-only

//! Plays a sequence step by step on the programs and on the model.

use crate::common::names::{counter, limits, rtt_handle, COUNTERS};
use crate::common::rig::{cpus, jiffy_ns, SkbCtx};
use crate::common::scene::run_on_cpu;
use crate::common::test_run::{
    parse_metadata, refused, Metadata, TestRun, METADATA, TC_ACT_OK, XDP_PASS, XDP_REDIRECT,
};
use crate::loaded::{CounterBlock, Loaded};
use cpumap_pping::rtt::histogram::counter_in;
use model::counter::{MODELLED, UNMODELLED};
use model::generate::MIN_FRAME;
use model::{
    Assignment, HandedOn, InitialMaps, Model, ModelConfig, ReferenceHistogram, Sample, SampleSide,
    Skb, Step, Verdict, World,
};
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What XDP hands on in place of a CPU number that does not fit.
const NO_SUCH_CPU: u16 = limits::NO_SUCH_CPU as u16;

/// CounterBlock of the address cache, which the model does not have. No other unmodelled counter may rise.
const CACHING: [&str; 2] = ["cache_miss", "tc_looked_up"];

/// The step of a sequence that made a difference, and the difference.
#[derive(Debug)]
pub struct Difference {
    pub step: usize,
    pub what: String,
}

/// The programs, loaded in each way, and the interfaces and CPUs of the sequences.
pub struct SideBySide {
    pub world: World,
    /// Loaded with RTT, with RTT of handshakes, without RTT, and for devices without a link header.
    loaded: [Loaded; 4],
    config: [ModelConfig; 4],
    /// The samples of all rounds.
    pub samples: u64,
    /// The packets that the kernel did not run.
    pub refused: u64,
}

impl SideBySide {
    pub fn new(lan: u32, wan: u32, elsewhere: u32) -> Self {
        let ours = sched_getaffinity(Pid::from_raw(0)).expect("sched_getaffinity");
        // The last CPU of the arrays is never one of ours.
        let ours = (0..cpus() - 1).filter(|&cpu| ours.is_set(cpu as usize).unwrap_or(false));
        let world =
            World { lan, wan, elsewhere, cpus: ours.take(2).collect(), absent_cpu: cpus() - 1 };
        let config = ModelConfig::new(1_000_000_000 / jiffy_ns());
        let config = ModelConfig { jiffy_ns: jiffy_ns(), ..config };
        let config = [
            config,
            ModelConfig { handshake: true, ..config },
            ModelConfig { rtt: false, ..config },
            ModelConfig { no_link_header: true, ..config },
        ];
        Self { world, loaded: config.map(Loaded::new), config, samples: 0, refused: 0 }
    }

    /// Plays a sequence from the beginning. The seed selects the way in which the programs are loaded.
    pub fn play(
        &mut self,
        seed: u64,
        setup: &InitialMaps,
        steps: &[(u64, Step)],
    ) -> Result<(), Difference> {
        let kind = [0, 1, 0, 3, 0, 1, 2, 1][seed as usize % 8];
        let mut round = Round::new(&self.loaded[kind], self.config[kind], setup);
        let mut play = || {
            for (step, (now_ns, what)) in steps.iter().enumerate() {
                round.step(*now_ns, what).map_err(|what| Difference { step, what })?;
            }
            let step = steps.len();
            round.compare_records().map_err(|what| Difference { step, what })
        };
        let result = play();
        self.samples += round.samples;
        self.refused += round.refused;
        result
    }

    /// Returns the counters of all rounds.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = self.loaded.each_ref().map(Loaded::counters);
        let sum = move |index: usize| counters.iter().map(|counters| counters[index]).sum();
        COUNTERS.iter().enumerate().map(move |(index, (name, _))| (*name, sum(index)))
    }
}

/// What XDP hands to TC of one packet, on both stages.
#[derive(Default)]
struct Passed {
    model: Option<HandedOn>,
    bpf: Option<[u8; METADATA]>,
}

/// One sequence.
struct Round<'a> {
    loaded: &'a Loaded,
    model: Model,
    counters: CounterBlock,
    cpu: Option<u32>,
    no_link_header: bool,
    /// The model's samples by the epoch that they fall into.
    epochs: BTreeMap<(u32, SampleSide, u32), ReferenceHistogram>,
    samples: u64,
    refused: u64,
}

impl<'a> Round<'a> {
    fn new(loaded: &'a Loaded, config: ModelConfig, setup: &InitialMaps) -> Self {
        let mut model = Model::new(config);
        setup.apply(&mut model);
        loaded.reset(setup);
        let counters = loaded.counters();
        Self {
            loaded,
            model,
            counters,
            cpu: None,
            no_link_header: config.no_link_header,
            epochs: BTreeMap::new(),
            samples: 0,
            refused: 0,
        }
    }

    /// Returns the frame as the device hands it over. Without a link header, it is what follows Ethernet, unless that is
    /// too short for a test run.
    fn on_device<'b>(&self, frame: &'b [u8]) -> &'b [u8] {
        match frame.get(14..) {
            Some(packet) if self.no_link_header && packet.len() >= MIN_FRAME => packet,
            _ => frame,
        }
    }

    fn step(&mut self, now_ns: u64, step: &Step) -> Result<(), String> {
        self.loaded.set_now(now_ns);
        match step {
            Step::Steer { frame, ifindex } => {
                self.steer(now_ns, self.on_device(frame), *ifindex).map(|_| ())
            }
            Step::Classify { frame, skb } => {
                self.classify(now_ns, self.on_device(frame), *skb, &Passed::default())
            }
            Step::Forward { arrived, frame, skb } => {
                let passed = self.steer(now_ns, self.on_device(arrived), skb.ingress_ifindex)?;
                self.classify(now_ns, self.on_device(frame), *skb, &passed)
            }
            Step::Map { prefix, cpu, handle } => {
                self.model.map(*prefix, *cpu, *handle);
                self.loaded.map(*prefix, *cpu, *handle);
                Ok(())
            }
        }
    }

    fn steer(&mut self, now_ns: u64, frame: &[u8], ifindex: u32) -> Result<Passed, String> {
        let expected = self.model.steer(frame, ifindex, now_ns);
        let run = self.loaded.rig.try_steer(&[], frame, ifindex);
        let run = run.map_err(|error| format!("XDP test run: {error}"))?;
        let verdict = match expected.verdict {
            Verdict::Pass => XDP_PASS,
            Verdict::Redirect { .. } => XDP_REDIRECT,
        };
        same("XDP verdict", verdict, run.verdict)?;
        let (metadata, content) = run.split_metadata();
        same("frame", frame, content)?;
        let wanted = expected.handed_on.map(|found| metadata_of(found, expected.counter));
        same("metadata", wanted, parse_metadata(metadata))?;
        self.compare_counters(&[expected.counter])?;
        Ok(Passed { model: expected.handed_on, bpf: metadata.try_into().ok() })
    }

    fn classify(
        &mut self,
        now_ns: u64,
        packet: &[u8],
        skb: Skb,
        passed: &Passed,
    ) -> Result<(), String> {
        if self.cpu.replace(skb.cpu) != Some(skb.cpu) {
            run_on_cpu(skb.cpu as usize);
        }
        let Skb { ifindex, ingress_ifindex, priority, .. } = skb;
        let handed_on = passed.bpf;
        let ctx = SkbCtx { ifindex, ingress_ifindex, priority, handed_on, ..SkbCtx::default() };
        let run = match self.loaded.rig.try_classify(packet, ctx, 1) {
            Ok(run) => run,
            Err(_) if refused(packet) => {
                self.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("TC test run: {error}")),
        };
        let expected = self.model.classify_forwarded(packet, skb, passed.model, now_ns);
        same("TC verdict", TC_ACT_OK, run.verdict)?;
        same("packet", packet, &run.data)?;
        same("priority", expected.priority, TestRun::priority(&run))?;
        self.compare_counters(&expected.counters)?;
        match expected.sample {
            Some(sample) => self.compare_sample(now_ns, sample),
            None => Ok(()),
        }
    }

    /// Compares the rise of all counters but those of the address cache.
    fn compare_counters(&mut self, expected: &[&'static str]) -> Result<(), String> {
        let now = self.loaded.counters();
        let mut wanted = [0; 64];
        for name in expected {
            wanted[counter(name)] += 1;
        }
        let before = std::mem::replace(&mut self.counters, now);
        let mut differences = String::new();
        for (index, (name, _)) in COUNTERS.iter().enumerate() {
            let risen = now[index] - before[index];
            if risen != wanted[index] && !CACHING.contains(name) {
                let _ = write!(differences, " {name}: model +{}, BPF +{risen};", wanted[index]);
            }
        }
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!("counters:{differences} the model counts {expected:?}"))
        }
    }

    fn compare_sample(&mut self, now_ns: u64, sample: Sample) -> Result<(), String> {
        self.samples += 1;
        let units = (sample.rtt_ns / model::histogram::UNIT_NS) as u32;
        let key = (sample.handle, sample.side, epoch_number(now_ns));
        self.epochs.entry(key).or_default().record(units);
        let record = self.loaded.record(sample.handle).ok_or("a sample without a record")?;
        self.compare_side(&record, sample.handle, sample.side)
            .map_err(|difference| format!("{sample:?}: {difference}"))?;
        self.compare_epoch(&record, key)
    }

    fn compare_side(
        &self,
        record: &rtt_handle,
        handle: u32,
        side: SampleSide,
    ) -> Result<(), String> {
        let all = self.model.histogram(handle, side);
        let expected = all.map_or((0, 0), |all| (all.count, all.sum_ns));
        let total = &record.total[side as usize];
        same("total count and sum", expected, (total.count, total.sum_ns))
    }

    /// Compares an epoch, unless a later one has replaced it.
    fn compare_epoch(
        &self,
        record: &rtt_handle,
        key: (u32, SampleSide, u32),
    ) -> Result<(), String> {
        let (_, side, number) = key;
        let epoch = &record.epoch[side as usize][number as usize % limits::RTT_EPOCHS as usize];
        if epoch.epoch > number {
            return Ok(());
        }
        let expected = &self.epochs[&key];
        let units = |ns: u64| (ns / model::histogram::UNIT_NS) as u32;
        same("epoch", number, epoch.epoch)?;
        same("sum of an epoch", expected.sum_ns, epoch.sum_ns)?;
        same("min of an epoch", units(expected.min_ns), epoch.min)?;
        same("max of an epoch", units(expected.max_ns), epoch.max)?;
        same("count of an epoch", expected.count, epoch.count.into())?;
        for (n, &count) in expected.buckets.iter().enumerate() {
            let counted = counter_in(&epoch.hist, n).into();
            same(&format!("bucket {n} of an epoch"), count, counted)?;
        }
        Ok(())
    }

    /// Compares every record at the end. A record without a sample must not exist.
    fn compare_records(&self) -> Result<(), String> {
        let records = self.loaded.rig.records();
        let known: BTreeSet<u32> = self.model.histograms().map(|(handle, ..)| handle).collect();
        same("handles with samples", &known, &records.keys().copied().collect())?;
        for (&handle, record) in &records {
            for side in [SampleSide::Subscriber, SampleSide::Internet] {
                let place = |difference| format!("handle {handle:#x}, {side:?}: {difference}");
                self.compare_side(record, handle, side).map_err(place)?;
            }
        }
        for &key in self.epochs.keys() {
            self.compare_epoch(&records[&key.0], key)
                .map_err(|difference| format!("{key:x?}: {difference}"))?;
        }
        Ok(())
    }
}

/// Returns the metadata that XDP writes for a frame with this fate.
fn metadata_of(found: HandedOn, fate: &str) -> Metadata {
    let mapping = found.assignment.unwrap_or(Assignment { cpu: u32::MAX, handle: 0 });
    Metadata {
        tc_handle: mapping.handle,
        cpu: u16::try_from(mapping.cpu).unwrap_or(NO_SUCH_CPU),
        direction: found.direction as u8,
        // enum mapping_state
        state: match fate {
            "xdp_unmapped" => 1,
            "xdp_no_cpu" => 2,
            _ => 3,
        },
        port: found.port,
    }
}

fn epoch_number(now_ns: u64) -> u32 {
    (((now_ns >> limits::RTT_TICK_BITS) * limits::RTT_EPOCH_FACTOR) >> 32) as u32
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: T, bpf: T) -> Result<(), String> {
    if model == bpf {
        Ok(())
    } else {
        Err(format!("{what}: model {model:x?}, BPF {bpf:x?}"))
    }
}

#[test]
fn every_counter_is_compared_or_known_not_to_be() {
    for (name, _) in COUNTERS {
        assert!(MODELLED.contains(name) || UNMODELLED.contains(name), "{name}");
    }
}

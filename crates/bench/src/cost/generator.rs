// SPDX-License-Identifier: GPL-2.0-only
//! The frame generator: a thread that sends, in every tick, segments and the ACKs of the segments that it
//! sent an RTT ago. It records when it sent them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::{sleep, JoinHandle};
use std::time::{Duration, Instant};

use lab::scheduling::{run_ahead, RealtimePolicy};
use lab::Netns;
use nix::libc;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::time::{clock_gettime, clock_nanosleep, ClockId, ClockNanosleepFlags};
use nix::unistd::Pid;

use crate::cost::frame_template::{FrameFields, FrameTemplate, FrameWay};
use crate::cost::sender::Sender;
use crate::cost::testbed::{TO_LAN, TO_WAN};
use crate::cost::workload::{Load, LoadFlow, LoadFlows, Shot};
use crate::error::Result;

const TICK_NS: u64 = 1_000_000;
/// Most ticks whose ACKs the generator sends in one tick. The ACKs of more ticks would not fit into the
/// queues.
const CATCH_UP: u64 = 3;
/// Number of ticks that the generator remembers beyond the longest RTT, for ACKs that are late.
const LATE: usize = 200;

/// Counts of a generator. They can be read while it runs.
#[derive(Default)]
pub struct GeneratorCounts {
    stop: AtomicBool,
    /// Index of the load that the generator sends.
    load: AtomicUsize,
    /// Frames down.
    pub segments: AtomicU64,
    /// Frames up.
    pub acks: AtomicU64,
    /// ACKs that could end a sample: the first ACK of each TSval, except of a flow's first TSval.
    pub possible: AtomicU64,
    /// Frames that the device refused.
    pub refused: AtomicU64,
    /// Ticks without segments because the machine had no time. The generator does not make up for them
    /// with a burst.
    pub skipped: AtomicU64,
    /// Sum and number of the true RTTs of all possible samples, by load and subscriber.
    pub truth: Vec<Vec<[AtomicU64; 2]>>,
}

impl GeneratorCounts {
    /// Returns the number of frames sent both ways.
    pub fn frames(&self) -> u64 {
        self.segments.load(Relaxed) + self.acks.load(Relaxed)
    }

    /// Returns the [`truth`](Self::truth) of a load, as it is now.
    pub fn truth_of(&self, load: usize) -> Vec<[u64; 2]> {
        let all = self.truth[load].iter();
        all.map(|[sum, count]| [sum.load(Relaxed), count.load(Relaxed)]).collect()
    }
}

/// A running generator. Dropping it stops it.
pub struct FrameGenerator {
    /// The counts so far.
    pub counts: Arc<GeneratorCounts>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
}

impl FrameGenerator {
    /// Starts to send the first of the loads, on `cpu`.
    pub fn start(edge: &Netns, loads: &[Load], cpu: usize) -> Result<Self> {
        let counters = |load: &Load| (0..load.subscribers).map(|_| Default::default()).collect();
        let truth = loads.iter().map(counters).collect();
        let counts = Arc::new(GeneratorCounts { truth, ..GeneratorCounts::default() });
        let (shared, loads) = (counts.clone(), loads.to_vec());
        let thread = edge.spawn("generator", move || run(&loads, cpu, &shared))?;
        Ok(Self { counts, thread: Some(thread) })
    }

    /// Switches to another of the loads.
    pub fn select(&self, load: usize) {
        self.counts.load.store(load, Relaxed);
    }

    /// Waits until the generator has sent `count` more segments. Returns how long that took.
    pub fn wait_for_segments(&self, count: u64) -> Result<Duration> {
        let segments = || self.counts.segments.load(Relaxed);
        let (start, end) = (Instant::now(), segments() + count);
        while segments() < end {
            if !self.is_running() {
                return Err("the generator has stopped".into());
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err("the generator has too little CPU time".into());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(start.elapsed())
    }

    /// Returns whether the generator still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for FrameGenerator {
    fn drop(&mut self) {
        self.counts.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            if let Ok(Ok(Err(error)) | Err(error)) = thread.join() {
                eprintln!("generator: {error}");
            }
        }
    }
}

fn run(loads: &[Load], cpu: usize, counts: &GeneratorCounts) -> io::Result<()> {
    let mut streams = loads
        .iter()
        .zip(&counts.truth)
        .map(|(load, truth)| RunningLoad::new(load, truth))
        .collect::<io::Result<Vec<_>>>()?;
    go_first(cpu)?;
    let start = now_ns()?;
    let mut tick = 0;
    while !counts.stop.load(Relaxed) {
        let due = start + tick * TICK_NS;
        wait_until(due)?;
        let missed = (now_ns()? - due) / TICK_NS;
        if missed > 0 {
            add(&counts.skipped, missed);
            tick += missed;
            continue;
        }
        let stream = &mut streams[counts.load.load(Relaxed)];
        stream.acknowledge(tick, counts)?;
        stream.send(tick, counts)?;
        tick += 1;
    }
    Ok(())
}

/// The segments of one tick.
#[derive(Clone, Default)]
struct SentTick {
    /// The tick + 1; 0 if this place is unused.
    tick: u64,
    sent_ns: u64,
    /// The segments by RTT.
    lists: Vec<Vec<Shot>>,
}

/// A load that the generator sends.
struct RunningLoad<'a> {
    load: &'a Load,
    truth: &'a [[AtomicU64; 2]],
    flows: LoadFlows,
    down: Sender,
    up: Sender,
    /// A ring that reaches back over the longest RTT and [`LATE`].
    past: Vec<SentTick>,
    /// For each RTT, the first tick whose segments are not yet acknowledged.
    acked: Vec<u64>,
    drawn: Vec<Shot>,
}

impl<'a> RunningLoad<'a> {
    fn new(load: &'a Load, truth: &'a [[AtomicU64; 2]]) -> io::Result<Self> {
        let room = load.per_tick as usize;
        let open = |device, way| Sender::open(device, FrameTemplate::new(&load.shape, way), room);
        let longest = load.rtt_ticks.iter().max().copied().unwrap_or_default() as usize;
        let empty =
            SentTick { lists: vec![Vec::new(); load.rtt_ticks.len()], ..SentTick::default() };
        Ok(Self {
            load,
            truth,
            flows: LoadFlows::new(load),
            down: open(TO_WAN, FrameWay::Down)?,
            up: open(TO_LAN, FrameWay::Up)?,
            past: vec![empty; longest + LATE],
            acked: vec![0; load.rtt_ticks.len()],
            drawn: Vec::new(),
        })
    }

    /// Sends the ACKs that are due in `tick`, and those of ticks that were skipped.
    fn acknowledge(&mut self, tick: u64, counts: &GeneratorCounts) -> io::Result<()> {
        for (class, rtt) in self.load.rtt_ticks.iter().enumerate() {
            let due = (tick + 1).saturating_sub(*rtt);
            let kept = (tick + 1).saturating_sub(self.past.len() as u64);
            let from = self.acked[class].max(kept);
            let until = due.min(from + CATCH_UP);
            for then in from..until {
                self.acknowledge_one(class, then, tick, counts)?;
            }
            self.acked[class] = until.max(from);
        }
        Ok(())
    }

    fn acknowledge_one(
        &mut self,
        class: usize,
        then: u64,
        tick: u64,
        counts: &GeneratorCounts,
    ) -> io::Result<()> {
        let past = &self.past[then as usize % self.past.len()];
        if past.tick != then + 1 {
            return Ok(());
        }
        let (flows, list) = (&mut self.flows, &past.lists[class]);
        self.up.fill(list, |index| ack(flows, index, tick, tick - then));
        let true_rtt = now_ns()? - past.sent_ns;
        add(&counts.refused, self.up.send(list.len())?);
        add(&counts.acks, list.len() as u64);
        let mut possible = 0;
        for shot in list.iter().filter(|shot| shot.opens) {
            let subscriber = self.flows.all[shot.flow as usize].subscriber;
            let [sum, count] = &self.truth[subscriber as usize];
            add(sum, true_rtt);
            add(count, 1);
            possible += 1;
        }
        add(&counts.possible, possible);
        Ok(())
    }

    fn send(&mut self, tick: u64, counts: &GeneratorCounts) -> io::Result<()> {
        self.flows.draw(tick, &mut self.drawn);
        let place = tick as usize % self.past.len();
        let past = &mut self.past[place];
        past.tick = tick + 1;
        past.lists.iter_mut().for_each(Vec::clear);
        for shot in &self.drawn {
            let subscriber = self.flows.all[shot.flow as usize].subscriber;
            past.lists[self.load.class_of(subscriber)].push(*shot);
        }
        let (flows, payload) = (&mut self.flows, self.load.shape.payload);
        self.down.fill(&self.drawn, |index| segment(flows, index, tick, payload));
        past.sent_ns = now_ns()?;
        add(&counts.refused, self.down.send(self.drawn.len())?);
        add(&counts.segments, self.drawn.len() as u64);
        Ok(())
    }
}

fn segment(
    flows: &mut LoadFlows,
    index: u32,
    tick: u64,
    payload: usize,
) -> (LoadFlow, FrameFields) {
    let flow = &mut flows.all[index as usize];
    let tsecr = match flow.last_up {
        0 => 0,
        last => flow.clock_up.wrapping_add((last - 1) as u32),
    };
    let tsval = flow.clock_down.wrapping_add(tick as u32);
    let variable = FrameFields { tsval, tsecr, seq: flow.bytes_down, ack: 1 };
    flow.bytes_down = flow.bytes_down.wrapping_add(payload as u32);
    (flow.clone(), variable)
}

fn ack(flows: &mut LoadFlows, index: u32, tick: u64, rtt: u64) -> (LoadFlow, FrameFields) {
    let flow = &mut flows.all[index as usize];
    flow.last_up = tick + 1;
    let tsval = flow.clock_up.wrapping_add(tick as u32);
    let tsecr = flow.clock_down.wrapping_add((tick - rtt) as u32);
    (flow.clone(), FrameFields { tsval, tsecr, seq: 1, ack: flow.bytes_down })
}

/// Adds to a count. Only the generator's thread writes, so that the sum needs no atomic addition.
fn add(to: &AtomicU64, value: u64) {
    to.store(to.load(Relaxed) + value, Relaxed);
}

/// Moves the calling thread to one CPU and lets it run ahead of ordinary threads.
fn go_first(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)?;
    run_ahead(0, RealtimePolicy::Fifo, 1)
}

fn now_ns() -> io::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

fn wait_until(due: u64) -> io::Result<()> {
    let at =
        libc::timespec { tv_sec: (due / 1_000_000_000) as _, tv_nsec: (due % 1_000_000_000) as _ };
    match clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &at.into())
    {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

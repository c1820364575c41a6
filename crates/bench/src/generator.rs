//! The frame generator: a thread of its own that sends every tick's segments and the ACKs of those of an
//! RTT ago, and knows when it did.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::{sleep, JoinHandle};
use std::time::{Duration, Instant};

use lab::Netns;
use nix::libc::{self, c_int};
use nix::sched::{sched_setaffinity, CpuSet};
use nix::time::{clock_gettime, clock_nanosleep, ClockId, ClockNanosleepFlags};
use nix::unistd::Pid;

use crate::frame::{Template, Variable, Way};
use crate::sender::Sender;
use crate::stage::{TO_LAN, TO_WAN};
use crate::workload::{Flow, Flows, Load, Shot};
use crate::Result;

const TICK_NS: u64 = 1_000_000;
/// Ticks whose ACKs are sent in one: more at once would not fit into the queues.
const CATCH_UP: u64 = 3;
/// Ticks that are remembered beyond the longest RTT, for ACKs that are late.
const LATE: usize = 200;

/// What the generator has done so far; read while it runs.
#[derive(Default)]
pub struct Progress {
    stop: AtomicBool,
    /// Which of the loads is being sent.
    load: AtomicUsize,
    /// Frames down.
    pub segments: AtomicU64,
    /// Frames up.
    pub acks: AtomicU64,
    /// ACKs that could end a sample: the first one of a TSval that was not its flow's first.
    pub possible: AtomicU64,
    /// Frames that the device refused.
    pub refused: AtomicU64,
    /// Ticks without segments because the machine had no time: no burst makes up for them.
    pub skipped: AtomicU64,
    /// The true RTTs of the samples that were possible, by load and subscriber: sum and number.
    pub truth: Vec<Vec<[AtomicU64; 2]>>,
}

impl Progress {
    /// Frames sent both ways.
    pub fn frames(&self) -> u64 {
        self.segments.load(Relaxed) + self.acks.load(Relaxed)
    }

    /// A load's [`truth`](Self::truth) now.
    pub fn truth_of(&self, load: usize) -> Vec<[u64; 2]> {
        let all = self.truth[load].iter();
        all.map(|[sum, count]| [sum.load(Relaxed), count.load(Relaxed)]).collect()
    }
}

/// The running generator; dropping it stops it.
pub struct Generator {
    /// What it has done.
    pub progress: Arc<Progress>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
}

impl Generator {
    /// Starts with the first of the loads, on `cpu`.
    pub fn start(edge: &Netns, loads: &[Load], cpu: usize) -> Result<Self> {
        let counters = |load: &Load| (0..load.subscribers).map(|_| Default::default()).collect();
        let truth = loads.iter().map(counters).collect();
        let progress = Arc::new(Progress { truth, ..Progress::default() });
        let (shared, loads) = (progress.clone(), loads.to_vec());
        let thread = edge.spawn("generator", move || run(&loads, cpu, &shared))?;
        Ok(Self { progress, thread: Some(thread) })
    }

    /// Goes on with another of the loads.
    pub fn select(&self, load: usize) {
        self.progress.load.store(load, Relaxed);
    }

    /// Waits until so many more segments are sent; how long it took.
    pub fn wait_for_segments(&self, count: u64) -> Result<Duration> {
        let segments = || self.progress.segments.load(Relaxed);
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

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.progress.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            if let Ok(Ok(Err(error)) | Err(error)) = thread.join() {
                eprintln!("generator: {error}");
            }
        }
    }
}

fn run(loads: &[Load], cpu: usize, progress: &Progress) -> io::Result<()> {
    let mut streams = loads
        .iter()
        .zip(&progress.truth)
        .map(|(load, truth)| Stream::new(load, truth))
        .collect::<io::Result<Vec<_>>>()?;
    go_first(cpu)?;
    let start = now_ns()?;
    let mut tick = 0;
    while !progress.stop.load(Relaxed) {
        let due = start + tick * TICK_NS;
        wait_until(due)?;
        let missed = (now_ns()? - due) / TICK_NS;
        if missed > 0 {
            add(&progress.skipped, missed);
            tick += missed;
            continue;
        }
        let stream = &mut streams[progress.load.load(Relaxed)];
        stream.acknowledge(tick, progress)?;
        stream.send(tick, progress)?;
        tick += 1;
    }
    Ok(())
}

/// The segments of a tick.
#[derive(Clone, Default)]
struct Past {
    /// Tick + 1; 0: none.
    tick: u64,
    sent_ns: u64,
    /// By RTT.
    lists: Vec<Vec<Shot>>,
}

/// A load while it is sent.
struct Stream<'a> {
    load: &'a Load,
    truth: &'a [[AtomicU64; 2]],
    flows: Flows,
    down: Sender,
    up: Sender,
    /// A ring that reaches back over the longest RTT and [`LATE`].
    past: Vec<Past>,
    /// By RTT: the segments of ticks before this one are acknowledged.
    acked: Vec<u64>,
    drawn: Vec<Shot>,
}

impl<'a> Stream<'a> {
    fn new(load: &'a Load, truth: &'a [[AtomicU64; 2]]) -> io::Result<Self> {
        let room = load.per_tick as usize;
        let open = |device, way| Sender::open(device, Template::new(&load.shape, way), room);
        let longest = load.rtt_ticks.iter().max().copied().unwrap_or_default() as usize;
        let empty = Past { lists: vec![Vec::new(); load.rtt_ticks.len()], ..Past::default() };
        Ok(Self {
            load,
            truth,
            flows: Flows::new(load),
            down: open(TO_WAN, Way::Down)?,
            up: open(TO_LAN, Way::Up)?,
            past: vec![empty; longest + LATE],
            acked: vec![0; load.rtt_ticks.len()],
            drawn: Vec::new(),
        })
    }

    /// The ACKs that are due in `tick`, and those of ticks that were missed.
    fn acknowledge(&mut self, tick: u64, progress: &Progress) -> io::Result<()> {
        for (class, rtt) in self.load.rtt_ticks.iter().enumerate() {
            let due = (tick + 1).saturating_sub(*rtt);
            let kept = (tick + 1).saturating_sub(self.past.len() as u64);
            let from = self.acked[class].max(kept);
            let until = due.min(from + CATCH_UP);
            for then in from..until {
                self.acknowledge_one(class, then, tick, progress)?;
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
        progress: &Progress,
    ) -> io::Result<()> {
        let past = &self.past[then as usize % self.past.len()];
        if past.tick != then + 1 {
            return Ok(());
        }
        let (flows, list) = (&mut self.flows, &past.lists[class]);
        self.up.fill(list, |index| ack(flows, index, tick, tick - then));
        let true_rtt = now_ns()? - past.sent_ns;
        add(&progress.refused, self.up.send(list.len())?);
        add(&progress.acks, list.len() as u64);
        let mut possible = 0;
        for shot in list.iter().filter(|shot| shot.opens) {
            let subscriber = self.flows.all[shot.flow as usize].subscriber;
            let [sum, count] = &self.truth[subscriber as usize];
            add(sum, true_rtt);
            add(count, 1);
            possible += 1;
        }
        add(&progress.possible, possible);
        Ok(())
    }

    fn send(&mut self, tick: u64, progress: &Progress) -> io::Result<()> {
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
        add(&progress.refused, self.down.send(self.drawn.len())?);
        add(&progress.segments, self.drawn.len() as u64);
        Ok(())
    }
}

fn segment(flows: &mut Flows, index: u32, tick: u64, payload: usize) -> (Flow, Variable) {
    let flow = &mut flows.all[index as usize];
    let tsecr = match flow.last_up {
        0 => 0,
        last => flow.clock_up.wrapping_add((last - 1) as u32),
    };
    let tsval = flow.clock_down.wrapping_add(tick as u32);
    let variable = Variable { tsval, tsecr, seq: flow.bytes_down, ack: 1 };
    flow.bytes_down = flow.bytes_down.wrapping_add(payload as u32);
    (flow.clone(), variable)
}

fn ack(flows: &mut Flows, index: u32, tick: u64, rtt: u64) -> (Flow, Variable) {
    let flow = &mut flows.all[index as usize];
    flow.last_up = tick + 1;
    let tsval = flow.clock_up.wrapping_add(tick as u32);
    let tsecr = flow.clock_down.wrapping_add((tick - rtt) as u32);
    (flow.clone(), Variable { tsval, tsecr, seq: 1, ack: flow.bytes_down })
}

/// One writer only.
fn add(to: &AtomicU64, value: u64) {
    to.store(to.load(Relaxed) + value, Relaxed);
}

/// Ahead of ordinary threads, on one CPU.
fn go_first(cpu: usize) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus)?;
    run_first(0, 1)
}

/// Puts a thread (0: the caller's) ahead of ordinary ones and of those of a lower priority.
pub fn run_first(thread: i32, priority: c_int) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: plain system call on a struct that outlives it.
    match unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

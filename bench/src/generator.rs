//! The frame generator: a thread of its own that sends every tick's segments and the ACKs of those of
//! `rtt_ticks` ago, and knows when it did.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::JoinHandle;

use lab::Netns;
use nix::libc::{self, c_int};
use nix::sched::{sched_setaffinity, CpuSet};
use nix::time::{clock_gettime, clock_nanosleep, ClockId, ClockNanosleepFlags};
use nix::unistd::Pid;

use crate::frame::{Template, Variable, Way};
use crate::stage::{TO_LAN, TO_WAN};
use crate::workload::{Flows, Load};
use crate::Result;

const TICK_NS: u64 = 1_000_000;
/// Frames of one system call.
const BATCH: usize = 64;

/// What the generator has done so far; read while it runs.
#[derive(Default)]
pub struct Progress {
    stop: AtomicBool,
    pub segments: AtomicU64,
    pub acks: AtomicU64,
    /// Frames that the device refused.
    pub refused: AtomicU64,
    /// Ticks left out because the machine had no time: no burst makes up for them.
    pub skipped: AtomicU64,
    /// Sum of the true RTTs of the segments acknowledged.
    pub rtt_ns: AtomicU64,
    /// The same by subscriber: sum and number.
    pub by_subscriber: Vec<[AtomicU64; 2]>,
}

pub struct Generator {
    pub progress: Arc<Progress>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
}

impl Generator {
    pub fn start(edge: &Netns, load: &Load, bridged: bool, cpu: usize) -> Result<Self> {
        let by_subscriber = (0..load.subscribers).map(|_| Default::default()).collect();
        let progress = Arc::new(Progress { by_subscriber, ..Progress::default() });
        let (shared, load) = (progress.clone(), load.clone());
        let thread = edge.spawn("generator", move || run(&load, bridged, cpu, &shared))?;
        Ok(Self { progress, thread: Some(thread) })
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

fn run(load: &Load, bridged: bool, cpu: usize, progress: &Progress) -> io::Result<()> {
    go_first(cpu)?;
    let mut flows = Flows::new(load);
    let mut down = Sender::open(TO_WAN, Template::new(&load.shape, Way::Down, bridged), load)?;
    let mut up = Sender::open(TO_LAN, Template::new(&load.shape, Way::Up, bridged), load)?;
    let slots = load.rtt_ticks as usize + 1;
    let mut history: Vec<(u64, Vec<u32>)> = vec![(0, Vec::new()); slots];
    let start = now_ns()?;
    let mut tick = 0u64;
    while !progress.stop.load(Relaxed) {
        let due = start + tick * TICK_NS;
        wait_until(due)?;
        let began = now_ns()?;
        let missed = (began - due) / TICK_NS;
        if missed > 0 {
            for skipped in tick..tick + missed.min(slots as u64) {
                history[(skipped % slots as u64) as usize].1.clear();
            }
            add(&progress.skipped, missed);
            tick += missed;
            continue;
        }
        if tick >= load.rtt_ticks {
            let (sent, list) = &history[((tick - load.rtt_ticks) % slots as u64) as usize];
            up.fill(list, |list_index| ack(&mut flows, list_index, tick, load.rtt_ticks));
            progress.refused.fetch_add(up.send(list.len())?, Relaxed);
            count_acks(progress, &flows, list, began - sent);
        }
        let (sent, list) = &mut history[(tick % slots as u64) as usize];
        flows.draw(tick, list);
        down.fill(list, |index| segment(&mut flows, index, tick, load.shape.payload));
        *sent = now_ns()?;
        progress.refused.fetch_add(down.send(list.len())?, Relaxed);
        add(&progress.segments, list.len() as u64);
        tick += 1;
    }
    Ok(())
}

fn segment(
    flows: &mut Flows,
    index: u32,
    tick: u64,
    payload: usize,
) -> (crate::workload::Flow, Variable) {
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

fn ack(flows: &mut Flows, index: u32, tick: u64, rtt: u64) -> (crate::workload::Flow, Variable) {
    let flow = &mut flows.all[index as usize];
    flow.last_up = tick + 1;
    let tsval = flow.clock_up.wrapping_add(tick as u32);
    let tsecr = flow.clock_down.wrapping_add((tick - rtt) as u32);
    (flow.clone(), Variable { tsval, tsecr, seq: 1, ack: flow.bytes_down })
}

fn count_acks(progress: &Progress, flows: &Flows, list: &[u32], rtt: u64) {
    add(&progress.acks, list.len() as u64);
    add(&progress.rtt_ns, rtt * list.len() as u64);
    for index in list {
        let subscriber = flows.all[*index as usize].subscriber;
        let [sum, count] = &progress.by_subscriber[subscriber as usize];
        add(sum, rtt);
        add(count, 1);
    }
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
    check(unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameter) })
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

/// A packet socket that injects frames of one template into one device, past its queueing discipline.
struct Sender {
    fd: OwnedFd,
    template: Template,
    frames: Vec<Vec<u8>>,
}

impl Sender {
    fn open(device: &str, template: Template, load: &Load) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(device)? as c_int;
        // SAFETY: plain system call; protocol 0 receives nothing.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let on: c_int = 1;
        // SAFETY: the pointer and the length describe `on`.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                size_of::<c_int>() as _,
            )
        };
        check(result)?;
        // SAFETY: sockaddr_ll is plain data; all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index;
        // SAFETY: the pointer and the length describe `address`.
        let result = unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as _)
        };
        check(result)?;
        let frames = vec![template.blank(); load.per_tick as usize];
        Ok(Self { fd, template, frames })
    }

    fn fill(
        &mut self,
        list: &[u32],
        mut next: impl FnMut(u32) -> (crate::workload::Flow, Variable),
    ) {
        for (frame, index) in self.frames.iter_mut().zip(list) {
            let (flow, variable) = next(*index);
            self.template.fill(frame, &flow, variable);
        }
    }

    /// Sends the first `count` frames; how many were refused.
    fn send(&self, count: usize) -> io::Result<u64> {
        let mut refused = 0;
        for frames in self.frames[..count].chunks(BATCH) {
            refused += self.send_batch(frames)?;
        }
        Ok(refused)
    }

    fn send_batch(&self, frames: &[Vec<u8>]) -> io::Result<u64> {
        // SAFETY: iovec and mmsghdr are plain data; all zeroes is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for (index, frame) in frames.iter().enumerate() {
            vectors[index] =
                libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        let (mut done, mut refused) = (0, 0);
        while done < frames.len() {
            // SAFETY: the headers point to frames that outlive the call and are only read.
            let sent = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    headers[done..].as_mut_ptr(),
                    (frames.len() - done) as u32,
                    0 as _,
                )
            };
            if sent > 0 {
                done += sent as usize;
                continue;
            }
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    refused += 1;
                    done += 1;
                }
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            }
        }
        Ok(refused)
    }
}

fn check(result: c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

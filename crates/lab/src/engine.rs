//! The thread of a delay line: receives, dresses or undresses, holds, releases.

use crate::delay::{LinePlan, Mac};
use crate::encapsulation::{strip, Encapsulation};
use crate::frame::Frame;
use crate::link::{AtomicCounters, Direction, Fate, Link, Random};
use crate::packet_socket::{PacketSocket, BATCH};
use nix::libc::{self, c_int};
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames under way at once: 0.6 s at 100 000 packets/s.
const QUEUE_LIMIT: usize = 65536;
/// When the kernel takes no frame, try again this much later.
const RETRY: u64 = 50_000;
/// Wakes at most this much early; the rest of the time is spent polling.
const LATENESS_LIMIT: u64 = 100_000;
/// The trunk among the ports; spoke n is port n + 1.
const TRUNK: usize = 0;

/// A frame on its way. The earliest is the greatest, as BinaryHeap gives the greatest first.
struct Pending {
    release: u64,
    sequence: u64,
    port: usize,
    spoke: usize,
    frame: Frame,
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.release, other.sequence).cmp(&(self.release, self.sequence))
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Pending {}

/// A spoke as the engine sees it. `last_*` is the latest in-order release: a shrinking delay reorders nothing.
struct Member {
    link: Arc<Link>,
    last_to_shaper: u64,
    last_from_shaper: u64,
}

/// The state of the line's thread. Times are nanoseconds since `epoch`.
pub(crate) struct Engine {
    ports: Vec<PacketSocket>,
    members: Vec<Member>,
    by_mac: HashMap<Mac, usize>,
    encapsulations: HashMap<Mac, Encapsulation>,
    polled: Vec<libc::pollfd>,
    /// Kept open: it is polled.
    _stop: OwnedFd,
    dropped: Arc<AtomicU64>,
    epoch: Instant,
    queue: BinaryHeap<Pending>,
    slots: Vec<Frame>,
    pool: Vec<Frame>,
    capacity: usize,
    sequence: u64,
    random: Random,
    /// How late the kernel usually wakes this thread: it asks to be woken that much earlier.
    lateness: u64,
    realtime: bool,
}

impl Engine {
    /// Opens every device in the calling thread's namespace.
    pub(crate) fn open(plan: LinePlan, stop: OwnedFd, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let devices =
            std::iter::once(&plan.trunk).chain(plan.spokes.iter().map(|spoke| &spoke.device));
        let ports =
            devices.map(|device| PacketSocket::open(device)).collect::<io::Result<Vec<_>>>()?;
        let polled = ports
            .iter()
            .map(AsFd::as_fd)
            .chain([stop.as_fd()])
            .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        let by_mac = plan.spokes.iter().map(|spoke| spoke.mac).zip(0..).collect();
        let members = plan.spokes.into_iter().map(|spoke| Member {
            link: spoke.link,
            last_to_shaper: 0,
            last_from_shaper: 0,
        });
        let capacity = plan.mtu as usize + 64;
        Ok(Self {
            ports,
            members: members.collect(),
            by_mac,
            encapsulations: plan.encapsulations,
            polled,
            _stop: stop,
            dropped,
            epoch: Instant::now(),
            queue: BinaryHeap::new(),
            slots: vec![Frame::new(capacity); BATCH],
            pool: Vec::new(),
            capacity,
            sequence: 0,
            random: Random(plan.seed),
            lateness: 0,
            realtime: plan.realtime,
        })
    }

    /// Forwards until the stop pipe closes.
    pub(crate) fn run(mut self) -> io::Result<()> {
        be_punctual(self.realtime);
        loop {
            self.release_due();
            self.wait()?;
            let Some((stop, ports)) = self.polled.split_last() else { return Ok(()) };
            if stop.revents != 0 {
                return Ok(());
            }
            let readable: Vec<usize> =
                (0..ports.len()).filter(|&port| ports[port].revents != 0).collect();
            for port in readable {
                self.receive(port)?;
            }
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Sleeps until a frame arrives or the next one is due.
    fn wait(&mut self) -> io::Result<()> {
        let asked = self.now();
        let sleep = self.queue.peek().map(|next| {
            // A long queue goes out in batches anyway: no CPU for punctuality there.
            let early = if self.queue.len() <= BATCH { self.lateness } else { 0 };
            next.release.saturating_sub(asked + early)
        });
        let ready = self.poll(sleep)?;
        if let (0, Some(sleep @ 1..)) = (ready, sleep) {
            let late = self.now().saturating_sub(asked + sleep);
            self.lateness = ((7 * self.lateness + late) / 8).min(LATENESS_LIMIT);
        }
        Ok(())
    }

    /// Polls every port and the stop pipe for at most `sleep` nanoseconds, for ever when None.
    fn poll(&mut self, sleep: Option<u64>) -> io::Result<c_int> {
        let timeout = sleep.map(Duration::from_nanos).map(|left| libc::timespec {
            tv_sec: left.as_secs() as _,
            tv_nsec: left.subsec_nanos() as _,
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.polled.len() as libc::nfds_t;
        // SAFETY: `polled` holds `count` entries whose descriptors are owned by self.
        let ready =
            unsafe { libc::ppoll(self.polled.as_mut_ptr(), count, timeout, std::ptr::null()) };
        if ready >= 0 {
            return Ok(ready);
        }
        let error = io::Error::last_os_error();
        self.polled.iter_mut().for_each(|polled| polled.revents = 0);
        if error.kind() == io::ErrorKind::Interrupted {
            Ok(-1)
        } else {
            Err(error)
        }
    }

    /// Takes one batch from a port and schedules it.
    fn receive(&mut self, port: usize) -> io::Result<()> {
        let mut slots = std::mem::take(&mut self.slots);
        let received = match self.ports[port].receive(&mut slots) {
            Ok(received) => received,
            // The device went down or away: the lab is being taken apart.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Default::default(),
            Err(error) => return Err(error),
        };
        self.dropped.fetch_add(received.dropped, Relaxed);
        let now = self.now();
        for slot in &mut slots[..received.frames] {
            if is_chatter(slot) {
                continue;
            }
            let empty = self.buffer();
            let frame = std::mem::replace(slot, empty);
            if port == TRUNK {
                self.accept_from_shaper(frame, now)
            } else {
                self.accept_from_host(port - 1, frame, now)
            }
        }
        self.slots = slots;
        Ok(())
    }

    fn buffer(&mut self) -> Frame {
        self.pool.pop().unwrap_or_else(|| Frame::new(self.capacity))
    }

    /// Dresses a host's frame and sends it to the trunk.
    fn accept_from_host(&mut self, spoke: usize, mut frame: Frame, now: u64) {
        if !self.dress(&mut frame) {
            count(&self.members[spoke].link.to_shaper.counts.overflow);
            return self.pool.push(frame);
        }
        self.schedule(TRUNK, spoke, frame, now);
    }

    fn dress(&self, frame: &mut Frame) -> bool {
        if self.encapsulations.is_empty() {
            return true;
        }
        let Some((destination, source)) = frame.addresses() else { return false };
        let subscriber =
            self.encapsulations.get(&source).or_else(|| self.encapsulations.get(&destination));
        subscriber.is_none_or(|encapsulation| encapsulation.push(frame))
    }

    /// Undresses a frame of the shaper and sends it to the host it is for; floods what is for nobody known.
    fn accept_from_shaper(&mut self, mut frame: Frame, now: u64) {
        strip(&mut frame);
        let known = frame.addresses().and_then(|(to, _)| self.by_mac.get(&to).copied());
        let spoke = if self.members.len() == 1 { Some(0) } else { known };
        if let Some(spoke) = spoke {
            return self.schedule(spoke + 1, spoke, frame, now);
        }
        for spoke in 0..self.members.len() {
            let mut copy = self.buffer();
            copy.copy_from(&frame);
            self.schedule(spoke + 1, spoke, copy, now);
        }
        self.pool.push(frame);
    }

    /// Draws a frame's fate and queues it.
    fn schedule(&mut self, port: usize, spoke: usize, frame: Frame, now: u64) {
        let member = &mut self.members[spoke];
        let (direction, last) = if port == TRUNK {
            (&member.link.to_shaper, &mut member.last_to_shaper)
        } else {
            (&member.link.from_shaper, &mut member.last_from_shaper)
        };
        let (release, copies) = match direction.draw(&mut self.random) {
            Fate::Lost => {
                count(&direction.counts.lost);
                return self.pool.push(frame);
            }
            Fate::InOrder { delay, copies } => {
                *last = (now + delay).max(*last);
                (*last, copies)
            }
            Fate::HeldBack { delay, copies } => {
                count(&direction.counts.reordered);
                (now + delay, copies)
            }
        };
        if copies > 1 {
            count(&direction.counts.duplicated);
            let mut copy = self.buffer();
            copy.copy_from(&frame);
            self.enqueue(Pending { release, sequence: 0, port, spoke, frame: copy });
        }
        self.enqueue(Pending { release, sequence: 0, port, spoke, frame });
    }

    fn enqueue(&mut self, mut pending: Pending) {
        if self.queue.len() >= QUEUE_LIMIT {
            count(&self.counts(&pending).overflow);
            return self.pool.push(pending.frame);
        }
        self.sequence += 1;
        pending.sequence = self.sequence;
        self.queue.push(pending);
    }

    fn counts(&self, pending: &Pending) -> &AtomicCounters {
        let link = &self.members[pending.spoke].link;
        let direction: &Direction =
            if pending.port == TRUNK { &link.to_shaper } else { &link.from_shaper };
        &direction.counts
    }

    /// Sends what is due, in batches of one port.
    fn release_due(&mut self) {
        let now = self.now();
        let mut batch: Vec<Pending> = Vec::with_capacity(BATCH);
        while let Some(next) = self.queue.peek() {
            if next.release > now {
                break;
            }
            let full = batch.len() == BATCH;
            if full || batch.first().is_some_and(|first| first.port != next.port) {
                self.send(&mut batch);
            }
            batch.extend(self.queue.pop());
        }
        self.send(&mut batch);
    }

    /// Sends one port's batch; what the kernel does not take is tried again a little later.
    fn send(&mut self, batch: &mut Vec<Pending>) {
        let Some(first) = batch.first() else { return };
        let frames: Vec<&Frame> = batch.iter().map(|pending| &pending.frame).collect();
        let (sent, fatal) = match self.ports[first.port].send(&frames) {
            Ok(sent) => (sent, false),
            Err(error) => (0, !is_congestion(&error)),
        };
        for (index, mut pending) in batch.drain(..).enumerate() {
            if index < sent {
                count(&self.counts(&pending).forwarded);
                self.pool.push(pending.frame);
            } else if fatal && index == sent {
                // This frame cannot be sent (too long, device down); the next ones may.
                count(&self.counts(&pending).overflow);
                self.pool.push(pending.frame);
            } else {
                pending.release = self.now() + if fatal { 0 } else { RETRY };
                self.queue.push(pending);
            }
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// IPv6 multicast is neighbour discovery and listener reports. Neighbours are permanent: keep links quiet.
fn is_chatter(frame: &Frame) -> bool {
    frame.bytes().starts_with(&[0x33, 0x33])
}

fn is_congestion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR))
}

/// Timers to the nanosecond instead of 50 µs late, and a turn at once on a busy CPU.
fn be_punctual(realtime: bool) {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: plain system calls on the calling thread. Where they are refused, the line is less exact.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
        if realtime {
            libc::sched_setscheduler(0, libc::SCHED_RR, &priority);
        }
    }
}

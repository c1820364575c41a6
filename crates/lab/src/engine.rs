// SPDX-License-Identifier: GPL-2.0-only
//! The thread of a delay line: receives frames, adds or removes their encapsulation, holds them for
//! their delay and sends them.

use crate::encapsulation::{strip, Encapsulation};
use crate::frame_buffer::FrameBuffer;
use crate::line_plan::LinePlan;
use crate::link::{AtomicLinkCounters, Fate, FateRandom, HostLink, LinkDirection};
use crate::mac::Mac;
use crate::packet_socket::{PacketSocket, BATCH};
use crate::scheduling::{run_ahead, RealtimePolicy};
use nix::libc::{self, c_int};
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most frames that the line holds at once: 0.6 s at 100 000 packets/s.
const QUEUE_LIMIT: usize = 65536;
/// When the kernel takes no frame, the line tries again this many ns later.
const RETRY: u64 = 50_000;
/// The line asks to wake at most this many ns early; it spends the rest of the time polling.
const LATENESS_LIMIT: u64 = 100_000;
/// The trunk's index among the ports; spoke n is port n + 1.
const TRUNK: usize = 0;

/// A frame that the line holds. The earliest compares as the greatest, because BinaryHeap returns the
/// greatest first.
struct Pending {
    release: u64,
    sequence: u64,
    port: usize,
    spoke: usize,
    frame: FrameBuffer,
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

/// A spoke as the engine sees it. `last_*` is the latest release of an in-order frame: no later frame
/// is released before it, so that a shrinking delay reorders nothing.
struct Member {
    link: Arc<HostLink>,
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
    /// Kept open because `polled` refers to it.
    _stop: OwnedFd,
    dropped: Arc<AtomicU64>,
    epoch: Instant,
    queue: BinaryHeap<Pending>,
    slots: Vec<FrameBuffer>,
    pool: Vec<FrameBuffer>,
    capacity: usize,
    sequence: u64,
    random: FateRandom,
    /// How late in ns the kernel usually wakes this thread. The thread asks to wake that much earlier.
    lateness: u64,
}

impl Engine {
    /// Opens every device, in the calling thread's namespace.
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
            slots: vec![FrameBuffer::new(capacity); BATCH],
            pool: Vec::new(),
            capacity,
            sequence: 0,
            random: FateRandom(plan.seed),
            lateness: 0,
        })
    }

    /// Forwards until the stop pipe closes.
    pub(crate) fn run(mut self) -> io::Result<()> {
        be_punctual();
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
            // A long queue leaves in batches anyway: do not spend CPU time on polling.
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

    /// Polls every port and the stop pipe for at most `sleep` nanoseconds; None means for ever.
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

    /// Receives one batch from a port and schedules its frames.
    fn receive(&mut self, port: usize) -> io::Result<()> {
        let mut slots = std::mem::take(&mut self.slots);
        let received = match self.ports[port].receive(&mut slots) {
            Ok(received) => received,
            // The device is down or gone: the lab is being dropped.
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

    fn buffer(&mut self) -> FrameBuffer {
        self.pool.pop().unwrap_or_else(|| FrameBuffer::new(self.capacity))
    }

    /// Adds the encapsulation to a host's frame and schedules it for the trunk.
    fn accept_from_host(&mut self, spoke: usize, mut frame: FrameBuffer, now: u64) {
        if !self.encapsulate(&mut frame) {
            count(&self.members[spoke].link.to_shaper.counts.overflow);
            return self.pool.push(frame);
        }
        self.schedule(TRUNK, spoke, frame, now);
    }

    fn encapsulate(&self, frame: &mut FrameBuffer) -> bool {
        if self.encapsulations.is_empty() {
            return true;
        }
        let Some((destination, source)) = frame.addresses() else { return false };
        let subscriber =
            self.encapsulations.get(&source).or_else(|| self.encapsulations.get(&destination));
        subscriber.is_none_or(|encapsulation| encapsulation.push(frame))
    }

    /// Removes the encapsulation of a frame from the shaper and schedules the frame for the host with
    /// its destination address. Schedules a copy for every host if no host has that address.
    fn accept_from_shaper(&mut self, mut frame: FrameBuffer, now: u64) {
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

    /// Draws a frame's fate and queues the frame.
    fn schedule(&mut self, port: usize, spoke: usize, frame: FrameBuffer, now: u64) {
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

    fn counts(&self, pending: &Pending) -> &AtomicLinkCounters {
        let link = &self.members[pending.spoke].link;
        let direction: &LinkDirection =
            if pending.port == TRUNK { &link.to_shaper } else { &link.from_shaper };
        &direction.counts
    }

    /// Sends the frames that are due, in batches of one port.
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

    /// Sends one port's batch; queues the frames that the kernel does not take for another try.
    fn send(&mut self, batch: &mut Vec<Pending>) {
        let Some(first) = batch.first() else { return };
        let frames: Vec<&FrameBuffer> = batch.iter().map(|pending| &pending.frame).collect();
        let (sent, fatal) = match self.ports[first.port].send(&frames) {
            Ok(sent) => (sent, false),
            Err(error) => (0, !is_congestion(&error)),
        };
        for (index, mut pending) in batch.drain(..).enumerate() {
            if index < sent {
                count(&self.counts(&pending).forwarded);
                self.pool.push(pending.frame);
            } else if fatal && index == sent {
                // The kernel refuses this frame (too long, device down); it may take the next ones.
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

/// Returns whether the frame is IPv6 multicast: neighbour discovery or listener reports. All neighbour
/// entries are permanent, so that no host needs these frames.
fn is_chatter(frame: &FrameBuffer) -> bool {
    frame.bytes().starts_with(&[0x33, 0x33])
}

fn is_congestion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR))
}

/// Makes the calling thread's timers exact to the nanosecond (by default they are 50 µs late) and lets
/// the thread run ahead of ordinary threads: the line is then exact on a busy machine, but a line that
/// saturates a CPU starves the shaper. If the kernel refuses, the line is less exact.
fn be_punctual() {
    // SAFETY: plain system call on the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
    let _ = run_ahead(0, RealtimePolicy::RoundRobin, 1);
}

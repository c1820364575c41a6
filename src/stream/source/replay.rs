// SPDX-License-Identifier: GPL-2.0-only
//! The source that runs the packets of a capture through a program (`BPF_PROG_TEST_RUN`), on the
//! capture's clock.

use std::os::fd::AsRawFd;
use std::time::Duration;

use libbpf_sys::bpf_test_run_opts;
use nix::errno::Errno;

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::{Error, Result};
use crate::stream::capture::{Capture, CapturedFrame};
use crate::stream::counters::StreamCounters;
use crate::stream::source::read_ahead::{Read, ReadAhead};
use crate::stream::source::replay_clock::ReplayClock;
use crate::stream::source::replay_summary::{ReplaySummary, MISSED};
use crate::stream::source::stream_programs::{StreamProgram, StreamPrograms};
use crate::stream::source::{Progress, Source, BATCH};

/// Number of bytes of a packet that are run. The kernel takes a little less than a page
/// (net/bpf/test_run.c), and all headers fit into this.
const MAX_BYTES: usize = 2048;
/// Length of a pause between two packets from which on the clock jumps to the next packet.
const LONG_NS: u64 = 3_600_000_000_000;
/// Longest time to wait for the next packet of a pipe before the events so far are taken.
const PATIENCE: Duration = Duration::from_millis(50);
/// Number of packets between two readings of the ring buffer, which holds 120 000 events.
const STRIDE: usize = 1024;

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayPosition {
    /// Number of packets read.
    pub packets: u64,
    /// Number of bytes read of the file, gzipped or not.
    pub bytes: u64,
    /// Size of the file in bytes; `None` for a pipe.
    pub size: Option<u64>,
}

/// A function that shows how far a replay has come. It is called after about 1000 packets or less.
pub type ShowPosition = Box<dyn FnMut(ReplayPosition)>;

/// A capture and the program that its packets run through. The program tells the two directions of
/// a connection apart by the addresses, so it needs no flags of the capture.
pub struct Replay {
    programs: StreamPrograms,
    ahead: ReadAhead,
    /// The clock after the next packet, if that is read, else after the last one.
    clock: ReplayClock,
    /// Whether `clock` has been moved to the next packet.
    is_next_timed: bool,
    /// The time of the source's clock.
    now_ns: u64,
    show: Option<ShowPosition>,
}

impl Replay {
    /// Reads the first packet and sets the clock to its time. `show` is called as the replay goes
    /// on.
    ///
    /// # Errors
    /// Those of [`Capture::next`].
    pub fn new(
        programs: StreamPrograms,
        capture: Capture,
        show: Option<ShowPosition>,
    ) -> Result<Self> {
        let mut ahead = ReadAhead::new(capture);
        while ahead.read(None)? == Read::LeftOut {}
        let clock = ReplayClock::new(ahead.next().map_or(0, |frame| frame.time_ns));
        let now_ns = clock.steady_ns();
        Ok(Self { programs, ahead, clock, is_next_timed: false, now_ns, show })
    }

    /// Moves the clock to the next packet and returns the clock's time; `None` if there is none.
    fn next_ns(&mut self) -> Option<u64> {
        let packet_ns = self.ahead.next()?.time_ns;
        if !self.is_next_timed {
            let jump = self.clock.is_jump(packet_ns);
            let after_ns = if jump { self.ahead.time_after_next() } else { None };
            self.clock.advance(packet_ns, after_ns);
            self.is_next_timed = true;
        }
        Some(self.clock.steady_ns())
    }

    /// Runs the next packet and removes it.
    fn run_next(&mut self) -> Result<()> {
        self.now_ns = self.now_ns.max(self.clock.steady_ns());
        if let Some(frame) = self.ahead.next() {
            run(&self.programs, frame, self.now_ns)?;
        }
        self.ahead.pop();
        self.is_next_timed = false;
        Ok(())
    }

    /// Runs the packets that are read.
    fn run_rest(&mut self) -> Result<()> {
        while self.next_ns().is_some() {
            self.run_next()?;
        }
        Ok(())
    }

    /// Runs the packets before `until_ns`, about [`STRIDE`] at most.
    fn run_until(&mut self, until_ns: u64) -> Result<Progress> {
        if until_ns <= self.now_ns {
            // After a stop within a packet, those before it are still to run.
            if self.ahead.is_done() {
                self.run_rest()?;
            }
            return Ok(Progress::More);
        }
        for _ in 0..STRIDE {
            match self.ahead.read(Some(PATIENCE))? {
                Read::Frame => {}
                Read::LeftOut => continue,
                Read::Silent => break,
                Read::End => return Ok(Progress::End),
            }
            match self.next_ns() {
                Some(next_ns) if next_ns >= until_ns => {
                    let pause = next_ns - until_ns > LONG_NS;
                    self.now_ns = if pause { next_ns } else { until_ns };
                    break;
                }
                _ => self.run_next()?,
            }
        }
        Ok(Progress::More)
    }

    fn position(&self) -> ReplayPosition {
        let capture = self.ahead.capture();
        ReplayPosition {
            packets: capture.packets(),
            bytes: capture.position(),
            size: capture.size(),
        }
    }
}

/// Runs a packet through the program.
fn run(programs: &StreamPrograms, frame: &CapturedFrame, steady_ns: u64) -> Result<()> {
    programs.set_clock(frame.time_ns, steady_ns, frame.wire_len);
    let Some(program) = programs.get(StreamProgram::Xdp) else { return Ok(()) };
    let data = &frame.data[..frame.data.len().min(MAX_BYTES)];
    let mut opts = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as u64,
        data_in: data.as_ptr().cast(),
        data_size_in: data.len() as u32,
        ..Default::default()
    };
    // SAFETY: the descriptor is an open program; `opts` holds its own size, and `data` outlives the
    // call.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
    match result {
        0 => Ok(()),
        _ => Err(Error::bpf_load("run a packet through the program", Errno::from_raw(-result), "")),
    }
}

impl Source for Replay {
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        let ran = self.run_until(until_ns);
        // Append the events of the packets before a fault, too.
        let limit = if ran.is_ok() { usize::MAX } else { BATCH };
        self.programs.drain(batch, limit)?;
        let position = self.position();
        if let Some(show) = &mut self.show {
            show(position);
        }
        ran
    }

    fn now_ns(&mut self) -> Result<u64> {
        Ok(self.now_ns)
    }

    fn stamp_ns(&self, now_ns: u64) -> u64 {
        self.clock.stamp_ns(now_ns)
    }

    fn counters(&mut self) -> Result<StreamCounters> {
        Ok(self.programs.counters())
    }

    fn flow(&self, index: u32) -> Option<StreamFlow> {
        self.programs.flow(index)
    }

    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>> {
        self.programs.subnets()
    }

    fn forget_subnets(&mut self, keys: &[StreamSubnetKey]) -> Result<()> {
        self.programs.forget_subnets(keys)
    }

    fn summary(&self) -> Option<ReplaySummary> {
        let capture = self.ahead.capture();
        Some(ReplaySummary {
            packets: capture.packets() - self.ahead.count() as u64,
            unreadable: capture.left_out().clone(),
            counters: self.programs.counters(),
            missed: MISSED.map(|(name, _)| self.programs.rtt_counter(name)),
        })
    }
}

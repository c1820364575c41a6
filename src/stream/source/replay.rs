// SPDX-License-Identifier: GPL-2.0-only
//! The source that runs the packets of a capture through the programs (`BPF_PROG_TEST_RUN`), on the
//! capture's clock.

use std::os::fd::AsRawFd;
use std::time::Duration;

use libbpf_sys::bpf_test_run_opts;
use nix::errno::Errno;

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::{Error, Result};
use crate::stream::capture::egress::is_egress;
use crate::stream::capture::{Capture, CapturedFrame};
use crate::stream::counters::StreamCounters;
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

/// A capture and the programs that its packets run through.
pub struct Replay {
    programs: StreamPrograms,
    capture: Capture,
    /// The next packet; `None` after the last one.
    next: Option<CapturedFrame>,
    /// Whether `next` has run already, and the packet after it must be read.
    unread: bool,
    /// The clock.
    now_ns: u64,
    /// Number of packets that the kernel has refused to run.
    refused: u64,
}

impl Replay {
    /// Reads the first packet and sets the clock to its time.
    ///
    /// # Errors
    /// Those of [`Capture::next`].
    pub fn new(programs: StreamPrograms, capture: Capture) -> Result<Self> {
        let next = Some(CapturedFrame::default());
        let mut replay = Self { programs, capture, next, unread: true, now_ns: 0, refused: 0 };
        replay.advance()?;
        replay.now_ns = replay.next.as_ref().map_or(0, |frame| frame.time_ns);
        Ok(replay)
    }

    /// Reads the next packet.
    fn advance(&mut self) -> Result<()> {
        self.unread = false;
        let Some(mut frame) = self.next.take() else { return Ok(()) };
        if self.capture.next(&mut frame)? {
            self.next = Some(frame);
        }
        Ok(())
    }

    /// Runs one packet. Times of a capture can go back; then the clock stays.
    fn run(&mut self, frame: &CapturedFrame) -> Result<()> {
        self.now_ns = self.now_ns.max(frame.time_ns);
        self.programs.set_clock(self.now_ns, frame.wire_len);
        let which = if is_egress(frame) { StreamProgram::Egress } else { StreamProgram::Ingress };
        let Some(program) = self.programs.get(which) else { return Ok(()) };
        let data = &frame.data[..frame.data.len().min(MAX_BYTES)];
        let mut opts = bpf_test_run_opts {
            sz: size_of::<bpf_test_run_opts>() as u64,
            data_in: data.as_ptr().cast(),
            data_size_in: data.len() as u32,
            ..Default::default()
        };
        // SAFETY: the descriptor is an open program; `opts` holds its own size, and `data` outlives
        // the call.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
        match Errno::from_raw(-result) {
            _ if result == 0 => Ok(()),
            // The kernel makes no socket buffer of a packet that ends within its IP header.
            Errno::EINVAL => {
                self.refused += 1;
                Ok(())
            }
            err => Err(Error::bpf_load("run a packet through the programs", err, "")),
        }
    }
}

impl Source for Replay {
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        for _ in 0..STRIDE {
            if self.unread {
                if until_ns <= self.now_ns || !self.capture.is_ready(PATIENCE) {
                    break;
                }
                if let Err(err) = self.advance() {
                    // Append the events of the packets before the fault.
                    self.programs.drain(batch, BATCH)?;
                    return Err(err);
                }
            }
            match self.next.take() {
                None => {
                    self.programs.drain(batch, usize::MAX)?;
                    return Ok(Progress::End);
                }
                Some(frame) if frame.time_ns.max(self.now_ns) >= until_ns => {
                    let pause = frame.time_ns.saturating_sub(until_ns) > LONG_NS;
                    self.now_ns = if pause { frame.time_ns } else { until_ns.max(self.now_ns) };
                    self.next = Some(frame);
                    break;
                }
                Some(frame) => {
                    self.run(&frame)?;
                    self.next = Some(frame);
                    self.unread = true;
                }
            }
        }
        self.programs.drain(batch, usize::MAX)?;
        Ok(Progress::More)
    }

    fn now_ns(&mut self) -> Result<u64> {
        Ok(self.now_ns)
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

    fn left_out(&self) -> Option<String> {
        let refused = self.refused;
        (refused > 0).then(|| {
            format!(
                "{refused} packets were not run: the kernel takes none that end within the IP header"
            )
        })
    }
}

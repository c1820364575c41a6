// SPDX-License-Identifier: GPL-2.0-only
//! A capture, run through the programs packet by packet (`BPF_PROG_TEST_RUN`) on the capture's clock.

use std::os::fd::AsRawFd;

use libbpf_sys::bpf_test_run_opts;
use nix::errno::Errno;

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::domain::error::{Error, Result};
use crate::stream::capture::direction::is_egress;
use crate::stream::capture::{Capture, CapturedFrame};
use crate::stream::counters::StreamCounters;
use crate::stream::source::programs::{StreamProgram, StreamPrograms};
use crate::stream::source::{Progress, Source, BATCH};

/// What a test run takes: a page less its own needs (net/bpf/test_run.c). All headers are in it.
const MAX_BYTES: usize = 2048;
/// A pause of the capture that need not be lived through.
const LONG_NS: u64 = 3_600_000_000_000;
/// Packets between two looks into the ring buffer, which holds 120 000 events.
const STRIDE: usize = 1024;

/// A capture on its way through the programs.
pub struct Replay {
    programs: StreamPrograms,
    capture: Capture,
    /// The packet that is next, unless the capture has ended.
    next: Option<CapturedFrame>,
    now_ns: u64,
    refused: u64,
}

impl Replay {
    /// Begins at the first packet.
    ///
    /// # Errors
    /// That of the capture.
    pub fn new(programs: StreamPrograms, capture: Capture) -> Result<Self> {
        let mut replay =
            Self { programs, capture, next: Some(CapturedFrame::default()), now_ns: 0, refused: 0 };
        replay.advance()?;
        replay.now_ns = replay.next.as_ref().map_or(0, |frame| frame.time_ns);
        Ok(replay)
    }

    fn advance(&mut self) -> Result<()> {
        let Some(mut frame) = self.next.take() else { return Ok(()) };
        if self.capture.next(&mut frame)? {
            self.next = Some(frame);
        }
        Ok(())
    }

    /// Runs one packet. Captures can step back; our clock does not.
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
        // SAFETY: an open program; opts says its own size, and the data outlives the call.
        let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
        match Errno::from_raw(-result) {
            _ if result == 0 => Ok(()),
            // The kernel does not make a socket buffer of everything: no IP, or cut short in it.
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
                    if let Err(err) = self.advance() {
                        // What came before the fault counts.
                        self.programs.drain(batch, BATCH)?;
                        return Err(err);
                    }
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

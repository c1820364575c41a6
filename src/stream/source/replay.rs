// SPDX-License-Identifier: GPL-2.0-only
//! A capture, run through the programs packet by packet (`BPF_PROG_TEST_RUN`) on the capture's clock.

use std::os::fd::AsRawFd;

use libbpf_sys::bpf_test_run_opts;
use nix::errno::Errno;

use crate::abi::{StreamEvent, StreamFlow, StreamSubnet, StreamSubnetKey};
use crate::capture::direction::is_egress;
use crate::capture::{Capture, Frame};
use crate::error::{Error, Result};

use super::counters::Counters;
use super::kernel::{Kernel, Program};
use super::source::{Progress, Source, BATCH};

/// What a test run takes: a page less its own needs (net/bpf/test_run.c). All headers are in it.
const MAX_BYTES: usize = 2048;
/// A pause of the capture that need not be lived through.
const LONG_NS: u64 = 3_600_000_000_000;
/// Packets between two looks into the ring buffer, which holds 120 000 events.
const STRIDE: usize = 1024;

/// A capture on its way through the programs.
pub struct Replay {
    kernel: Kernel,
    capture: Capture,
    /// The packet that is next, unless the capture has ended.
    next: Option<Frame>,
    now_ns: u64,
    refused: u64,
}

impl Replay {
    /// Begins at the first packet.
    ///
    /// # Errors
    /// That of the capture.
    pub fn new(kernel: Kernel, capture: Capture) -> Result<Self> {
        let mut replay =
            Self { kernel, capture, next: Some(Frame::default()), now_ns: 0, refused: 0 };
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
    fn run(&mut self, frame: &Frame) -> Result<()> {
        self.now_ns = self.now_ns.max(frame.time_ns);
        self.kernel.set_clock(self.now_ns, frame.wire_len);
        let which = if is_egress(frame) { Program::Egress } else { Program::Ingress };
        let Some(program) = self.kernel.program(which) else { return Ok(()) };
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

impl Drop for Replay {
    /// What was left out is said, whatever ended the replay.
    fn drop(&mut self) {
        if self.refused > 0 {
            eprintln!(
                "WARN: {} packets were not run: the kernel takes none that end within the IP header",
                self.refused
            );
        }
    }
}

impl Source for Replay {
    fn poll(&mut self, batch: &mut Vec<StreamEvent>, until_ns: u64) -> Result<Progress> {
        for _ in 0..STRIDE {
            match self.next.take() {
                None => {
                    self.kernel.drain(batch, usize::MAX)?;
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
                        self.kernel.drain(batch, BATCH)?;
                        return Err(err);
                    }
                }
            }
        }
        self.kernel.drain(batch, usize::MAX)?;
        Ok(Progress::More)
    }

    fn now_ns(&mut self) -> Result<u64> {
        Ok(self.now_ns)
    }

    fn counters(&mut self) -> Result<Counters> {
        Ok(self.kernel.counters())
    }

    fn flow(&self, index: u32) -> Option<StreamFlow> {
        self.kernel.flow(index)
    }

    fn subnets(&mut self) -> Result<Vec<(StreamSubnetKey, StreamSubnet)>> {
        self.kernel.subnets()
    }

    fn forget_subnets(&mut self, keys: &[StreamSubnetKey]) -> Result<()> {
        self.kernel.forget_subnets(keys)
    }
}

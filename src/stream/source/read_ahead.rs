// SPDX-License-Identifier: GPL-2.0-only
//! The packets of a capture that are read and not run yet: the next one, and the one after it where
//! a clock must know whether the next one's time is a stray.

use std::time::Duration;

use crate::domain::error::{Error, Result};
use crate::stream::capture::{Capture, CapturedFrame, Next};

/// The next packets of a capture.
pub(super) struct ReadAhead {
    capture: Capture,
    /// The next packet, if there are one or two.
    next: CapturedFrame,
    /// The packet after it, if there are two.
    after: CapturedFrame,
    count: u8,
    ended: bool,
    /// The fault behind the packets that are read.
    fault: Option<Error>,
}

/// What [`ReadAhead::read`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The next packet is there.
    Frame,
    /// It read a packet that cannot be run: call again.
    LeftOut,
    /// The capture has ended.
    End,
    /// The input is a pipe that is silent.
    Silent,
}

impl ReadAhead {
    pub(super) fn new(capture: Capture) -> Self {
        let (next, after) = (CapturedFrame::default(), CapturedFrame::default());
        Self { capture, next, after, count: 0, ended: false, fault: None }
    }

    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Returns the next packet; `None` if it is not read yet.
    pub(super) fn next(&self) -> Option<&CapturedFrame> {
        (self.count > 0).then_some(&self.next)
    }

    /// Removes the next packet.
    pub(super) fn pop(&mut self) {
        std::mem::swap(&mut self.next, &mut self.after);
        self.count = self.count.saturating_sub(1);
    }

    /// Reads the next packet unless it is there. Waits for a silent pipe as long as `patience`;
    /// `None`: until the capture's stop.
    ///
    /// # Errors
    /// Those of [`Capture::next`].
    pub(super) fn read(&mut self, patience: Option<Duration>) -> Result<Read> {
        if self.count > 0 {
            return Ok(Read::Frame);
        }
        if let Some(err) = self.fault.take() {
            self.ended = true;
            return Err(err);
        }
        if self.ended {
            return Ok(Read::End);
        }
        if patience.is_some_and(|patience| !self.capture.is_ready(patience)) {
            return Ok(Read::Silent);
        }
        match self.capture.next(&mut self.next)? {
            Next::Frame => self.count = 1,
            Next::LeftOut => return Ok(Read::LeftOut),
            Next::End => self.ended = true,
        }
        Ok(if self.ended { Read::End } else { Read::Frame })
    }

    /// Reads the packet after the next one, if it is there, and returns its time. Keeps a fault for
    /// [`ReadAhead::read`].
    pub(super) fn time_after_next(&mut self) -> Option<u64> {
        if self.count == 1 && !self.ended && self.capture.is_ready(Duration::ZERO) {
            match self.capture.next(&mut self.after) {
                Ok(Next::Frame) => self.count = 2,
                Ok(Next::LeftOut) => {}
                Ok(Next::End) => self.ended = true,
                Err(err) => self.fault = Some(err),
            }
        }
        (self.count == 2).then_some(self.after.time_ns)
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! The packets of a capture that are read and not run yet, in the order of their times.
//!
//! Captures of several queues, interfaces or processors are slightly out of order. A packet moves
//! before those that are later by up to [`WINDOW_NS`]. A longer way back is a step of the clock: the
//! order of the file stays.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::error::{Error, Result};
use crate::stream::capture::{Capture, CapturedFrame, Next};

/// Longest time by which a packet may come too late in the file.
const WINDOW_NS: u64 = 100_000_000;
/// Number of packets that are read ahead at most.
const MOST: usize = 256;

/// The next packets of a capture.
pub(super) struct ReadAhead {
    capture: Capture,
    frames: VecDeque<CapturedFrame>,
    /// Frames whose memory can be used again.
    free: Vec<CapturedFrame>,
    state: State,
}

/// Whether there is more to read.
enum State {
    Open,
    Ended,
    /// The fault behind the packets that are read.
    Failed(Error),
}

/// What [`ReadAhead::read`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The next packet is there.
    Frame,
    /// It read packets that cannot be run: call again.
    LeftOut,
    /// The capture has ended.
    End,
    /// The input is a pipe that is silent.
    Silent,
}

impl ReadAhead {
    pub(super) fn new(capture: Capture) -> Self {
        Self { capture, frames: VecDeque::new(), free: Vec::new(), state: State::Open }
    }

    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Returns the number of packets that are read and not run yet.
    pub(super) fn count(&self) -> usize {
        self.frames.len()
    }

    /// Tells whether nothing more will be read.
    pub(super) fn is_done(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// Returns the next packet; `None` if it is not read yet.
    pub(super) fn next(&self) -> Option<&CapturedFrame> {
        self.frames.front()
    }

    /// Returns the time of the packet after the next one; `None` if it is not read yet.
    pub(super) fn time_after_next(&self) -> Option<u64> {
        self.frames.get(1).map(|frame| frame.time_ns)
    }

    /// Removes the next packet.
    pub(super) fn pop(&mut self) {
        self.free.extend(self.frames.pop_front());
    }

    /// Reads packets until the next one is known. Waits for a silent pipe as long as `patience`;
    /// `None`: until the capture's stop.
    ///
    /// # Errors
    /// Those of [`Capture::next`].
    pub(super) fn read(&mut self, patience: Option<Duration>) -> Result<Read> {
        for _ in 0..MOST {
            if !matches!(self.state, State::Open) || self.is_full() {
                break;
            }
            let wait = if self.frames.is_empty() { patience } else { Some(Duration::ZERO) };
            if wait.is_some_and(|wait| !self.capture.is_ready(wait)) {
                return Ok(if self.frames.is_empty() { Read::Silent } else { Read::Frame });
            }
            self.read_one();
        }
        if !self.frames.is_empty() {
            return Ok(Read::Frame);
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Open => self.state = State::Open,
            State::Ended => return Ok(Read::End),
            State::Failed(err) => return Err(err),
        }
        Ok(Read::LeftOut)
    }

    /// Tells whether no packet that is read later can come before the next one.
    fn is_full(&self) -> bool {
        let times = self.frames.front().zip(self.frames.back());
        let window_ns = times.map_or(0, |(next, last)| last.time_ns.saturating_sub(next.time_ns));
        window_ns > WINDOW_NS || self.frames.len() >= MOST
    }

    fn read_one(&mut self) {
        let mut frame = self.free.pop().unwrap_or_default();
        match self.capture.next(&mut frame) {
            Ok(Next::Frame) => return self.insert(frame),
            Ok(Next::LeftOut) => {}
            Ok(Next::End) => self.state = State::Ended,
            Err(err) => self.state = State::Failed(err),
        }
        self.free.push(frame);
    }

    /// Appends a packet, and moves it before those that are a little later.
    fn insert(&mut self, frame: CapturedFrame) {
        let time_ns = frame.time_ns;
        self.frames.push_back(frame);
        let mut at = self.frames.len() - 1;
        let is_late = |before: &CapturedFrame| {
            before.time_ns > time_ns && before.time_ns - time_ns <= WINDOW_NS
        };
        while at > 0 && is_late(&self.frames[at - 1]) {
            self.frames.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Makes a pcap file of packets with these times in milliseconds.
    fn capture(times: &[u64], cut: usize) -> Capture {
        let mut file = Vec::new();
        let head: [u32; 6] = [0xA1B2_3C4D, 0x0004_0002, 0, 0, 65_535, 1];
        head.iter().for_each(|word| file.extend(word.to_le_bytes()));
        for time in times {
            let [seconds, ns] = [time / 1000, time % 1000 * MS].map(|number| number as u32);
            [seconds, ns, 14, 14].iter().for_each(|word| file.extend(word.to_le_bytes()));
            file.extend([0; 14]);
        }
        file.truncate(file.len() - cut);
        Capture::read("it", Box::new(Cursor::new(file))).unwrap()
    }

    /// Returns the times in the order in which the packets are run.
    fn order(times: &[u64]) -> Vec<u64> {
        let mut ahead = ReadAhead::new(capture(times, 0));
        let mut order = Vec::new();
        while ahead.read(None).unwrap() == Read::Frame {
            order.push(ahead.next().unwrap().time_ns / MS);
            ahead.pop();
        }
        order
    }

    #[test]
    fn packets_that_are_a_little_late_move_forward() {
        assert_eq!(order(&[0, 20, 10, 5, 30, 25]), [0, 5, 10, 20, 25, 30]);
        assert_eq!(order(&[100, 0, 250, 150, 400]), [0, 100, 150, 250, 400]);
        let backwards: Vec<u64> = (0..100).rev().collect();
        assert_eq!(order(&backwards), (0..100).collect::<Vec<_>>());
        assert_eq!(order(&[7, 7, 7]), [7, 7, 7]);
    }

    #[test]
    fn a_step_of_the_clock_keeps_the_order_of_the_file() {
        for times in [[50_000, 50_020, 20_000, 20_010, 20_005], [0, 90_000_000, 10, 30, 20]] {
            let mut expected = times;
            expected[3..].sort_unstable();
            assert_eq!(order(&times), expected);
        }
    }

    #[test]
    fn many_packets_at_once_are_held_in_bounds() {
        let same: Vec<u64> = vec![5; 1000];
        let mut ahead = ReadAhead::new(capture(&same, 0));
        assert_eq!(ahead.read(None).unwrap(), Read::Frame);
        assert_eq!(ahead.count(), MOST);
        assert_eq!(order(&same), same);
    }

    #[test]
    fn the_packets_before_a_fault_come_first() {
        let mut ahead = ReadAhead::new(capture(&[1, 3, 2, 9], 1));
        for time in [1, 2, 3] {
            assert_eq!(ahead.read(None).unwrap(), Read::Frame);
            assert_eq!(ahead.next().unwrap().time_ns, time * MS);
            ahead.pop();
        }
        assert!(ahead.read(None).unwrap_err().to_string().contains("packet 4"));
        assert_eq!(ahead.read(None).unwrap(), Read::End);
    }
}

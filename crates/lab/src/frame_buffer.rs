// SPDX-License-Identifier: GPL-2.0-only
//! An Ethernet frame with room in front for tags.

/// Room for four VLAN tags and a PPPoE header (24 bytes), and a reserve.
const HEADROOM: usize = 64;

/// A frame in a reusable buffer.
#[derive(Clone, Debug)]
pub(crate) struct FrameBuffer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    /// Makes an empty frame that can receive up to `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { buffer: vec![0; HEADROOM + capacity], start: HEADROOM, end: HEADROOM }
    }

    /// Returns the frame's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Returns the area that a receive may write to; call `set_length` afterwards.
    pub(crate) fn receive_area(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..]
    }

    /// Makes the first `length` bytes of the receive area the frame.
    pub(crate) fn set_length(&mut self, length: usize) {
        self.start = HEADROOM;
        self.end = (HEADROOM + length).min(self.buffer.len());
    }

    /// Copies another frame's bytes into this buffer.
    pub(crate) fn copy_from(&mut self, other: &FrameBuffer) {
        self.buffer.clone_from(&other.buffer);
        self.start = other.start;
        self.end = other.end;
    }

    /// Cuts the frame to at most `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }

    /// Returns the big-endian 16-bit value at `at`.
    pub(crate) fn be16(&self, at: usize) -> Option<u16> {
        let bytes = self.bytes().get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Overwrites the big-endian 16-bit value at `at`; the frame must reach beyond it.
    pub(crate) fn set_be16(&mut self, at: usize, value: u16) {
        let at = self.start + at;
        self.buffer[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    /// Inserts bytes at `at` by moving the bytes before `at` forward; returns false without room.
    pub(crate) fn insert(&mut self, at: usize, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        self.buffer.copy_within(self.start..self.start + at, start);
        self.buffer[start + at..start + at + bytes.len()].copy_from_slice(bytes);
        self.start = start;
        true
    }

    /// Removes `count` bytes at `at`; the frame must hold them.
    pub(crate) fn remove(&mut self, at: usize, count: usize) {
        self.buffer.copy_within(self.start..self.start + at, self.start + count);
        self.start += count;
    }

    /// Returns the destination and source addresses.
    pub(crate) fn addresses(&self) -> Option<([u8; 6], [u8; 6])> {
        let bytes = self.bytes();
        Some((bytes.get(..6)?.try_into().ok()?, bytes.get(6..12)?.try_into().ok()?))
    }
}

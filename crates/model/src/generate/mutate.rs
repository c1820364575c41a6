// SPDX-License-Identifier: GPL-2.0-only
//! Changes to a segment that make it odd or wrong.

use crate::frame::{ExtensionHeader, Frame, Label, Length};
use crate::rng::Rng;

/// Least length of a frame: BPF_PROG_TEST_RUN refuses frames that are not longer than an Ethernet header.
pub const MIN_FRAME: usize = 15;

/// Builds the frame of a segment, possibly with odd headers, flipped bits or missing bytes.
pub(super) fn mutate(rng: &mut Rng, mut frame: Frame) -> Vec<u8> {
    encapsulate(rng, &mut frame);
    internet_header(rng, &mut frame);
    let mut bytes = frame.build();
    if rng.per_mille(60) {
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len().min(120) as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
    }
    if rng.per_mille(40) {
        bytes.truncate(rng.below(bytes.len() as u64) as usize);
    }
    bytes.resize(bytes.len().max(MIN_FRAME), 0);
    bytes
}

fn encapsulate(rng: &mut Rng, frame: &mut Frame) {
    if rng.per_mille(250) {
        let count = rng.pick(&[1, 1, 1, 2, 2, 3, 4, 4, 5, 6]);
        frame.tags = (0..count).map(|_| rng.pick(&[0x8100, 0x88a8, 0x9100])).collect();
    }
    frame.pppoe = rng.per_mille(80);
    if rng.per_mille(80) {
        frame.labels = Label::stack(rng.pick(&[1, 1, 2, 2, 3, 4, 5, 6]));
        if rng.per_mille(100) {
            let last = rng.below(frame.labels.len() as u64) as usize;
            frame.labels[last].bottom ^= true;
        }
        if rng.per_mille(200) {
            frame.ethertype = Some(0x8848);
        }
    }
    if rng.per_mille(10) {
        let ethertypes = [0x0806, 0x8863, 0x8864, 0x0800, 0x86dd, 0x0100, 0x8847];
        frame.ethertype = Some(rng.pick(&ethertypes));
    }
    if rng.per_mille(100) {
        frame.padding = rng.below(50) as usize;
    }
}

fn internet_header(rng: &mut Rng, frame: &mut Frame) {
    if rng.per_mille(50) {
        frame.ip_option_words = rng.below(11) as u8;
    }
    if rng.per_mille(30) {
        frame.fragment_offset = rng.pick(&[0x2000, 0x4000, 0x8000, 1, 0x2001, 0x1fff, 0x0100]);
    }
    if rng.per_mille(200) {
        let count = rng.pick(&[1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8]);
        frame.extensions = (0..count).map(|_| extension(rng)).collect();
        if rng.per_mille(150) {
            let long = rng.below(count) as usize;
            frame.extensions[long].length = rng.below(130) as u8;
        }
    }
    if rng.per_mille(20) {
        frame.protocol = rng.pick(&[17, 1, 58, 0, 43, 44, 50, 51, 59, 60]);
    }
    frame.length = match rng.below(100) {
        0..=2 => Length::Zero,
        3 => Length::Says(rng.below(150) as u16),
        4 => Length::Says(rng.u32() as u16),
        _ => Length::Right,
    };
}

fn extension(rng: &mut Rng) -> ExtensionHeader {
    match rng.below(10) {
        0..=2 => ExtensionHeader::new(0, rng.below(3) as u8),
        3..=4 => ExtensionHeader::new(43, rng.below(4) as u8),
        5..=6 => ExtensionHeader::new(60, rng.below(3) as u8),
        7 => ExtensionHeader::new(51, rng.below(6) as u8),
        8 => ExtensionHeader::fragment(0),
        _ => ExtensionHeader::fragment(rng.below(3) as u16),
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! A packet socket that injects frames of one template into one device, past its queueing discipline.

use std::io;
use std::os::fd::OwnedFd;

use lab::packet_socket::{open_sender, send_batch, BATCH};
use nix::libc;

use crate::cost::frame_template::{FrameFields, FrameTemplate};
use crate::cost::workload::{LoadFlow, Shot};

/// The socket, and frames that are filled anew for each tick.
pub struct Sender {
    fd: OwnedFd,
    template: FrameTemplate,
    frames: Vec<Vec<u8>>,
}

impl Sender {
    /// Opens the socket; `room` is the largest number of frames of a tick.
    pub fn open(device: &str, template: FrameTemplate, room: usize) -> io::Result<Self> {
        let frames = vec![template.blank(); room];
        Ok(Self { fd: open_sender(device)?, template, frames })
    }

    /// Fills one frame for each shot.
    pub fn fill(&mut self, list: &[Shot], mut next: impl FnMut(u32) -> (LoadFlow, FrameFields)) {
        for (frame, shot) in self.frames.iter_mut().zip(list) {
            let (flow, variable) = next(shot.flow);
            self.template.fill(frame, &flow, variable);
        }
    }

    /// Sends the first `count` frames. Returns how many the device refused.
    pub fn send(&self, count: usize) -> io::Result<u64> {
        let mut refused = 0;
        for frames in self.frames[..count].chunks(BATCH) {
            refused += self.send_batch(frames)?;
        }
        Ok(refused)
    }

    fn send_batch(&self, frames: &[Vec<u8>]) -> io::Result<u64> {
        let (mut done, mut refused) = (0, 0);
        while done < frames.len() {
            match send_batch(&self.fd, frames[done..].iter().map(Vec::as_slice)) {
                Ok(sent) => done += sent,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    refused += 1;
                    done += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }
}

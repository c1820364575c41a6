//! A packet socket that injects frames of one template into one device, past its queueing discipline.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc::{self, c_int};

use crate::frame::{Template, Variable};
use crate::workload::{Flow, Shot};

/// Frames of one system call.
const BATCH: usize = 64;

/// The socket, and frames to fill again and again.
pub struct Sender {
    fd: OwnedFd,
    template: Template,
    frames: Vec<Vec<u8>>,
}

impl Sender {
    /// Opens the socket; `room` is the most frames that are sent at once.
    pub fn open(device: &str, template: Template, room: usize) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(device)? as c_int;
        // SAFETY: plain system call; protocol 0 receives nothing.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let on: c_int = 1;
        // SAFETY: the pointer and the length describe `on`.
        let result = unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                size_of::<c_int>() as _,
            )
        };
        check(result)?;
        // SAFETY: sockaddr_ll is plain data; all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index;
        // SAFETY: the pointer and the length describe `address`.
        let result = unsafe {
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as _)
        };
        check(result)?;
        let frames = vec![template.blank(); room];
        Ok(Self { fd, template, frames })
    }

    /// Makes one frame of each shot.
    pub fn fill(&mut self, list: &[Shot], mut next: impl FnMut(u32) -> (Flow, Variable)) {
        for (frame, shot) in self.frames.iter_mut().zip(list) {
            let (flow, variable) = next(shot.flow);
            self.template.fill(frame, &flow, variable);
        }
    }

    /// Sends the first `count` frames; how many were refused.
    pub fn send(&self, count: usize) -> io::Result<u64> {
        let mut refused = 0;
        for frames in self.frames[..count].chunks(BATCH) {
            refused += self.send_batch(frames)?;
        }
        Ok(refused)
    }

    fn send_batch(&self, frames: &[Vec<u8>]) -> io::Result<u64> {
        // SAFETY: iovec and mmsghdr are plain data; all zeroes is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        for (index, frame) in frames.iter().enumerate() {
            vectors[index] =
                libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        let (mut done, mut refused) = (0, 0);
        while done < frames.len() {
            // SAFETY: the headers point to frames that outlive the call and are only read.
            let sent = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    headers[done..].as_mut_ptr(),
                    (frames.len() - done) as u32,
                    0 as _,
                )
            };
            if sent > 0 {
                done += sent as usize;
                continue;
            }
            match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    refused += 1;
                    done += 1;
                }
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            }
        }
        Ok(refused)
    }
}

fn check(result: c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

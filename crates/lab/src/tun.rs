// SPDX-License-Identifier: GPL-2.0-only
//! A delay line without Ethernet: a TUN device in each of two namespaces, and a delay in between.

use crate::ns::Netns;
use crate::tool;
use nix::libc;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{mpsc, Arc};
use std::thread::{self, sleep, JoinHandle};
use std::time::{Duration, Instant};

/// The name of the device at both ends.
pub const TUN: &str = "tun0";
/// Room for one packet; the MTU of the devices is 1500.
const PACKET: usize = 2048;

/// A running line. Dropping it ends the line and removes its devices.
#[derive(Debug)]
pub struct TunLine {
    wake: Option<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl TunLine {
    /// Makes [`TUN`] in both namespaces, with 10.9.0.1 and fd00:9::1 at the first end, 10.9.0.2 and
    /// fd00:9::2 at the second.
    pub fn start(ends: [&Netns; 2], rtt: Duration) -> io::Result<Self> {
        let (stop, wake) = nix::unistd::pipe()?;
        let stop = Arc::new(stop);
        let [near, far] = [open(ends[0])?, open(ends[1])?];
        for (end, netns) in ends.into_iter().enumerate() {
            let [v4, v6] = Self::addresses(end);
            let lines = [
                format!("addr add {v4}/24 dev {TUN}"),
                format!("addr add {v6}/64 dev {TUN} nodad"),
                format!("link set {TUN} up"),
            ];
            tool::batch(netns.command("ip"), &lines)?;
        }
        let ways = [(near.try_clone()?, far.try_clone()?), (far, near)];
        let start = |(from, to)| {
            let stop = stop.clone();
            thread::spawn(move || carry(from, to, rtt / 2, &stop))
        };
        Ok(Self { wake: Some(wake), threads: ways.map(start).into() })
    }

    /// Returns the IPv4 and IPv6 address of an end, 0 or 1.
    pub fn addresses(end: usize) -> [IpAddr; 2] {
        let number = end as u16 + 1;
        let v4 = Ipv4Addr::new(10, 9, 0, number as u8);
        [v4.into(), Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, number).into()]
    }
}

impl Drop for TunLine {
    fn drop(&mut self) {
        // Closing the pipe wakes both threads.
        drop(self.wake.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Opens [`TUN`] in a namespace; opening makes the device.
fn open(netns: &Netns) -> io::Result<File> {
    open_named(netns, TUN)
}

/// Makes a TUN device that says it is of this hardware type (include/uapi/linux/if_arp.h). It lasts as long
/// as the result.
pub fn tun_of_type(netns: &Netns, name: &str, hardware: u16) -> io::Result<File> {
    /// include/uapi/linux/if_tun.h
    const TUNSETLINK: nix::libc::Ioctl = 0x4004_54cd;
    let device = open_named(netns, name)?;
    // SAFETY: TUNSETLINK takes the number itself.
    match unsafe { libc::ioctl(device.as_raw_fd(), TUNSETLINK, libc::c_int::from(hardware)) } {
        0 => Ok(device),
        _ => Err(io::Error::last_os_error()),
    }
}

fn open_named(netns: &Netns, name: &str) -> io::Result<File> {
    netns.run(|| {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: ifreq is plain data; all zeroes is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads the ifreq and writes the name into it; it outlives the call.
        let result =
            unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if result == 0 {
            Ok(file)
        } else {
            Err(io::Error::last_os_error())
        }
    })?
}

/// Forwards packets, each after the delay, until the pipe closes.
fn carry(mut from: File, mut to: File, delay: Duration, stop: &OwnedFd) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = thread::spawn(move || {
        for (due, packet) in receiver {
            sleep(due.saturating_duration_since(Instant::now()));
            // A device that is down loses the packet.
            let _ = to.write(&packet);
        }
    });
    let mut packet = vec![0; PACKET];
    while wait(&from, stop) {
        let Ok(length) = from.read(&mut packet) else { break };
        if sender.send((Instant::now() + delay, packet[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writer.join();
}

/// Waits for a packet. Returns false if the pipe closes first.
fn wait(from: &File, stop: &OwnedFd) -> bool {
    let mut fds = [
        PollFd::new(from.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    let polled = poll(&mut fds, PollTimeout::NONE);
    polled.is_ok() && fds[1].any() == Some(false)
}

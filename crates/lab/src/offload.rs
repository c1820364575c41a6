// SPDX-License-Identifier: GPL-2.0-only
//! Network device offloads, those that `ethtool -K` switches.

use crate::ns::Netns;
use nix::libc;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

// ethtool commands (linux/ethtool.h).
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SSG: u32 = 0x19;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct OffloadSwitch {
    command: u32,
    data: u32,
}

/// Does what `ethtool -K DEV tx off sg off tso off gso off gro off` does, so that every frame on the wire
/// is complete and small: veth with an XDP redirect loses partial checksums, and a delay line cannot
/// carry super-packets.
pub fn disable(netns: &Netns, device: &str) -> io::Result<()> {
    netns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        [ETHTOOL_STXCSUM, ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO]
            .into_iter()
            .try_for_each(|command| set(&socket, device, OffloadSwitch { command, data: 0 }))
    })?
}

fn set(socket: &UdpSocket, device: &str, mut value: OffloadSwitch) -> io::Result<()> {
    if device.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "interface name too long"));
    }
    // SAFETY: ifreq is plain data; all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: SIOCETHTOOL reads the ifreq and the ethtool_value it points to; both outlive the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(io::Error::new(error.kind(), format!("ethtool {:#x} on {device}: {error}", value.command)))
}

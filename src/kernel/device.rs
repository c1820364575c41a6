// SPDX-License-Identifier: GPL-2.0-only
//! Facts about one interface, from sysfs and ioctls. A function returns `None` if the kernel gives no
//! answer.

use std::fs;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::net::if_::{if_indextoname, if_nametoindex};
use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};

use crate::domain::error::{Error, Result};
use crate::domain::IfName;

/// Returns the index of an interface in the caller's network namespace, from 1.
///
/// # Errors
/// [`Error::Usage`] if there is no such interface: like the predecessors, a bad option.
pub fn ifindex(dev: &IfName) -> Result<u32> {
    if_nametoindex(dev.as_str()).map_err(|errno| {
        let remedy = "`ip link` lists the interfaces of this network namespace";
        Error::usage(format!("interface {dev}"), errno, remedy)
    })
}

/// Tells whether an interface has this index.
pub fn exists(ifindex: u32) -> bool {
    // nix turns the null pointer of if_indextoname(3) into an empty name.
    if_indextoname(ifindex).is_ok_and(|name| !name.is_empty())
}

/// Returns the number of TX queues.
pub fn tx_queues(dev: &IfName) -> Option<usize> {
    let queues = fs::read_dir(format!("/sys/class/net/{dev}/queues")).ok()?;
    let names = queues.flatten().map(|entry| entry.file_name());
    Some(names.filter(|name| name.to_string_lossy().starts_with("tx-")).count())
}

/// Tells whether any TX queue has an XPS mask. XPS overrides the queue that the classifier sets.
pub fn xps_is_on(dev: &IfName) -> Option<bool> {
    let queues = fs::read_dir(format!("/sys/class/net/{dev}/queues")).ok()?;
    let masks = queues.flatten().filter_map(|queue| {
        // A device with one queue or without XPS lacks the file, or reading it fails.
        fs::read_to_string(queue.path().join("xps_cpus")).ok()
    });
    Some(masks.into_iter().any(|mask| mask.chars().any(|c| c.is_ascii_hexdigit() && c != '0')))
}

/// Tells whether the kernel routes IPv4 packets that come in by the interface: forwarding is on, and the
/// interface is no port of a bridge.
pub fn routes(dev: &IfName) -> bool {
    let forwarding = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{dev}/forwarding"));
    let bridged = fs::exists(format!("/sys/class/net/{dev}/brport")).unwrap_or(false);
    forwarding.is_ok_and(|on| on.trim() == "1") && !bridged
}

/// Tells whether the kernel sets the priority of the IPv4 packets that it routes from their type of service.
pub fn forward_sets_priority() -> bool {
    let setting = fs::read_to_string("/proc/sys/net/ipv4/ip_forward_update_priority");
    setting.is_ok_and(|on| on.trim() == "1")
}

// From include/uapi/linux/ethtool.h.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Returns an interface request that holds only the name.
fn request_for(dev: &IfName) -> libc::ifreq {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(dev.as_str().bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } }
}

/// Opens a socket to call ioctls on; its family does not matter.
fn any_socket() -> nix::Result<std::os::fd::OwnedFd> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

/// Tells whether the NIC removes VLAN tags before XDP sees the frame.
pub fn rx_vlan_offload(dev: &IfName) -> Option<bool> {
    let socket = any_socket().ok()?;
    let mut value = EthtoolValue { cmd: ETHTOOL_GFLAGS, data: 0 };
    let mut request = request_for(dev);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the ifreq has a terminated name, and its data points to an ethtool_value that outlives
    // the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    (result == 0).then_some(value.data & ETH_FLAG_RXVLAN != 0)
}

/// A modem of rmnet or qmi_wwan: include/uapi/linux/if_arp.h.
const ARPHRD_RAWIP: u16 = 519;

/// What the frames of an interface begin with, in both hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHeader {
    /// An Ethernet header.
    Ethernet,
    /// None: they begin with the IP header, as those of tun, ppp, wg and ipip.
    None,
    /// Something that the parser cannot read.
    Unknown {
        /// The hardware type, of include/uapi/linux/if_arp.h.
        hardware: u16,
    },
}

impl LinkHeader {
    /// Returns what frames of a hardware type begin with. (sit and gre carry IP, too, but show XDP the outer
    /// header.)
    fn of(hardware: u16) -> Self {
        match hardware {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Self::Ethernet,
            libc::ARPHRD_NONE
            | libc::ARPHRD_PPP
            | ARPHRD_RAWIP
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_TUNNEL6 => Self::None,
            hardware => Self::Unknown { hardware },
        }
    }
}

/// Returns what frames of the interface begin with.
pub fn link_header(dev: &IfName) -> Option<LinkHeader> {
    let socket = any_socket().ok()?;
    let mut request = request_for(dev);
    // SAFETY: the ifreq has a terminated name; the kernel fills it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) };
    // SAFETY: sa_family is the first two bytes of the union. request_for() sets them to 0, and
    // SIOCGIFHWADDR fills them.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    (result == 0).then(|| LinkHeader::of(hardware))
}

/// Tells whether frames of the interface begin with the IP header.
///
/// # Errors
/// [`Error::Other`] if they begin with something that the parser cannot read.
pub fn has_bare_ip(dev: &IfName) -> Result<bool> {
    match link_header(dev) {
        Some(LinkHeader::None) => Ok(true),
        Some(LinkHeader::Ethernet) | None => Ok(false),
        Some(LinkHeader::Unknown { hardware }) => Err(Error::other(
            format!("attach to {dev}"),
            format!(
                "its frames begin neither with Ethernet nor with IP (hardware type {hardware})"
            ),
            "attach to the Ethernet device beneath it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::exit;

    #[test]
    fn unknown_interface_is_a_bad_option() {
        let err = ifindex(&IfName::parse("--dev", "nosuchif0").unwrap()).unwrap_err();
        assert_eq!(err.exit_code(), exit::USAGE);
        assert!(err.to_string().starts_with("interface nosuchif0: ENODEV"), "{err}");
        assert_eq!(ifindex(&IfName::parse("--dev", "lo").unwrap()).unwrap(), 1);
    }

    #[test]
    fn hardware_types_say_what_frames_begin_with() {
        assert_eq!(LinkHeader::of(1), LinkHeader::Ethernet);
        assert_eq!(LinkHeader::of(0xfffe), LinkHeader::None); // tun, wg
        assert_eq!(LinkHeader::of(512), LinkHeader::None); // ppp
        assert_eq!(LinkHeader::of(768), LinkHeader::None); // ipip
        for hardware in [280, 776, 778, 803] {
            assert_eq!(LinkHeader::of(hardware), LinkHeader::Unknown { hardware });
        }
        let lo = IfName::parse("--dev", "lo").unwrap();
        assert_eq!(link_header(&lo), Some(LinkHeader::Ethernet));
        assert!(!has_bare_ip(&lo).unwrap());
    }
}

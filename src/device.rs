//! What an interface says of itself: sysfs and the ethtool ioctl. `None` where it does not say.

use std::fs;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};

use crate::error::{Error, Result};
use crate::values::IfName;

/// Every interface of this network namespace.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn all() -> Result<Vec<IfName>> {
    let listed = nix::net::if_::if_nameindex()
        .map_err(|err| Error::other("list the network interfaces", err, ""))?;
    let name =
        |entry: &nix::net::if_::Interface| IfName::parse("", &entry.name().to_string_lossy()).ok();
    Ok(listed.iter().filter_map(name).collect())
}

/// Number of TX queues.
pub fn tx_queues(dev: &IfName) -> Option<usize> {
    let queues = fs::read_dir(format!("/sys/class/net/{dev}/queues")).ok()?;
    let names = queues.flatten().map(|entry| entry.file_name());
    Some(names.filter(|name| name.to_string_lossy().starts_with("tx-")).count())
}

/// Some TX queue has an XPS mask: XPS overrides the queue that the classifier sets.
pub fn xps_is_on(dev: &IfName) -> Option<bool> {
    let queues = fs::read_dir(format!("/sys/class/net/{dev}/queues")).ok()?;
    let masks = queues.flatten().filter_map(|queue| {
        // Devices with one queue, or without XPS, have no such file or refuse to read it.
        fs::read_to_string(queue.path().join("xps_cpus")).ok()
    });
    Some(masks.into_iter().any(|mask| mask.chars().any(|c| c.is_ascii_hexdigit() && c != '0')))
}

/// include/uapi/linux/ethtool.h
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// An interface request with a name in it, and nothing else.
fn request_for(dev: &IfName) -> libc::ifreq {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(dev.as_str().bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } }
}

fn any_socket() -> nix::Result<std::os::fd::OwnedFd> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

/// The NIC takes VLAN tags off before XDP sees the frame.
pub fn rx_vlan_offload(dev: &IfName) -> Option<bool> {
    let socket = any_socket().ok()?;
    let mut value = EthtoolValue { cmd: ETHTOOL_GFLAGS, data: 0 };
    let mut request = request_for(dev);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: an ifreq with a terminated name, whose data points to an ethtool_value that lives on.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    (result == 0).then_some(value.data & ETH_FLAG_RXVLAN != 0)
}

/// Frames of the interface begin with an Ethernet header; those of tun, ppp, wg and IP tunnels begin
/// with the IP header.
pub fn has_ethernet_header(dev: &IfName) -> Option<bool> {
    let socket = any_socket().ok()?;
    let mut request = request_for(dev);
    // SAFETY: an ifreq with a terminated name, which the kernel fills.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) };
    // SAFETY: SIOCGIFHWADDR fills this member.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    (result == 0).then_some([libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK].contains(&hardware))
}

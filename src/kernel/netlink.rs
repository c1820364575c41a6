// SPDX-License-Identifier: GPL-2.0-only
//! Dumps of rtnetlink: interfaces with their XDP programs, qdiscs, classes, filters.
//!
//! Written by hand: libbpf does not export its netlink code, and the usual netlink crate brings four
//! others along, for the two message types (`ifinfomsg`, `tcmsg`) that this module reads. Numbers are in
//! host byte order.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    IFLA_IFNAME, IFLA_XDP, NLMSG_DONE, NLMSG_ERROR, NLM_F_DUMP, NLM_F_REQUEST, RTM_GETLINK,
    RTM_GETQDISC, RTM_GETTCLASS, RTM_GETTFILTER, TCA_KIND,
};
use nix::sys::socket::{
    recv, send, socket, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType,
};

use crate::domain::error::{Error, Result};
use crate::kernel::errno::KernelResult;
use crate::kernel::hook::Hook;
use crate::kernel::program::AttachedMode;

/// The parent of a device's root qdisc (`TC_H_ROOT`).
pub const ROOT: u32 = u32::MAX;

/// A qdisc or a class, from its `struct tcmsg` and its attribute `TCA_KIND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcObject {
    /// Index of the interface.
    pub ifindex: u32,
    /// Handle, with the major in the upper half.
    pub handle: u32,
    /// Handle of the parent; [`ROOT`] for a root.
    pub parent: u32,
    /// Kind: `htb`, `mq`, …
    pub kind: String,
}

/// An interface, from a dump of RTM_GETLINK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetlinkInterface {
    /// Index, from 1.
    pub ifindex: u32,
    /// Name. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Id and mode of the XDP program; `None` if there is none.
    pub xdp: Option<(u32, AttachedMode)>,
}

/// Lists every interface of this network namespace.
///
/// # Errors
/// [`Error::Other`] with the kernel's reason.
pub fn links() -> Result<Vec<NetlinkInterface>> {
    let found = dump(RTM_GETLINK, &[0; IFINFOMSG], interface);
    found.map_err(|err| Error::other("list the network interfaces", err, ""))
}

/// Lists every qdisc of every device of this network namespace.
///
/// # Errors
/// [`Error::Other`] with the kernel's reason.
pub fn qdiscs() -> Result<Vec<TcObject>> {
    dump(RTM_GETQDISC, &tcmsg(0, 0), tc_object)
        .map_err(|err| Error::other("list the qdiscs", err, ""))
}

/// Lists every class of one device.
///
/// # Errors
/// [`Error::Other`] with the kernel's reason.
pub fn classes(ifindex: u32) -> Result<Vec<TcObject>> {
    let what = || format!("list the classes of interface {ifindex}");
    dump(RTM_GETTCLASS, &tcmsg(ifindex, 0), tc_object).map_err(|err| Error::other(what(), err, ""))
}

/// A filter of clsact, from its `struct tcmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClsactFilter {
    /// Priority: packets meet the filters in ascending order.
    pub priority: u32,
    /// Handle, which tells the filters of one priority apart; 0 for the entry of the priority
    /// itself.
    pub handle: u32,
}

/// Lists the filters on one side of a device's clsact, in the order in which packets meet them. The
/// list is empty for [`Hook::Xdp`], which is not on clsact.
///
/// # Errors
/// The kernel's errno.
pub fn filters(ifindex: u32, hook: Hook) -> KernelResult<Vec<ClsactFilter>> {
    // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS) and _EGRESS (include/uapi/linux/pkt_sched.h)
    let parent = match hook {
        Hook::Xdp => return Ok(Vec::new()),
        Hook::Ingress => 0xffff_fff2,
        Hook::Egress => 0xffff_fff3,
    };
    dump(RTM_GETTFILTER, &tcmsg(ifindex, parent), clsact_filter)
}

/// Size of `struct nlmsghdr` in bytes.
const HEADER: usize = 16;
/// Size of `struct tcmsg` in bytes.
const TCMSG: usize = 20;
/// Size of `struct ifinfomsg` in bytes.
const IFINFOMSG: usize = 16;
/// Size of the receive buffer in bytes: the kernel sends at most 32 KiB at once.
const BUFFER: usize = 64 << 10;

/// Reads the payload of one message; returns `None` if it holds no such object.
type Parser<T> = fn(&[u8]) -> Option<T>;

/// Requests a dump and reads it to its end.
fn dump<T>(message: u16, body: &[u8], parse: Parser<T>) -> KernelResult<Vec<T>> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), &request(message, body), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        if len == 0 || read_messages(&buffer[..len], parse, &mut found)? {
            return Ok(found);
        }
    }
}

/// Returns a dump request: `struct nlmsghdr` and the body.
fn request(message: u16, body: &[u8]) -> Vec<u8> {
    let flags = (NLM_F_REQUEST | NLM_F_DUMP) as u16;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    bytes.extend(message.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.resize(HEADER, 0); // sequence, port
    bytes.extend(body);
    bytes
}

/// Returns a `struct tcmsg`.
fn tcmsg(ifindex: u32, parent: u32) -> Vec<u8> {
    // family and padding, ifindex, handle, parent, info
    [0, ifindex, 0, parent, 0].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// Reads the messages in the buffer. Returns true if they include the end of the dump.
fn read_messages<T>(mut bytes: &[u8], parse: Parser<T>, found: &mut Vec<T>) -> KernelResult<bool> {
    while let Some(len) = u32_at(bytes, 0).map(|len| len as usize) {
        let Some(message) = bytes.get(..len).filter(|_| len >= HEADER) else {
            return Err(Errno::EBADMSG);
        };
        let payload = &message[HEADER..];
        match c_int::from(u16_at(message, 4).unwrap_or(0)) {
            // Both payloads begin with a negative errno, or with 0.
            NLMSG_DONE | NLMSG_ERROR => {
                return match u32_at(payload, 0).unwrap_or(0) as i32 {
                    0 => Ok(true),
                    err => Err(Errno::from_raw(-err)),
                };
            }
            _ => found.extend(parse(payload)),
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn interface(payload: &[u8]) -> Option<NetlinkInterface> {
    let attributes = payload.get(IFINFOMSG..)?;
    let name = attribute(attributes, IFLA_IFNAME)?;
    Some(NetlinkInterface {
        ifindex: u32_at(payload, 4)?,
        name: text(name),
        xdp: attribute(attributes, IFLA_XDP).and_then(xdp),
    })
}

/// Reads the attributes inside `IFLA_XDP` (include/uapi/linux/if_link.h). An interface with several
/// programs is described by the first one: native, generic, offloaded.
fn xdp(attributes: &[u8]) -> Option<(u32, AttachedMode)> {
    const IFLA_XDP_DRV_PROG_ID: u16 = 5;
    const IFLA_XDP_SKB_PROG_ID: u16 = 6;
    const IFLA_XDP_HW_PROG_ID: u16 = 7;
    let modes = [
        (IFLA_XDP_DRV_PROG_ID, AttachedMode::Native),
        (IFLA_XDP_SKB_PROG_ID, AttachedMode::Generic),
        (IFLA_XDP_HW_PROG_ID, AttachedMode::Offloaded),
    ];
    let id = |kind| attribute(attributes, kind).and_then(|value| u32_at(value, 0));
    modes.into_iter().find_map(|(kind, mode)| Some((id(kind).filter(|id| *id != 0)?, mode)))
}

fn tc_object(payload: &[u8]) -> Option<TcObject> {
    Some(TcObject {
        ifindex: u32_at(payload, 4)?,
        handle: u32_at(payload, 8)?,
        parent: u32_at(payload, 12)?,
        kind: text(attribute(payload.get(TCMSG..)?, TCA_KIND)?),
    })
}

fn clsact_filter(payload: &[u8]) -> Option<ClsactFilter> {
    // tcm_info: the priority above the protocol
    Some(ClsactFilter { priority: u32_at(payload, 16)? >> 16, handle: u32_at(payload, 8)? })
}

/// Returns the value of the first attribute of type `wanted`.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// Mask of the type; the upper bits hold `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
    const TYPE: u16 = 0x3fff;
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..len)?;
        if u16_at(attributes, 2)? & TYPE == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = request(kind, &[]);
        bytes.extend(payload);
        bytes[..4].copy_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn htb() -> Vec<u8> {
        let numbers = [0_u32, 7, 0x1_0000, 0x7fff_0001, 0];
        let mut payload: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        // An attribute of 5 bytes, before TCA_KIND.
        payload.extend([9_u16.to_ne_bytes(), 99_u16.to_ne_bytes()].concat());
        payload.extend(b"12345\0\0\0");
        payload.extend([8_u16.to_ne_bytes(), TCA_KIND.to_ne_bytes()].concat());
        payload.extend(b"htb\0");
        payload
    }

    #[test]
    fn every_message_of_a_dump_is_read() {
        let mut bytes = [message(36, &htb()), message(36, &htb())].concat();
        let mut found = Vec::new();
        assert_eq!(read_messages(&bytes, tc_object, &mut found), Ok(false));
        let one =
            TcObject { ifindex: 7, handle: 0x1_0000, parent: 0x7fff_0001, kind: "htb".to_owned() };
        assert_eq!(found, [one.clone(), one]);
        bytes.extend(message(NLMSG_DONE as u16, &[0; 4]));
        assert_eq!(read_messages(&bytes, tc_object, &mut found), Ok(true));
    }

    #[test]
    fn the_errno_of_a_refusal_is_returned() {
        let refusal = (-(Errno::ENODEV as i32)).to_ne_bytes();
        let bytes = message(NLMSG_ERROR as u16, &refusal);
        assert_eq!(read_messages(&bytes, tc_object, &mut Vec::new()), Err(Errno::ENODEV));
    }

    #[test]
    fn truncated_messages_are_refused() {
        let bytes = message(36, &htb());
        for len in 4..bytes.len() {
            assert_eq!(
                read_messages(&bytes[..len], tc_object, &mut Vec::new()),
                Err(Errno::EBADMSG),
                "{len}"
            );
        }
        for len in 0..htb().len() {
            assert_eq!(tc_object(&htb()[..len]), None, "{len}");
        }
        assert_eq!(read_messages(&[0; 64], tc_object, &mut Vec::new()), Err(Errno::EBADMSG));
    }

    #[test]
    fn this_machine_can_be_dumped() {
        // Dumps need no capabilities.
        assert!(qdiscs().unwrap().iter().all(|qdisc| !qdisc.kind.is_empty()));
        assert_eq!(classes(1).unwrap(), []);
        let links = links().unwrap();
        assert!(
            links.contains(&NetlinkInterface { ifindex: 1, name: "lo".to_owned(), xdp: None }),
            "{links:?}"
        );
    }
}

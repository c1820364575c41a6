//! Which queueing disciplines and classes the kernel has: two dumps of rtnetlink.
//!
//! Written by hand because it is all that is needed of netlink here: libbpf keeps its own netlink
//! code to itself, and the netlink crates are five crates for these two messages.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{
    NLMSG_DONE, NLMSG_ERROR, NLM_F_DUMP, NLM_F_REQUEST, RTM_GETQDISC, RTM_GETTCLASS,
    RTM_GETTFILTER, TCA_KIND,
};
use nix::sys::socket::{
    recv, send, socket, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType,
};

use crate::error::{Error, Result};

/// The parent of a device's root qdisc (`TC_H_ROOT`).
pub const ROOT: u32 = u32::MAX;

/// A qdisc or a class: what `struct tcmsg` and its kind say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcObject {
    /// The device.
    pub ifindex: u32,
    /// Its own handle, major in the upper half.
    pub handle: u32,
    /// What it hangs from; [`ROOT`] for a root.
    pub parent: u32,
    /// `htb`, `mq`, …
    pub kind: String,
}

/// Every qdisc of every device of this network namespace.
///
/// # Errors
/// [`Error::Other`] with the kernel's reason.
pub fn qdiscs() -> Result<Vec<TcObject>> {
    dump(RTM_GETQDISC, 0, 0).map_err(|err| Error::other("list the qdiscs", err, ""))
}

/// Every class of one device.
///
/// # Errors
/// [`Error::Other`] with the kernel's reason.
pub fn classes(ifindex: u32) -> Result<Vec<TcObject>> {
    let what = || format!("list the classes of interface {ifindex}");
    dump(RTM_GETTCLASS, ifindex, 0).map_err(|err| Error::other(what(), err, ""))
}

/// Every filter of a device's clsact, both directions.
///
/// # Errors
/// [`Error::Other`] with the kernel's reason.
pub fn filters(ifindex: u32) -> Result<Vec<TcObject>> {
    /// include/uapi/linux/pkt_sched.h: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` and `_EGRESS`.
    const PARENTS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];
    let what = || format!("list the filters of interface {ifindex}");
    let mut found = Vec::new();
    for parent in PARENTS {
        let filters = dump(RTM_GETTFILTER, ifindex, parent);
        found.extend(filters.map_err(|err| Error::other(what(), err, ""))?);
    }
    Ok(found)
}

/// `struct nlmsghdr` and `struct tcmsg`, in bytes.
const HEADER: usize = 16;
const TCMSG: usize = 20;
/// The kernel fills at most 32 KiB at once.
const BUFFER: usize = 64 << 10;

fn dump(message: u16, ifindex: u32, parent: u32) -> std::result::Result<Vec<TcObject>, Errno> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), &request(message, ifindex, parent), MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        if len == 0 || read_messages(&buffer[..len], &mut found)? {
            return Ok(found);
        }
    }
}

fn request(message: u16, ifindex: u32, parent: u32) -> Vec<u8> {
    let flags = (NLM_F_REQUEST | NLM_F_DUMP) as u16;
    let mut bytes = Vec::with_capacity(HEADER + TCMSG);
    bytes.extend(((HEADER + TCMSG) as u32).to_ne_bytes());
    bytes.extend(message.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.resize(HEADER + 4, 0); // sequence, port; family and padding
    bytes.extend(ifindex.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes()); // handle
    bytes.extend(parent.to_ne_bytes());
    bytes.resize(HEADER + TCMSG, 0); // info
    bytes
}

/// Reads what one receive brought. True: that was the end of the dump.
fn read_messages(mut bytes: &[u8], found: &mut Vec<TcObject>) -> std::result::Result<bool, Errno> {
    while let Some(len) = u32_at(bytes, 0).map(|len| len as usize) {
        let Some(message) = bytes.get(..len).filter(|_| len >= HEADER) else {
            return Err(Errno::EBADMSG);
        };
        let payload = &message[HEADER..];
        match c_int::from(u16_at(message, 4).unwrap_or(0)) {
            // Both begin with an errno below zero, or 0.
            NLMSG_DONE | NLMSG_ERROR => {
                return match u32_at(payload, 0).unwrap_or(0) as i32 {
                    0 => Ok(true),
                    err => Err(Errno::from_raw(-err)),
                };
            }
            _ => found.extend(tc_object(payload)),
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn tc_object(payload: &[u8]) -> Option<TcObject> {
    Some(TcObject {
        ifindex: u32_at(payload, 4)?,
        handle: u32_at(payload, 8)?,
        parent: u32_at(payload, 12)?,
        kind: kind(payload.get(TCMSG..)?)?,
    })
}

/// The attribute `TCA_KIND` among `attributes`.
fn kind(mut attributes: &[u8]) -> Option<String> {
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..len)?;
        if u16_at(attributes, 2)? == TCA_KIND {
            return Some(String::from_utf8_lossy(value).trim_end_matches('\0').to_owned());
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
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
        let mut bytes = request(kind, 7, 0);
        bytes.truncate(HEADER);
        bytes.extend(payload);
        bytes[..4].copy_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn htb() -> Vec<u8> {
        let numbers = [0_u32, 7, 0x1_0000, 0x7fff_0001, 0];
        let mut payload: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        // An attribute of 5 bytes before the one that counts.
        payload.extend([9_u16.to_ne_bytes(), 99_u16.to_ne_bytes()].concat());
        payload.extend(b"12345\0\0\0");
        payload.extend([8_u16.to_ne_bytes(), TCA_KIND.to_ne_bytes()].concat());
        payload.extend(b"htb\0");
        payload
    }

    #[test]
    fn a_dump_is_read_to_its_end() {
        let mut bytes = [message(36, &htb()), message(36, &htb())].concat();
        let mut found = Vec::new();
        assert_eq!(read_messages(&bytes, &mut found), Ok(false));
        let one =
            TcObject { ifindex: 7, handle: 0x1_0000, parent: 0x7fff_0001, kind: "htb".to_owned() };
        assert_eq!(found, [one.clone(), one]);
        bytes.extend(message(NLMSG_DONE as u16, &[0; 4]));
        assert_eq!(read_messages(&bytes, &mut found), Ok(true));
    }

    #[test]
    fn the_kernels_refusal_comes_through() {
        let refusal = (-(Errno::ENODEV as i32)).to_ne_bytes();
        let bytes = message(NLMSG_ERROR as u16, &refusal);
        assert_eq!(read_messages(&bytes, &mut Vec::new()), Err(Errno::ENODEV));
    }

    #[test]
    fn cut_messages_are_never_read_past_their_end() {
        let bytes = message(36, &htb());
        for len in 4..bytes.len() {
            assert_eq!(read_messages(&bytes[..len], &mut Vec::new()), Err(Errno::EBADMSG), "{len}");
        }
        for len in 0..htb().len() {
            assert_eq!(tc_object(&htb()[..len]), None, "{len}");
        }
        assert_eq!(read_messages(&[0; 64], &mut Vec::new()), Err(Errno::EBADMSG));
    }

    #[test]
    fn dumps_of_this_machine() {
        // Needs no rights; `lo` has a noqueue at least where it is up.
        assert!(qdiscs().unwrap().iter().all(|qdisc| !qdisc.kind.is_empty()));
        assert_eq!(classes(1).unwrap(), []);
    }
}

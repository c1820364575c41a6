//! A raw packet socket on one device that moves frames in batches.

use crate::encapsulation::push_tag;
use crate::frame::Frame;
use crate::sockopt;
use nix::libc::{self, c_int};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Frames moved by one system call.
pub(crate) const BATCH: usize = 64;
/// Socket buffers: some 5000 frames.
const BUFFER: c_int = 16 << 20;
/// Control message space for one tpacket_auxdata, aligned as a cmsghdr.
type Control = [u64; 8];

/// What one receive brought.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Slots filled, from the first.
    pub(crate) frames: usize,
    /// Frames the kernel dropped because nobody read in time.
    pub(crate) dropped: u64,
}

/// An AF_PACKET socket bound to one device, promiscuous, deaf to what it sends itself.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens the device in the calling thread's network namespace.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(device)? as c_int;
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: plain system call; protocol 0 receives nothing until bound.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        socket.configure(index)?;
        socket.bind(index)?;
        Ok(socket)
    }

    fn configure(&self, index: c_int) -> io::Result<()> {
        sockopt::buffers(&self.fd, BUFFER);
        sockopt::set(&self.fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1 as c_int)?;
        sockopt::set(&self.fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1 as c_int)?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        sockopt::set(&self.fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, promiscuous)
    }

    fn bind(&self, index: c_int) -> io::Result<()> {
        // SAFETY: sockaddr_ll is plain data; all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the pointer and the length describe `address`.
        let result =
            unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Fills slots with what has arrived, without waiting; at most [`BATCH`] of them.
    /// A VLAN tag that the kernel moved out of the frame is put back.
    pub(crate) fn receive(&self, slots: &mut [Frame]) -> io::Result<Received> {
        let mut control = [[0u64; 8]; BATCH];
        // SAFETY: iovec and mmsghdr are plain data; all zeroes is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        let count = slots.len().min(BATCH);
        for (index, slot) in slots[..count].iter_mut().enumerate() {
            let area = slot.receive_area();
            vectors[index] =
                libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
            let header = &mut headers[index].msg_hdr;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut control[index]).cast();
            header.msg_controllen = size_of::<Control>() as _;
        }
        // SAFETY: `count` headers point to buffers that live in `slots`, `vectors` and `control`.
        let received = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if received < 0 {
            return none_if_would_block(io::Error::last_os_error());
        }
        let frames = received as usize;
        for (slot, header) in slots.iter_mut().zip(&headers[..frames]) {
            slot.set_length(header.msg_len as usize);
            if let Some((tpid, tci)) = stripped_tag(&header.msg_hdr) {
                push_tag(slot, tpid, tci);
            }
        }
        // Losses happen behind a full batch only: ask for them no more often.
        let dropped = if frames == count { self.dropped()? } else { 0 };
        Ok(Received { frames, dropped })
    }

    /// Sends frames until the kernel takes no more; says how many it took.
    pub(crate) fn send(&self, frames: &[&Frame]) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain data; all zeroes is a valid value.
        let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { (zeroed(), zeroed()) };
        let count = frames.len().min(BATCH);
        for (index, frame) in frames[..count].iter().enumerate() {
            let bytes = frame.bytes();
            vectors[index] =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: `count` headers point to frames that outlive the call and are only read.
        let sent = unsafe {
            libc::sendmmsg(self.fd.as_raw_fd(), headers.as_mut_ptr(), count as u32, 0 as _)
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(sent as usize)
        }
    }

    /// Frames lost since the last question.
    fn dropped(&self) -> io::Result<u64> {
        let zero = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let stats = sockopt::get(&self.fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, zero)?;
        Ok(u64::from(stats.tp_drops))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn none_if_would_block(error: io::Error) -> io::Result<Received> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Received::default()),
        _ => Err(error),
    }
}

/// The outermost tag, which the receive path took out of the frame before the packet socket saw it.
fn stripped_tag(header: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel filled the control buffer that `header` points to and set its length.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: a PACKET_AUXDATA message carries a whole tpacket_auxdata, of any alignment.
    let auxdata =
        unsafe { libc::CMSG_DATA(first).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if auxdata.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = auxdata.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    Some((if known { auxdata.tp_vlan_tpid } else { 0x8100 }, auxdata.tp_vlan_tci))
}

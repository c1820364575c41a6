// SPDX-License-Identifier: GPL-2.0-only
//! Raw packet sockets that move frames in batches.

use crate::encapsulation::push_tag;
use crate::frame_buffer::FrameBuffer;
use crate::sockopt;
use nix::libc::{self, c_int};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Most frames that one system call moves.
pub const BATCH: usize = 64;
/// Bytes of the socket buffers: some 5000 frames.
const BUFFER: c_int = 16 << 20;
/// Control message space for one tpacket_auxdata, aligned as a cmsghdr.
type Control = [u64; 8];

/// The result of one receive.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Number of slots filled, from the first.
    pub(crate) frames: usize,
    /// Frames that the kernel dropped because the line did not read them in time.
    pub(crate) dropped: u64,
}

/// Opens an AF_PACKET socket that sends to a device of the calling thread's network namespace and
/// receives nothing. The socket sends past the device's queueing discipline.
pub fn open_sender(device: &str) -> io::Result<OwnedFd> {
    let fd = open_unbound(0)?;
    sockopt::set(&fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1 as c_int)?;
    bind(&fd, device_index(device)?, 0)?;
    Ok(fd)
}

/// Opens an AF_PACKET socket, with `flags` of socket(2). It receives nothing until it is bound.
fn open_unbound(flags: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | flags;
    // SAFETY: plain system call; protocol 0 receives nothing until bound.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a packet socket to a device. It receives the frames of `protocol`; 0 means none.
fn bind(fd: &OwnedFd, index: c_int, protocol: u16) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data; all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `address`.
    match unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends up to [`BATCH`] frames with one system call and returns how many the kernel took. Fails if the
/// kernel refuses the first one.
pub fn send_batch<'a>(
    socket: &impl AsFd,
    frames: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    // SAFETY: iovec and mmsghdr are plain data; all zeroes is a valid value.
    let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for ((frame, vector), header) in frames.zip(&mut vectors).zip(&mut headers) {
        *vector = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `count` headers point to frames that outlive the call; the kernel only reads them.
    match unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, 0 as _) } {
        sent @ 0.. => Ok(sent as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

fn device_index(device: &str) -> io::Result<c_int> {
    Ok(nix::net::if_::if_nametoindex(device)? as c_int)
}

/// An AF_PACKET socket on one device, promiscuous. It does not receive the frames that it sends.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens the device in the calling thread's network namespace.
    pub(crate) fn open(device: &str) -> io::Result<Self> {
        let (socket, index) =
            (Self { fd: open_unbound(libc::SOCK_NONBLOCK)? }, device_index(device)?);
        socket.configure(index)?;
        bind(&socket.fd, index, libc::ETH_P_ALL as u16)?;
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

    /// Fills up to [`BATCH`] slots with frames that have arrived, without waiting. Puts a VLAN tag that
    /// the kernel moved out of the frame back.
    pub(crate) fn receive(&self, slots: &mut [FrameBuffer]) -> io::Result<Received> {
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
        // The kernel drops frames only while the line is behind, which a full batch shows.
        let dropped = if frames == count { self.dropped()? } else { 0 };
        Ok(Received { frames, dropped })
    }

    /// Sends up to [`BATCH`] frames until the kernel takes no more; returns how many it took.
    pub(crate) fn send(&self, frames: &[&FrameBuffer]) -> io::Result<usize> {
        send_batch(self, frames.iter().map(|frame| frame.bytes()))
    }

    /// Returns how many frames the kernel dropped since the last call.
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

/// Returns the outermost tag, which the receive path took out of the frame before the packet socket saw
/// it.
fn stripped_tag(header: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel filled the control buffer that `header` points to and set its length.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: a PACKET_AUXDATA message holds a whole tpacket_auxdata, of any alignment.
    let auxdata =
        unsafe { libc::CMSG_DATA(first).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if auxdata.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = auxdata.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    Some((if known { auxdata.tp_vlan_tpid } else { 0x8100 }, auxdata.tp_vlan_tci))
}

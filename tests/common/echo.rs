// SPDX-License-Identifier: GPL-2.0-only

//! ICMP echoes, one at a time.

use lab::Netns;
use nix::sys::socket::{
    connect, recv, send, setsockopt, socket, sockopt::ReceiveTimeout, AddressFamily, MsgFlags,
    SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
};
use nix::sys::time::TimeVal;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

/// Type of a request and of its reply: RFC 792, RFC 4443.
const V4: [u8; 2] = [8, 0];
const V6: [u8; 2] = [128, 129];

/// Sends `count` echo requests to `address`, each after the reply to the one before.
///
/// So each request is answered before the next, however slow the machine is. ping(8) sends by the clock: with an RTT of
/// several intervals many requests are unanswered at once, more than pping remembers for a flow.
pub fn echo_in_turn(netns: &Netns, address: IpAddr, identifier: u16, count: u16) {
    netns.run(|| exchange(address, identifier, count)).expect("enter the namespace");
}

fn exchange(address: IpAddr, identifier: u16, count: u16) {
    let socket = connected(address);
    let [request, reply] = if address.is_ipv4() { V4 } else { V6 };
    for sequence in 1..=count {
        let mut message = [[0; 8], *b"an echo "].concat();
        message[0] = request;
        message[4..6].copy_from_slice(&identifier.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        if address.is_ipv4() {
            // The kernel computes the checksum of ICMPv6 only.
            let checksum = checksum(&message).to_be_bytes();
            message[2..4].copy_from_slice(&checksum);
        }
        send(socket.as_raw_fd(), &message, MsgFlags::empty()).expect("send an echo request");
        await_reply(&socket, address, &[&[reply, 0], &message[4..8]]);
    }
}

/// Waits for the reply. A raw socket receives all ICMP packets of the host, neighbour discovery for example.
fn await_reply(socket: &OwnedFd, address: IpAddr, [kind, number]: &[&[u8]; 2]) {
    let mut packet = [0; 256];
    loop {
        let length = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty());
        let length = length.unwrap_or_else(|error| panic!("no echo reply of {address}: {error}"));
        // A raw IPv4 socket gives the IP header, too.
        let header = if address.is_ipv4() { usize::from(packet[0] & 15) * 4 } else { 0 };
        let message = &packet[header..length];
        if message.len() >= 8 && message[..2] == **kind && message[4..8] == **number {
            return;
        }
    }
}

fn connected(address: IpAddr) -> OwnedFd {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).expect("socket");
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(9, 0)).expect("a time limit");
    match address {
        IpAddr::V4(v4) => connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(v4, 0))),
        IpAddr::V6(v6) => {
            connect(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(v6, 0, 0, 0)))
        }
    }
    .expect("connect");
    socket
}

/// Returns the Internet checksum (RFC 1071) of a message of even length.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

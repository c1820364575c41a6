// SPDX-License-Identifier: GPL-2.0-only
//! TCP_INFO: the kernel's own figures of a connection.

use crate::sockopt;
use nix::libc;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// TCPI_OPT_TIMESTAMPS of linux/tcp.h.
const OPT_TIMESTAMPS: u8 = 1;

/// The head of struct tcp_info (uapi linux/tcp.h), up to tcpi_data_segs_out.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawTcpInfo {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    window_scales: u8,
    flags: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
}

/// TCP_INFO of one end: figures that the kernel measured itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed RTT.
    pub rtt: Duration,
    /// Mean deviation of the RTT.
    pub rttvar: Duration,
    /// Lowest RTT of the kernel's window (`tcp_min_rtt_wlen`, 300 s by default).
    pub min_rtt: Duration,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Payload bytes that the other end acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Segments received with payload.
    pub data_segments_in: u32,
    /// Segments sent with payload.
    pub data_segments_out: u32,
    /// Whether both ends agreed on timestamps.
    pub timestamps: bool,
}

impl TcpInfo {
    /// Asks the kernel for TCP_INFO of a connection.
    pub fn of(stream: &TcpStream) -> io::Result<Self> {
        let raw = sockopt::get(stream, libc::IPPROTO_TCP, libc::TCP_INFO, RawTcpInfo::default())?;
        let microseconds = |value: u32| Duration::from_micros(u64::from(value));
        Ok(Self {
            rtt: microseconds(raw.rtt),
            rttvar: microseconds(raw.rttvar),
            min_rtt: microseconds(raw.min_rtt),
            retransmits: raw.total_retrans,
            bytes_acked: raw.bytes_acked,
            bytes_received: raw.bytes_received,
            data_segments_in: raw.data_segs_in,
            data_segments_out: raw.data_segs_out,
            timestamps: raw.options & OPT_TIMESTAMPS != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(std::mem::offset_of!(RawTcpInfo, rtt), 68);
        assert_eq!(std::mem::offset_of!(RawTcpInfo, total_retrans), 100);
        assert_eq!(std::mem::offset_of!(RawTcpInfo, min_rtt), 148);
    }
}

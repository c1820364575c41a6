// SPDX-License-Identifier: GPL-2.0-only
//! Numbered UDP packets, to prove that none is lost.

use crate::ns::Netns;
use crate::sockopt;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::thread::{sleep, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of the receive buffer: seconds of traffic.
const BUFFER: i32 = 32 << 20;
/// How often a receiver checks whether it should end.
const TICK: Duration = Duration::from_millis(20);

/// A receiver's counts of packets numbered from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpReport {
    /// Packets received, without repetitions.
    pub received: u64,
    /// Packets sent that never came.
    pub lost: u64,
    /// Repetitions of packets received before.
    pub duplicates: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
}

/// Receives numbered packets in a thread.
#[derive(Debug)]
pub struct UdpReceiver {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<io::Result<UdpReport>>>>,
}

impl UdpReceiver {
    /// Listens on a free port of all IPv4 and IPv6 addresses.
    pub fn start(netns: &Netns) -> io::Result<Self> {
        let socket = netns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))??;
        sockopt::buffers(&socket, BUFFER);
        socket.set_read_timeout(Some(TICK))?;
        let (port, stop) = (socket.local_addr()?.port(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = netns.spawn("udp receiver", move || receive(&socket, &stopped))?;
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// Returns the port to send to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits `grace` for packets that are still on their way, then compares with the number of packets
    /// sent.
    pub fn finish(mut self, sent: u64, grace: Duration) -> io::Result<UdpReport> {
        sleep(grace);
        self.stop.store(true, Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(UdpReport::default()) };
        let mut report =
            thread.join().map_err(|_| io::Error::other("the UDP receiver panicked"))???;
        report.lost = sent.saturating_sub(report.received);
        Ok(report)
    }
}

impl Drop for UdpReceiver {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> io::Result<UdpReport> {
    let mut report = UdpReport::default();
    let (mut seen, mut highest) = (HashSet::new(), 0);
    let mut buffer = [0; 2048];
    while !stop.load(Relaxed) {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let Some(Ok(number)) = buffer[..length].get(..8).map(<[u8; 8]>::try_from) else { continue };
        let number = u64::from_be_bytes(number);
        if !seen.insert(number) {
            report.duplicates += 1;
            continue;
        }
        report.received += 1;
        report.reordered += u64::from(number < highest);
        highest = highest.max(number);
    }
    Ok(report)
}

/// Sends packets of `payload` bytes (8 at least) at a constant `rate` per second for `time` from the
/// namespace `from`. Returns how many it sent.
pub fn send_udp(
    from: &Netns,
    target: SocketAddr,
    rate: u32,
    payload: usize,
    time: Duration,
) -> io::Result<u64> {
    from.run(|| {
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(target)?;
        let mut packet = vec![0; payload.max(8)];
        let total = (f64::from(rate) * time.as_secs_f64()) as u64;
        let start = Instant::now();
        for number in 0..total {
            let due = Duration::from_secs_f64(number as f64 / f64::from(rate));
            sleep(due.saturating_sub(start.elapsed()));
            packet[..8].copy_from_slice(&number.to_be_bytes());
            socket.send(&packet)?;
        }
        Ok(total)
    })?
}

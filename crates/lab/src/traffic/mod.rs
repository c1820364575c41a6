//! Real TCP by the kernel, and numbered UDP, between the hosts of a lab.

mod client;
mod flow;
mod server;
mod tcp_info;
mod udp;

pub use client::{run, short_flows, transfer, Report};
pub use flow::{Amount, Flow, Pattern};
pub use server::Server;
pub use tcp_info::TcpInfo;
pub use udp::{send_udp, UdpReceiver, UdpReport};

use crate::sockopt;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

/// No transfer waits longer for the other side: a broken path is an error, not a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prepares a connection of either end.
fn prepare(stream: &TcpStream, flow: &Flow) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match flow.rate {
        Some(rate) => {
            sockopt::set(stream, nix::libc::SOL_SOCKET, nix::libc::SO_MAX_PACING_RATE, rate)
        }
        None => Ok(()),
    }
}

/// Reads to the end of the stream and says how many bytes came.
fn drain(mut stream: impl io::Read) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => total += count as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

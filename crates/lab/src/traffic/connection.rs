// SPDX-License-Identifier: GPL-2.0-only
//! Helpers for either end of a TCP connection.

use crate::sockopt;
use crate::traffic::flow::Flow;
use nix::libc;
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

/// The longest that an end waits for the other one: a broken path is an error, not a hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Sets the time-outs and the pacing of one end.
pub(super) fn prepare(stream: &TcpStream, flow: &Flow) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match flow.rate {
        Some(rate) => sockopt::set(stream, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, rate),
        None => Ok(()),
    }
}

/// Reads to the end of the stream and returns how many bytes came.
pub(super) fn drain(mut stream: impl Read) -> io::Result<u64> {
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

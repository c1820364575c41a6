// SPDX-License-Identifier: GPL-2.0-only
//! The TCP client.

use crate::ns::Netns;
use crate::traffic::connection::{drain, prepare, PATIENCE};
use crate::traffic::flow::{send_bulk, send_paced, Amount, Flow, Pattern};
use crate::traffic::server::Server;
use crate::traffic::tcp_info::TcpInfo;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The outcome of one connection.
#[derive(Clone, Debug)]
pub struct TransferReport {
    /// Payload bytes of the pattern's main direction (request/response: of both directions).
    pub bytes: u64,
    /// From before connect(2) to the last byte.
    pub duration: Duration,
    /// TCP_INFO of the client's end.
    pub client: TcpInfo,
    /// TCP_INFO of the server's end, if known.
    pub server: Option<TcpInfo>,
    /// The times from each request to the end of its response.
    pub exchanges: Vec<Duration>,
    /// The client's address.
    pub local: SocketAddr,
    /// The server's address.
    pub peer: SocketAddr,
}

/// Runs one connection from `client` to a server at `address`; reports TCP_INFO of both ends.
pub fn run(
    client: &Netns,
    server: &Server,
    address: IpAddr,
    flow: &Flow,
) -> io::Result<TransferReport> {
    let mut report = client.run(|| transfer(SocketAddr::new(address, server.port()), flow))??;
    report.server = server.report(report.local);
    Ok(report)
}

/// Runs `count` connections one after the other, each a download of `bytes`.
pub fn short_flows(
    client: &Netns,
    server: &Server,
    address: IpAddr,
    count: u32,
    bytes: u64,
) -> io::Result<Vec<TransferReport>> {
    let flow = Flow::download(Amount::Bytes(bytes));
    (0..count).map(|_| run(client, server, address, &flow)).collect()
}

/// Runs one connection from the calling thread's namespace.
pub fn transfer(target: SocketAddr, flow: &Flow) -> io::Result<TransferReport> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    prepare(&stream, flow)?;
    stream.write_all(flow.encode().as_bytes())?;
    let mut exchanges = Vec::new();
    let bytes = match flow.pattern {
        Pattern::Download(_) | Pattern::PacedDownload { .. } => drain(&stream)?,
        Pattern::Upload(amount) => finish(&stream, send_bulk(&stream, amount)?)?,
        Pattern::PacedUpload { segment, interval, count } => {
            finish(&stream, send_paced(&stream, segment, interval, count)?)?
        }
        Pattern::RequestResponse { request, response, think, count, .. } => {
            exchanges = exchange(&mut stream, request, response, think, count)?;
            u64::from(count) * (u64::from(request) + u64::from(response))
        }
    };
    let duration = start.elapsed();
    let (client, local) = (TcpInfo::of(&stream)?, stream.local_addr()?);
    Ok(TransferReport { bytes, duration, client, server: None, exchanges, local, peer: target })
}

/// Ends an upload. The server closes when it has received everything.
fn finish(stream: &TcpStream, sent: u64) -> io::Result<u64> {
    stream.shutdown(Shutdown::Write)?;
    drain(stream)?;
    Ok(sent)
}

fn exchange(
    stream: &mut TcpStream,
    request: u32,
    response: u32,
    think: Duration,
    count: u32,
) -> io::Result<Vec<Duration>> {
    let (question, mut answer) = (vec![b'q'; request as usize], vec![0; response as usize]);
    let mut durations = Vec::with_capacity(count as usize);
    for _ in 0..count {
        sleep(think);
        let start = Instant::now();
        stream.write_all(&question)?;
        stream.read_exact(&mut answer)?;
        durations.push(start.elapsed());
    }
    Ok(durations)
}

// SPDX-License-Identifier: GPL-2.0-only
//! The TCP server. The header line of each connection says what the server does.

use crate::ns::Netns;
use crate::traffic::connection::{drain, prepare, PATIENCE};
use crate::traffic::flow::{send_bulk, send_paced, Flow, Pattern};
use crate::traffic::tcp_info::TcpInfo;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep, JoinHandle};

/// A server on all addresses of a namespace, IPv4 and IPv6. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Server {
    port: u16,
    listener: TcpListener,
    thread: Option<JoinHandle<io::Result<()>>>,
    shared: Arc<Connections>,
}

/// The state that the server shares with the threads of its connections.
#[derive(Debug, Default)]
struct Connections {
    state: Mutex<ConnectionTable>,
    reported: Condvar,
}

/// Open connections, and TCP_INFO of those that ended (None if a connection broke), by the client's
/// address.
#[derive(Debug, Default)]
struct ConnectionTable {
    open: HashMap<SocketAddr, TcpStream>,
    reports: HashMap<SocketAddr, Option<TcpInfo>>,
}

impl Server {
    /// Starts a server on `port`, or on a free port if `port` is 0.
    pub fn start(netns: &Netns, port: u16) -> io::Result<Self> {
        let listener = netns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))??;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Connections::default());
        let (accepting, connections) = (listener.try_clone()?, shared.clone());
        let accept = move || accept(&accepting, &connections);
        let thread = netns.spawn("tcp server", accept)?;
        Ok(Self { port, listener, thread: Some(thread), shared })
    }

    /// Returns the port on which the server listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's TCP_INFO of a connection that ended, by the client's address. Waits up to 30 s
    /// for the connection to end.
    pub fn report(&self, client: SocketAddr) -> Option<TcpInfo> {
        let state = self.shared.lock();
        let (mut state, _) = self
            .shared
            .reported
            .wait_timeout_while(state, PATIENCE, |state| !state.reports.contains_key(&client))
            .unwrap_or_else(PoisonError::into_inner);
        state.reports.remove(&client).flatten()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // shutdown(2) of a listener makes accept(2) return.
        let _ = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.listener),
            nix::sys::socket::Shutdown::Both,
        );
        for stream in self.shared.lock().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, ConnectionTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves each connection in a thread of its own until the listener is shut down.
fn accept(listener: &TcpListener, shared: &Arc<Connections>) {
    while let Ok((stream, peer)) = listener.accept() {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if let Ok(clone) = stream.try_clone() {
            shared.lock().open.insert(peer, clone);
        }
        let shared = shared.clone();
        thread::spawn(move || {
            let info = serve(&stream);
            let mut state = shared.lock();
            state.open.remove(&peer);
            state.reports.insert(peer, info.ok());
            shared.reported.notify_all();
        });
    }
}

/// Serves one connection from its header line to its end.
fn serve(stream: &TcpStream) -> io::Result<TcpInfo> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut header = String::new();
    reader.by_ref().take(200).read_line(&mut header)?;
    let flow = Flow::decode(&header).ok_or(io::ErrorKind::InvalidData)?;
    prepare(stream, &flow)?;
    match flow.pattern {
        Pattern::Download(amount) => drop(send_bulk(stream, amount)?),
        Pattern::PacedDownload { segment, interval, count } => {
            send_paced(stream, segment, interval, count)?;
        }
        Pattern::RequestResponse { request, response, service, count, .. } => {
            let (mut question, answer) = (vec![0; request as usize], vec![b'a'; response as usize]);
            for _ in 0..count {
                reader.read_exact(&mut question)?;
                sleep(service);
                reader.get_mut().write_all(&answer)?;
            }
        }
        Pattern::Upload(_) | Pattern::PacedUpload { .. } => {}
    }
    if !matches!(flow.pattern, Pattern::Upload(_) | Pattern::PacedUpload { .. }) {
        stream.shutdown(Shutdown::Write)?;
    }
    // The client closes when it has received everything. Then it has acknowledged everything.
    drain(&mut reader)?;
    TcpInfo::of(stream)
}

//! The delay line: a user-space hub that carries frames between hosts and the shaper, each after
//! its delay.
//!
//! One thread a line. The trunk leads to the shaper, each spoke to a host. Frames towards the shaper are
//! dressed in the subscriber's encapsulation, frames from it are undressed.

use crate::encapsulation::Encapsulation;
use crate::engine::Engine;
use crate::link::Link;
use crate::ns::Netns;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;

/// A hardware address.
pub type Mac = [u8; 6];

/// One host at a delay line.
#[derive(Clone, Debug)]
pub struct Spoke {
    /// The line's device that leads to the host.
    pub device: String,
    /// The host's address: frames from the trunk for it go here. A lone spoke gets them all.
    pub mac: Mac,
    /// Delay, impairments, counters.
    pub link: Arc<Link>,
}

/// What a delay line connects.
#[derive(Clone, Debug)]
pub struct LinePlan {
    /// The line's device that leads to the shaper.
    pub trunk: String,
    /// The hosts.
    pub spokes: Vec<Spoke>,
    /// What the frames of a subscriber, known by its address as source or destination, wear on the trunk.
    pub encapsulations: HashMap<Mac, Encapsulation>,
    /// Largest frame.
    pub mtu: u32,
    /// Seed of the impairments.
    pub seed: u64,
    /// Whether the line runs before ordinary threads.
    pub realtime: bool,
}

/// A running delay line; it ends when dropped.
#[derive(Debug)]
pub struct DelayLine {
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
    dropped: Arc<AtomicU64>,
}

impl DelayLine {
    /// Opens the devices, which are in `netns`, and starts to forward.
    pub fn start(netns: &Netns, plan: LinePlan) -> io::Result<Self> {
        let (stop, wake) = nix::unistd::pipe()?;
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        let (ready, opened) = mpsc::channel();
        let thread = netns.spawn("delay line", move || {
            let engine = Engine::open(plan, stop, counter);
            let (engine, result) = match engine {
                Ok(engine) => (Some(engine), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // The receiver waits for exactly this message.
            let _ = ready.send(result);
            engine.map_or(Ok(()), Engine::run)
        })?;
        opened.recv().map_err(|_| io::Error::other("the delay line died while it opened"))??;
        Ok(Self { wake: Some(wake), thread: Some(thread), dropped })
    }

    /// Frames the kernel dropped before this line could read them. Should be 0.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        // Closing the pipe wakes the thread.
        drop(self.wake.take());
        let Some(Ok(Ok(ended))) = self.thread.take().map(JoinHandle::join) else { return };
        if let Err(error) = ended {
            eprintln!("lab: a delay line broke: {error}");
        }
    }
}

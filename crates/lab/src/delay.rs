// SPDX-License-Identifier: GPL-2.0-only
//! The delay line: a user-space hub that carries frames between hosts and the shaper, each after
//! its delay.
//!
//! Each line has one thread. The trunk leads to the shaper, each spoke to a host. The line adds the
//! subscriber's encapsulation to frames towards the shaper and removes it from frames that come back.

use crate::engine::Engine;
use crate::line_plan::LinePlan;
use crate::ns::Netns;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;

/// A running delay line; dropping it ends the line.
#[derive(Debug)]
pub struct DelayLine {
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<io::Result<io::Result<()>>>>,
    dropped: Arc<AtomicU64>,
}

impl DelayLine {
    /// Opens the plan's devices, which are in `netns`, and starts to forward.
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
            // `start` waits for this message, so the receiver still exists.
            let _ = ready.send(result);
            engine.map_or(Ok(()), Engine::run)
        })?;
        opened.recv().map_err(|_| io::Error::other("the delay line died while it opened"))??;
        Ok(Self { wake: Some(wake), thread: Some(thread), dropped })
    }

    /// Returns how many frames the kernel dropped before this line could read them. Should be 0.
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

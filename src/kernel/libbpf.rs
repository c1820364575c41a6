// SPDX-License-Identifier: GPL-2.0-only
//! libbpf's messages. They never reach stderr, where callers scan for certain lines; the first one
//! explains a failed load better than the errno that follows it.

use std::cell::RefCell;

use libbpf_rs::PrintLevel;

use crate::domain::error::{Cause, Error};
use crate::kernel::capability::LOAD_CAPABILITIES;

thread_local! {
    /// libbpf's callback takes no context and runs on the calling thread: its first message since
    /// [`Messages::capture`] waits here. Nothing outside this module reads it.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The messages of libbpf on this thread while a load runs.
#[derive(Debug)]
pub struct Messages(());

impl Messages {
    /// Keeps libbpf's messages from now on. Also keeps libbpf from raising the memlock limit: no
    /// kernel that can run the programs has one for maps.
    pub fn capture() -> Self {
        // SAFETY: sets a number.
        unsafe { libbpf_sys::libbpf_set_memlock_rlim(0) };
        FIRST.take();
        libbpf_rs::set_print(Some((PrintLevel::Warn, |_, message| {
            let message = message.trim().replace('\n', " ");
            FIRST.with_borrow_mut(|first| first.get_or_insert(message).len());
        })));
        Self(())
    }

    /// Returns the error of a failed load, with libbpf's first message.
    pub fn load_error(&self, err: impl Into<Cause>) -> Error {
        let err =
            Error::bpf_load("load the BPF programs", err, "they need a kernel of 6.1 or later");
        match (err.or_missing(&LOAD_CAPABILITIES), FIRST.take()) {
            (Error::BpfLoad(mut detail), Some(message)) => {
                detail.why = format!("{} ({message})", detail.why).into();
                Error::BpfLoad(detail)
            }
            (err, _) => err,
        }
    }
}

/// Discards libbpf's messages: its complaint about a device without our filter is of no use to an
/// operator.
pub fn silence() {
    libbpf_rs::set_print(None);
}

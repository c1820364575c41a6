// SPDX-License-Identifier: GPL-2.0-only
//! libbpf's messages. They never reach stderr, because callers scan it for certain lines. The first
//! message of a failed load explains the failure better than the errno that follows it.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Once;

use libbpf_rs::PrintLevel;

use crate::domain::error::{Cause, Error};
use crate::kernel::capability::LOAD_CAPABILITIES;

thread_local! {
    /// libbpf's first message on this thread since [`Messages::capture`]. A thread-local, because
    /// libbpf calls its callback without a context, on the thread that called libbpf.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The messages of libbpf on this thread while a load runs. It stays on its thread.
#[derive(Debug)]
pub struct Messages(PhantomData<*const ()>);

impl Messages {
    /// Captures libbpf's messages on this thread from now on. Also stops libbpf from raising the
    /// memlock limit: kernels that can run the programs charge no map to it.
    pub fn capture() -> Self {
        static MEMLOCK: Once = Once::new();
        // SAFETY: the call stores a number in libbpf, without a lock; Once keeps it to one thread.
        MEMLOCK.call_once(|| unsafe {
            libbpf_sys::libbpf_set_memlock_rlim(0);
        });
        silence();
        FIRST.take();
        Self(PhantomData)
    }

    /// Returns the error of a failed load, with libbpf's first message in parentheses.
    pub fn load_error(&self, err: impl Into<Cause>) -> Error {
        let err = Error::bpf_load("load the BPF programs", err, "they need Linux 6.1 or later");
        match (err.or_missing(&LOAD_CAPABILITIES), FIRST.take()) {
            (Error::BpfLoad(mut detail), Some(message)) => {
                detail.why = format!("{} ({message})", detail.why).into();
                Error::BpfLoad(detail)
            }
            (err, _) => err,
        }
    }
}

/// Keeps the messages of libbpf off stderr, on every thread of the process. An operator has no use for
/// them: libbpf complains, for example, about each device without our filter.
pub fn silence() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep_first)));
}

fn keep_first(_level: PrintLevel, message: String) {
    FIRST.with_borrow_mut(|first| {
        first.get_or_insert_with(|| message.trim().replace('\n', " "));
    });
}

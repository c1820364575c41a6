//! Says on a terminal what is going on.

use std::io::{stderr, IsTerminal, Write};

/// One line on stderr that is written over again and again; none where stderr is no terminal.
pub struct Line {
    shown: bool,
}

impl Line {
    /// On this process's stderr.
    pub fn new() -> Self {
        Self { shown: stderr().is_terminal() }
    }

    /// Shows this in the place of what was shown.
    pub fn say(&self, text: &str) {
        if self.shown {
            let mut out = stderr().lock();
            // Nobody to tell.
            let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
        }
    }

    /// Leaves nothing.
    pub fn clear(&self) {
        self.say("");
    }
}

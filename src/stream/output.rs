// SPDX-License-Identifier: GPL-2.0-only
//! The output of a stream: standard output, or a file that SIGHUP opens again.
//!
//! A reader that stops reading must not keep the stream from ending, so the stream never blocks in
//! write(2): before it writes to a pipe, a terminal or a socket, it waits in poll(2) until there is
//! room, and after a stop not for long. A full disk and every other failure to write end the
//! stream: the lost text cannot be written later, and a supervisor can start the command again. The
//! half line that is on the disk then is removed, so that the file ends with a whole one.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::domain::error::{Error, Result};
use crate::domain::format::{Format, NamedFormat};
use crate::stream::output::file::OutputFile;
use crate::stream::record::{Content, StreamRecord};

mod file;

/// The format of a stream.
pub type StreamFormat = &'static NamedFormat<StreamRecord>;

/// Number of bytes of text from which on [`Output::is_full`] asks for a flush.
const BUFFER: usize = 1 << 16;
/// How long the last text waits for room before it is given up.
const LAST_PATIENCE: Duration = Duration::from_millis(300);
/// How long the last text may take in all, for a reader that is slow.
const LAST_TIME: Duration = Duration::from_secs(5);

/// The output of a stream. Records become text in a buffer, and a flush writes the buffer.
pub struct Output {
    file: OutputFile,
    format: StreamFormat,
    formatter: Box<dyn Format<StreamRecord>>,
    /// Whether events come from a shaper, with a class and a side.
    on_shaper: bool,
    buffer: Vec<u8>,
    /// Time of the last flush.
    flushed: Instant,
    /// Time from which on the last text waits no longer; `None` before the stop.
    last_until: Option<Instant>,
    /// Whether a write has failed: nothing can be written any more.
    failed: bool,
}

/// The outcome of [`Output::reopen`].
#[derive(Debug)]
pub enum Reopened {
    /// A new file has been opened.
    Fresh,
    /// The output is no file, or its file has not been moved: nothing has changed.
    Same,
    /// The new file cannot be opened: the old one stays open.
    Failed(Error),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("file", &self.file).field("format", &self.format).finish()
    }
}

impl Output {
    /// Opens `path`; `None` is standard output. Formats of lines are appended to a file. A JSON
    /// array cannot be, so its file is truncated: call this when everything else that can fail has
    /// succeeded. If `path` is a FIFO, waits for its reader until `stop` is readable. `on_shaper`
    /// tells whether events have a class and a side.
    ///
    /// # Errors
    /// [`Error::Other`]: the file cannot be opened. [`Error::Output`] of kind `BrokenPipe`: the
    /// FIFO has no reader, and `stop` is readable.
    pub fn open(
        path: Option<&Path>,
        format: StreamFormat,
        on_shaper: bool,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Self> {
        let file = match path {
            Some(path) => OutputFile::open(path, format.is_array, stop)?,
            None => OutputFile::stdout()?,
        };
        let mut output = Self::new(file, format, on_shaper);
        output.formatter.begin(&mut output.buffer);
        Ok(output)
    }

    fn new(file: OutputFile, format: StreamFormat, on_shaper: bool) -> Self {
        Self {
            file,
            format,
            formatter: (format.make)(),
            on_shaper,
            buffer: Vec::with_capacity(2 * BUFFER),
            flushed: Instant::now(),
            last_until: None,
            failed: false,
        }
    }

    /// Returns the path of the file if opening it has deleted what it held, for a warning.
    pub fn replaced(&self) -> Option<&Path> {
        self.file.replaced()
    }

    /// Tells whether the output is a terminal. SIGHUP then means that the terminal has been closed.
    pub fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Tells whether events come from a shaper, with a class and a side.
    pub fn on_shaper(&self) -> bool {
        self.on_shaper
    }

    /// Appends a record to the buffer. Returns false if the format has no text for it.
    pub fn record(&mut self, wall_ns: u64, content: Content) -> bool {
        let before = self.buffer.len();
        self.formatter.record(&mut self.buffer, &StreamRecord { wall_ns, content });
        self.buffer.len() > before
    }

    /// Tells whether the buffer holds so much text that it should be flushed.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    /// Returns the time since the last flush.
    pub fn age(&self) -> Duration {
        self.flushed.elapsed()
    }

    /// Writes the buffer. If there is no room, waits for the reader until `wake` becomes readable,
    /// and keeps the rest of the text for the next flush.
    ///
    /// # Errors
    /// [`Error::Output`], of kind `BrokenPipe` if the reader has closed its end; [`Error::Other`]
    /// with the name of the file.
    pub fn flush(&mut self, wake: Option<BorrowedFd<'_>>) -> Result<()> {
        self.write_out(wake, None)
    }

    /// Writes the buffer after a stop: waits a moment for a reader that stalls, and at most a few
    /// seconds in all for one that is slow. Returns false if text is left.
    ///
    /// # Errors
    /// Those of [`Output::flush`].
    pub fn flush_last(&mut self) -> Result<bool> {
        let now = Instant::now();
        let until = *self.last_until.get_or_insert(now + LAST_TIME);
        let patience = LAST_PATIENCE.min(until.saturating_duration_since(now));
        self.write_out(None, Some(patience))?;
        if !self.buffer.is_empty() {
            self.last_until = Some(now);
        }
        Ok(self.buffer.is_empty())
    }

    /// Checks that the reader has not closed its end, also while there is nothing to write.
    ///
    /// # Errors
    /// [`Error::Output`] of kind `BrokenPipe`.
    pub fn check_reader(&self) -> Result<()> {
        match self.file.reader_is_gone() {
            true => Err(Error::Output(io::ErrorKind::BrokenPipe.into())),
            false => Ok(()),
        }
    }

    /// Opens a new file at the output's path if the old one has been moved or deleted.
    ///
    /// # Errors
    /// Those of [`Output::flush`], for the old file.
    pub fn reopen(&mut self, wake: Option<BorrowedFd<'_>>) -> Result<Reopened> {
        let Some(path) = self.file.moved_from() else {
            self.flush(wake)?;
            return Ok(Reopened::Same);
        };
        let fresh = match OutputFile::open(path, self.format.is_array, wake) {
            Ok(fresh) => fresh,
            Err(err) => return Ok(Reopened::Failed(err)),
        };
        self.formatter.end(&mut self.buffer);
        self.write_out(None, Some(LAST_PATIENCE))?;
        self.file = fresh;
        self.formatter.begin(&mut self.buffer);
        Ok(Reopened::Fresh)
    }

    /// Writes the rest of the text, with the end of the array. Does nothing after an error.
    ///
    /// # Errors
    /// Those of [`Output::flush`]; [`Error::Output`] or [`Error::Other`] of kind `TimedOut` if the
    /// reader makes no room.
    pub fn finish(&mut self) -> Result<()> {
        if self.failed {
            return Ok(());
        }
        self.formatter.end(&mut self.buffer);
        if self.flush_last()? {
            return Ok(());
        }
        let err = io::Error::new(io::ErrorKind::TimedOut, "its reader does not read");
        Err(self.file.error(err))
    }

    fn write_out(
        &mut self,
        wake: Option<BorrowedFd<'_>>,
        patience: Option<Duration>,
    ) -> Result<()> {
        self.flushed = Instant::now();
        let (written, result) = self.file.write(&self.buffer, wake, patience);
        self.buffer.drain(..written);
        result.map_err(|err| self.fail(err))
    }

    /// Gives the output up after a failed write.
    fn fail(&mut self, err: io::Error) -> Error {
        self.failed = true;
        self.buffer.clear();
        if !self.format.is_array {
            // The next start then begins on a new line.
            let _ = self.file.remove_half_line();
        }
        self.file.error(err)
    }
}

#[cfg(test)]
mod tests;

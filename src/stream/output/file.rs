// SPDX-License-Identifier: GPL-2.0-only
//! The open file behind an output, and writing to it without blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::domain::error::{Error, Result};

/// Number of bytes that a pipe takes without blocking once poll(2) says that it has room
/// (`PIPE_BUF`).
const PORTION: usize = 4096;
/// Permissions of a new file: it says who talked to whom, so only its owner and group may read it.
const MODE: u32 = 0o640;
/// Time between two attempts to open a FIFO that has no reader yet, or to write where poll(2)
/// promised room that another writer has taken.
const RETRY: Duration = Duration::from_millis(20);

/// An open file, or standard output.
#[derive(Debug)]
pub(super) struct OutputFile {
    file: File,
    /// `None`: standard output.
    path: Option<PathBuf>,
    /// Whether it is a regular file. Writing to one never waits for a reader.
    regular: bool,
    terminal: bool,
    /// Whether opening the file has deleted what it held.
    replaced: bool,
    /// Number of bytes written since the last end of a line.
    half_line: u64,
}

impl OutputFile {
    pub(super) fn stdout() -> Result<Self> {
        let shared = io::stdout().as_fd().try_clone_to_owned().map_err(Error::Output)?;
        let file = Self::new(shared.into(), None);
        if file.regular {
            return Ok(file);
        }
        // O_NONBLOCK would hold for every process that shares the open file, such as the shell:
        // open it anew. That fails for a socket; then poll(2) alone keeps write(2) from blocking.
        let own = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open("/proc/self/fd/1");
        Ok(own.map_or(file, |own| Self::new(own, None)))
    }

    /// Opens `path`, creating it if necessary. Truncates it if `truncate` is set; appends
    /// otherwise, on a new line. Waits until a FIFO has a reader, or `stop` is readable.
    ///
    /// # Errors
    /// [`Error::Other`]: the file cannot be opened. [`Error::Output`] of kind `BrokenPipe`: the
    /// FIFO has no reader, and `stop` is readable.
    pub(super) fn open(path: &Path, truncate: bool, stop: Option<BorrowedFd<'_>>) -> Result<Self> {
        let failed = |err| {
            let what = format!("open {}", path.display());
            Error::other(what, err, "is its directory there and writable?")
        };
        let held = path.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(!truncate).truncate(truncate);
        options.mode(MODE).custom_flags(O_NONBLOCK);
        let file = loop {
            match options.open(path) {
                Err(err) if is_fifo_without_reader(path, &err) => {
                    if is_readable_within(stop, RETRY) {
                        return Err(Error::Output(io::ErrorKind::BrokenPipe.into()));
                    }
                }
                opened => break opened.map_err(failed)?,
            }
        };
        let mut file =
            Self { replaced: truncate && held, ..Self::new(file, Some(path.to_owned())) };
        if !truncate && file.ends_in_half_line(path) {
            file.file.write_all(b"\n").map_err(failed)?;
        }
        Ok(file)
    }

    pub(super) fn new(file: File, path: Option<PathBuf>) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let terminal = file.is_terminal();
        Self { file, path, regular, terminal, replaced: false, half_line: 0 }
    }

    /// Tells whether the regular file at `path` ends within a line. An earlier stream may have been
    /// killed, or the machine may have lost power.
    fn ends_in_half_line(&self, path: &Path) -> bool {
        let last = || {
            let length = self.file.metadata()?.len();
            let mut byte = [b'\n'];
            // The file itself is open for writing only: a FIFO that is open for reading, too, never
            // tells that its reader is gone.
            if length > 0 {
                File::open(path)?.read_exact_at(&mut byte, length - 1)?;
            }
            io::Result::Ok(byte[0])
        };
        // A file that cannot be read is taken for whole.
        self.regular && last().is_ok_and(|byte| byte != b'\n')
    }

    /// Removes the half line at the end of a regular file, after a write to it has failed. Leaves
    /// the file alone if somebody else has written behind that half line.
    pub(super) fn remove_half_line(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if self.regular && self.half_line > 0 && self.file.stream_position()? == length {
            self.file.set_len(length.saturating_sub(self.half_line))?;
        }
        Ok(())
    }

    /// Returns the path if opening the file has deleted what it held.
    pub(super) fn replaced(&self) -> Option<&Path> {
        self.path.as_deref().filter(|_| self.replaced)
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Returns the path under which the file was opened, if another file or none is there now.
    pub(super) fn moved_from(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| !self.is_at(path))
    }

    fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), path.metadata()) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// Writes until everything is written, `wake` is readable while there is no room, or there has
    /// been no room for `patience` (`None`: waits without limit). Returns the number of bytes
    /// written, also with an error.
    pub(super) fn write(
        &mut self,
        text: &[u8],
        wake: Option<BorrowedFd<'_>>,
        patience: Option<Duration>,
    ) -> (usize, io::Result<()>) {
        let mut written = 0;
        let mut progress = Instant::now();
        while written < text.len() {
            let step = match self.wait_for_room(wake, patience) {
                Ok(true) => self.write_portion(&text[written..]),
                Ok(false) => break,
                Err(err) => Err(err),
            };
            match step {
                Ok(count) => (written, progress) = (written + count, Instant::now()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    let impatient = patience.is_some_and(|limit| progress.elapsed() >= limit);
                    if impatient || is_readable_within(wake, RETRY) {
                        break;
                    }
                }
                Err(err) => return (written, Err(err)),
            }
        }
        (written, Ok(()))
    }

    /// Writes as much as certainly does not block.
    fn write_portion(&mut self, text: &[u8]) -> io::Result<usize> {
        let length = if self.regular { text.len() } else { text.len().min(PORTION) };
        let count = self.file.write(&text[..length])?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.half_line = match text[..count].iter().rposition(|byte| *byte == b'\n') {
            Some(end) => (count - end - 1) as u64,
            None => self.half_line + count as u64,
        };
        Ok(count)
    }

    /// Waits until a portion can be written without blocking. Returns false if `wake` became
    /// readable or `patience` ran out first.
    fn wait_for_room(
        &self,
        wake: Option<BorrowedFd<'_>>,
        patience: Option<Duration>,
    ) -> io::Result<bool> {
        if self.regular {
            return Ok(true);
        }
        let mut fds = vec![PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        fds.extend(wake.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = patience.map(PollTimeout::try_from).transpose();
        let timeout = timeout.map_err(io::Error::other)?.unwrap_or(PollTimeout::NONE);
        poll(&mut fds, timeout)?;
        // POLLERR and POLLHUP count as room: write(2) then returns the error.
        Ok(fds[0].any().unwrap_or(true))
    }

    /// Tells whether the reader of a pipe, terminal or socket has closed its end.
    pub(super) fn reader_is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        poll(&mut fds, PollTimeout::ZERO).is_ok()
            && fds[0].revents().is_some_and(|events| events.intersects(gone))
    }

    /// Makes the error of a failed write: one that names the file, unless the reader is gone.
    pub(super) fn error(&self, err: io::Error) -> Error {
        let gone = err.kind() == io::ErrorKind::BrokenPipe;
        match &self.path {
            Some(path) if !gone => {
                let full = err.raw_os_error() == Some(Errno::ENOSPC as i32);
                let remedy = if full { "make room, then start again" } else { "" };
                Error::other(format!("write {}", path.display()), err, remedy)
            }
            _ => Error::Output(err),
        }
    }
}

/// Tells whether opening a FIFO for writing failed because it has no reader.
fn is_fifo_without_reader(path: &Path, err: &io::Error) -> bool {
    err.raw_os_error() == Some(Errno::ENXIO as i32)
        && path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Waits until `fd` is readable or the time is over. Tells whether it is readable.
fn is_readable_within(fd: Option<BorrowedFd<'_>>, time: Duration) -> bool {
    let mut fds: Vec<_> = fd.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    poll(&mut fds, timeout).is_ok() && fds.iter().any(|fd| fd.any().unwrap_or(true))
}

// SPDX-License-Identifier: GPL-2.0-only
//! The open file behind an output, and writing to it without blocking.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::domain::error::{Error, Result};

/// Number of bytes that a pipe takes without blocking once poll(2) says that it has room
/// (`PIPE_BUF`).
const PORTION: usize = 4096;

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
}

impl OutputFile {
    pub(super) fn stdout() -> Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(Error::Output)?;
        Ok(Self::new(file.into(), None))
    }

    /// Opens `path`, creating it if necessary. Truncates it if `truncate` is set; appends
    /// otherwise.
    pub(super) fn open(path: &Path, truncate: bool) -> Result<Self> {
        let held = path.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(!truncate).truncate(truncate);
        let opened = options.open(path).map_err(|err| {
            let what = format!("open {}", path.display());
            Error::other(what, err, "is its directory there and writable?")
        });
        Ok(Self { replaced: truncate && held, ..Self::new(opened?, Some(path.to_owned())) })
    }

    pub(super) fn new(file: File, path: Option<PathBuf>) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let terminal = file.is_terminal();
        Self { file, path, regular, terminal, replaced: false }
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
        while written < text.len() {
            let step = match self.wait_for_room(wake, patience) {
                Ok(true) => self.write_portion(&text[written..]),
                Ok(false) => break,
                Err(err) => Err(err),
            };
            match step {
                Ok(count) => written += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return (written, Err(err)),
            }
        }
        (written, Ok(()))
    }

    /// Writes as much as certainly does not block.
    fn write_portion(&mut self, text: &[u8]) -> io::Result<usize> {
        let length = if self.regular { text.len() } else { text.len().min(PORTION) };
        match self.file.write(&text[..length])? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
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

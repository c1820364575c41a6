// SPDX-License-Identifier: GPL-2.0-only
//! Reads the bytes of a file, a pipe or a terminal, and waits for them in poll(2), so that a stop
//! ends the wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::O_NONBLOCK;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// An open input. When a stop waits and the input is silent, it reads as ended.
#[derive(Debug)]
pub(super) struct WaitingFile {
    file: File,
    /// Whether it is a regular file, which never waits.
    regular: bool,
    /// Readable when the wait must end.
    stop: Option<OwnedFd>,
}

/// Tells whether the next bytes of a [`WaitingFile`] have arrived.
#[derive(Debug)]
pub(super) struct Arrival(OwnedFd);

impl WaitingFile {
    /// Opens a path. A FIFO need not have a writer yet: the first read waits for one.
    pub(super) fn open(path: &Path, stop: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        Self::new(OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?, stop)
    }

    /// Takes standard input. Whoever shares it keeps its flags: only poll(2) keeps reads from
    /// blocking.
    pub(super) fn stdin(stop: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        Self::new(io::stdin().as_fd().try_clone_to_owned()?.into(), stop)
    }

    fn new(file: File, stop: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let regular = file.metadata()?.is_file();
        let stop = stop.map(|fd| fd.try_clone_to_owned()).transpose()?;
        Ok(Self { file, regular, stop })
    }

    /// Returns a way to ask whether bytes have arrived; `None` if there is nothing to wait for.
    pub(super) fn arrival(&self) -> io::Result<Option<Arrival>> {
        match self.regular {
            true => Ok(None),
            false => Ok(Some(Arrival(self.file.as_fd().try_clone_to_owned()?))),
        }
    }

    /// Returns the size of a regular file in bytes; `None` for other inputs.
    pub(super) fn size(&self) -> Option<u64> {
        self.file.metadata().ok().filter(|_| self.regular).map(|metadata| metadata.len())
    }

    /// Waits for bytes or the end of the input. Returns false if a stop waits and there is neither.
    fn wait(&self) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.stop.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => self.wait(),
            Err(err) => Err(err.into()),
            // The writer's end (POLLHUP) and errors count: read(2) then returns them.
            Ok(_) => Ok(fds[0].any().unwrap_or(true)),
        }
    }
}

impl Read for WaitingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.regular && !self.wait()? {
                return Ok(0);
            }
            match self.file.read(buffer) {
                // Another reader of the same pipe was faster.
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl Arrival {
    /// Tells whether bytes, or the end of the input, arrive within this time.
    pub(super) fn within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        (reader.into(), writer.into())
    }

    #[test]
    fn a_stop_ends_a_silent_input_and_not_one_that_speaks() {
        let (input, mut writer) = pipe();
        let (stop, mut stopper) = pipe();
        let mut file = WaitingFile::new(input, Some(stop.as_fd())).unwrap();
        let arrival = file.arrival().unwrap().unwrap();
        assert!(!arrival.within(Duration::ZERO));
        stopper.write_all(b"!").unwrap();
        writer.write_all(b"abc").unwrap();
        assert!(arrival.within(Duration::ZERO));
        let mut buffer = [0; 8];
        assert_eq!(file.read(&mut buffer).unwrap(), 3);
        assert_eq!(file.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_fifo_without_a_writer_opens_and_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut file = WaitingFile::open(&path, None).unwrap();
        assert!(!file.arrival().unwrap().unwrap().within(Duration::ZERO));
        let writer = std::thread::spawn(move || std::fs::write(&path, "abc"));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        writer.join().unwrap().unwrap();
    }
}

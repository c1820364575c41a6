// SPDX-License-Identifier: GPL-2.0-only
//! Where the text goes: standard output, or a file that can be opened again.
//!
//! A reader that stalls must not keep us from ending, so nothing is written to a pipe, a terminal
//! or a socket that has no room. A disk that is full, as any other failure to write, ends the
//! stream: what is not written cannot be made good, and a supervisor can start us again.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::domain::error::{Error, Result};
use crate::domain::format::{Format, NamedFormat};
use crate::stream::record::{Content, StreamRecord};

/// The format of a stream.
pub type StreamFormat = &'static NamedFormat<StreamRecord>;

/// Text that is held back at most before it is written.
const BUFFER: usize = 1 << 16;
/// What a pipe that is ready takes without blocking (`PIPE_BUF`).
const PORTION: usize = 4096;
/// How long the last text waits for its reader.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// The output of a stream: text gathers here and goes to a file or to standard output.
pub struct Output {
    sink: Sink,
    format: StreamFormat,
    formatter: Box<dyn Format<StreamRecord>>,
    /// Events have a class and a side.
    on_shaper: bool,
    buffer: Vec<u8>,
    flushed: Instant,
}

/// What came of opening the file again.
#[derive(Debug)]
pub enum Reopened {
    /// A file of its own has begun.
    Fresh,
    /// There is nothing to open, or the file has not been moved: everything stays as it is.
    Same,
    /// The file cannot be opened: the old one stays.
    Failed(Error),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("sink", &self.sink).field("format", &self.format).finish()
    }
}

impl Output {
    /// To `path`, or to standard output. Lines are appended to a file; an array is not, so its file
    /// is begun anew.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: Option<&Path>, format: StreamFormat, on_shaper: bool) -> Result<Self> {
        let sink = match path {
            Some(path) => Sink::file(path, format)?,
            None => Sink::stdout()?,
        };
        let mut output = Self::new(sink, format, on_shaper);
        output.formatter.begin(&mut output.buffer);
        Ok(output)
    }

    fn new(sink: Sink, format: StreamFormat, on_shaper: bool) -> Self {
        Self {
            sink,
            format,
            formatter: (format.make)(),
            on_shaper,
            buffer: Vec::with_capacity(2 * BUFFER),
            flushed: Instant::now(),
        }
    }

    /// The file held something else, which is gone: an array cannot be appended to.
    pub fn replaced(&self) -> Option<&Path> {
        self.sink.path.as_deref().filter(|_| self.sink.replaced)
    }

    /// Somebody looks at it: a hang-up means that they went away.
    pub fn is_terminal(&self) -> bool {
        self.sink.terminal
    }

    /// Tells whether events come from a shaper, with a class and a side.
    pub fn on_shaper(&self) -> bool {
        self.on_shaper
    }

    /// Writes a record. Returns false if the format has no text for it.
    pub fn record(&mut self, wall_ns: u64, content: Content) -> bool {
        let before = self.buffer.len();
        self.formatter.record(&mut self.buffer, &StreamRecord { wall_ns, content });
        self.buffer.len() > before
    }

    /// Enough has gathered to be written.
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER
    }

    /// Time since something was written.
    pub fn age(&self) -> Duration {
        self.flushed.elapsed()
    }

    /// Writes what has gathered, and waits for the reader until `wake` becomes readable; the rest
    /// is kept then.
    ///
    /// # Errors
    /// [`Error::Output`], of kind `BrokenPipe` when the reader went away; [`Error::Other`] that
    /// names the file.
    pub fn flush(&mut self, wake: Option<BorrowedFd<'_>>) -> Result<()> {
        self.write_out(wake, None)
    }

    /// Tells that the reader went away also while there is nothing to write.
    ///
    /// # Errors
    /// [`Error::Output`], of kind `BrokenPipe`.
    pub fn check_reader(&self) -> Result<()> {
        match self.sink.reader_is_gone() {
            true => Err(Error::Output(io::ErrorKind::BrokenPipe.into())),
            false => Ok(()),
        }
    }

    /// Opens the file again, once it was moved.
    ///
    /// # Errors
    /// Those of [`Output::flush`], of the old file.
    pub fn reopen(&mut self, wake: Option<BorrowedFd<'_>>) -> Result<Reopened> {
        let Some(path) = self.sink.path.clone().filter(|path| !self.sink.is_at(path)) else {
            self.flush(wake)?;
            return Ok(Reopened::Same);
        };
        let fresh = match Sink::file(&path, self.format) {
            Ok(fresh) => fresh,
            Err(err) => return Ok(Reopened::Failed(err)),
        };
        self.formatter.end(&mut self.buffer);
        self.write_out(None, Some(LAST_PATIENCE))?;
        self.sink = fresh;
        self.formatter.begin(&mut self.buffer);
        Ok(Reopened::Fresh)
    }

    /// Writes the last of it.
    ///
    /// # Errors
    /// Those of [`Output::flush`]; a reader that takes nothing for a second.
    pub fn finish(&mut self) -> Result<()> {
        self.formatter.end(&mut self.buffer);
        self.write_out(None, Some(LAST_PATIENCE))?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        let err = io::Error::new(io::ErrorKind::TimedOut, "its reader does not read");
        Err(self.sink.error(err))
    }

    fn write_out(
        &mut self,
        wake: Option<BorrowedFd<'_>>,
        patience: Option<Duration>,
    ) -> Result<()> {
        self.flushed = Instant::now();
        let (written, result) = self.sink.write(&self.buffer, wake, patience);
        self.buffer.drain(..written);
        result.map_err(|err| self.sink.error(err))
    }
}

/// An open file.
#[derive(Debug)]
struct Sink {
    file: File,
    /// `None`: standard output.
    path: Option<PathBuf>,
    /// Writing never waits for a reader.
    regular: bool,
    terminal: bool,
    /// There was something in the file.
    replaced: bool,
}

impl Sink {
    fn stdout() -> Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned().map_err(Error::Output)?;
        Ok(Self::new(file.into(), None))
    }

    fn file(path: &Path, format: StreamFormat) -> Result<Self> {
        let fresh = format.is_array;
        let held = path.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(!fresh).truncate(fresh);
        let opened = options.open(path).map_err(|err| {
            let what = format!("open {}", path.display());
            Error::other(what, err, "is its directory there and writable?")
        });
        Ok(Self { replaced: fresh && held, ..Self::new(opened?, Some(path.to_owned())) })
    }

    fn new(file: File, path: Option<PathBuf>) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let terminal = file.is_terminal();
        Self { file, path, regular, terminal, replaced: false }
    }

    /// The file that is open is still to be found at `path`.
    fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), path.metadata()) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// Writes until everything is written, `wake` is readable, or there was no room for `patience`.
    /// Says how much was written also when it fails.
    fn write(
        &mut self,
        text: &[u8],
        wake: Option<BorrowedFd<'_>>,
        patience: Option<Duration>,
    ) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < text.len() {
            let step = match self.has_room(wake, patience) {
                Ok(true) => self.portion(&text[written..]),
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

    fn portion(&mut self, text: &[u8]) -> io::Result<usize> {
        let length = if self.regular { text.len() } else { text.len().min(PORTION) };
        match self.file.write(&text[..length])? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    /// A portion can be written without waiting.
    fn has_room(
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
        // An error or a hang-up shows when writing.
        Ok(fds[0].any().unwrap_or(true))
    }

    fn reader_is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        poll(&mut fds, PollTimeout::ZERO).is_ok()
            && fds[0].revents().is_some_and(|events| events.intersects(gone))
    }

    fn error(&self, err: io::Error) -> Error {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::format::stream;
    use crate::stream::event::tests::rtt_record;
    use crate::stream::event::Event;

    /// A folder of this test's own, removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pping-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn event() -> Content {
        Content::Event { event: Event::from_abi(&rtt_record()).unwrap(), on_shaper: false }
    }

    fn objects(path: &Path) -> usize {
        let text = fs::read_to_string(path).unwrap();
        serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len()
    }

    fn pipe() -> (File, File) {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        (reader.into(), writer.into())
    }

    fn output_to(file: File, format: StreamFormat) -> Output {
        Output::new(Sink::new(file, None), format, false)
    }

    #[test]
    fn an_array_in_each_file() {
        let folder = Folder::new("arrays");
        let (path, moved) = (folder.file("a.json"), folder.file("a.json.1"));
        fs::write(&path, "an earlier array").unwrap();
        let mut output = Output::open(Some(&path), &stream::JSON, false).unwrap();
        assert_eq!(output.replaced(), Some(path.as_path()));
        output.record(1, event());
        output.record(2, event());
        assert!(matches!(output.reopen(None).unwrap(), Reopened::Same));
        fs::rename(&path, &moved).unwrap();
        assert!(matches!(output.reopen(None).unwrap(), Reopened::Fresh));
        assert_eq!(output.replaced(), None);
        output.record(3, event());
        output.finish().unwrap();
        assert_eq!((objects(&moved), objects(&path)), (2, 1));
    }

    #[test]
    fn lines_are_appended() {
        let folder = Folder::new("lines");
        let path = folder.file("a.jsonl");
        for run in 1..=2 {
            let mut output = Output::open(Some(&path), &stream::JSONL, false).unwrap();
            output.record(run, event());
            output.finish().unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    #[test]
    fn a_file_that_cannot_be_opened() {
        let folder = Folder::new("absent");
        let path = folder.file("absent/a");
        let err = Output::open(Some(&path), &stream::JSON, false).unwrap_err();
        assert_eq!(err.exit_code(), 1);
        assert!(err.to_string().starts_with(&format!("open {}", path.display())), "{err}");

        let path = folder.file("a");
        let mut output = Output::open(Some(&path), &stream::STANDARD, false).unwrap();
        fs::rename(&path, folder.file("b")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(output.reopen(None).unwrap(), Reopened::Failed(_)));
        output.record(0, Content::Lost(7));
        output.check_reader().unwrap();
        output.finish().unwrap();
        assert!(fs::read_to_string(folder.file("b")).unwrap().contains("7 events lost"));
    }

    #[test]
    fn no_events_are_an_empty_array() {
        let folder = Folder::new("empty");
        let path = folder.file("a");
        Output::open(Some(&path), &stream::JSON, false).unwrap().finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]\n");
    }

    #[test]
    fn a_reader_that_went_away() {
        let (reader, writer) = pipe();
        drop(reader);
        let mut output = output_to(writer, &stream::JSONL);
        assert!(output.check_reader().is_err());
        output.record(1, event());
        let err = output.flush(None).unwrap_err();
        let Error::Output(err) = err else { panic!("{err}") };
        assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_disk() {
        let mut output = Output::open(Some(Path::new("/dev/full")), &stream::JSONL, false).unwrap();
        output.record(1, event());
        let err = output.finish().unwrap_err();
        assert!(err.to_string().starts_with("write /dev/full: No space"), "{err}");
        assert_eq!(err.exit_code(), 1);
    }

    #[test]
    fn a_reader_that_stalls_holds_nobody() {
        let (mut reader, writer) = pipe();
        let mut output = output_to(writer, &stream::JSONL);
        for _ in 0..1000 {
            output.record(1, event());
        }
        let (wake_reader, wake_writer) = pipe();
        (&wake_writer).write_all(b"!").unwrap();
        let wake: OwnedFd = wake_reader.into();
        output.flush(Some(wake.as_fd())).unwrap();
        assert!(!output.buffer.is_empty() && output.check_reader().is_ok());
        let err = output.finish().unwrap_err();
        assert!(err.to_string().contains("its reader does not read"), "{err}");
        // Not a byte is missing when it goes on.
        let rest = output.buffer.len();
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        output.flush(None).unwrap();
        drop(output);
        let text = read.join().unwrap().unwrap();
        assert!(rest > 0 && text.lines().count() == 1000);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}

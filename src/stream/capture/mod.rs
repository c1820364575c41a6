// SPDX-License-Identifier: GPL-2.0-only
//! Reads the packets of a capture, pcap or pcapng, plain or gzipped, of any link layer with IP, as
//! Ethernet frames.
//!
//! A packet that cannot be read is left out and counted by its reason ([`LeftOut`]). A capture that
//! is truncated or malformed yields the packets before the fault, then an error that names the
//! packet. The two formats are read by hand, not by the `pcap` crate, which needs libpcap
//! as a shared library, nor by a parser crate: each is a page of code, checks every length where it
//! uses it, and names the packet in each error.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use crate::domain::error::{Cause, Error, Result};
use crate::stream::capture::input::{peek, Fault, Input};
use crate::stream::capture::pcap::Pcap;
use crate::stream::capture::pcapng::PcapNg;
use crate::stream::capture::waiting::{Arrival, WaitingFile};

pub use crate::stream::capture::frame::CapturedFrame;
pub use crate::stream::capture::left_out::{LeftOut, LeftOutCounts};

mod frame;
mod input;
mod left_out;
mod link_layer;
mod pcap;
mod pcapng;
mod waiting;
mod wifi;

/// The first bytes of a gzipped file (RFC 1952).
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// An open capture.
pub struct Capture {
    name: String,
    input: Input,
    container: Container,
    /// Bytes of the current packet, with the header of its link layer.
    packet: Vec<u8>,
    /// Number of packets read, also of those that were left out.
    packets: u64,
    left_out: LeftOutCounts,
    /// Number of bytes taken from the file, gzipped or not.
    position: Arc<AtomicU64>,
    /// Size of the file in bytes; `None` for a pipe.
    size: Option<u64>,
    /// Tells whether the next bytes are there; `None` if reading never waits.
    arrival: Option<Arrival>,
}

/// The next packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is in the caller's frame.
    Frame,
    /// It cannot be read, and is counted.
    LeftOut,
    /// The file has ended.
    End,
}

/// Counts the bytes that are read.
struct Counted<R> {
    inner: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The file format of a capture.
enum Container {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

impl Capture {
    /// Opens a file; `-` is standard input. A pipe that is silent reads as ended while `stop` is
    /// readable.
    ///
    /// # Errors
    /// [`Error::Other`]: the file cannot be read, is not a capture, or has a link layer without IP.
    pub fn open(path: &Path, stop: Option<BorrowedFd<'_>>) -> Result<Self> {
        let (name, opened) = match path.as_os_str() == "-" {
            true => ("standard input".to_owned(), WaitingFile::stdin(stop)),
            false => (path.display().to_string(), WaitingFile::open(path, stop)),
        };
        let opened = opened.and_then(|file| Ok((file.arrival()?, file.size(), file)));
        let (arrival, size, file) =
            opened.map_err(|err| Error::other(format!("open {name}"), err, ""))?;
        let capture = Self::begin(&name, Box::new(file), arrival)?;
        Ok(Self { size, ..capture })
    }

    /// Reads a capture from `input`. `name` names it in messages.
    ///
    /// # Errors
    /// See [`Capture::open`].
    pub fn read(name: &str, input: Box<dyn Read + Send>) -> Result<Self> {
        Self::begin(name, input, None)
    }

    fn begin(
        name: &str,
        input: Box<dyn Read + Send>,
        mut arrival: Option<Arrival>,
    ) -> Result<Self> {
        let what = format!("read {name}");
        let position = Arc::new(AtomicU64::new(0));
        let input = Box::new(Counted { inner: input, position: Arc::clone(&position) });
        let (mut magic, mut input) = peek(input).map_err(|err| Error::other(&what, err, ""))?;
        if magic.starts_with(&GZIP) {
            let plain = Box::new(MultiGzDecoder::new(input));
            (magic, input) = peek(plain).map_err(|err| Error::other(&what, err, ""))?;
            // The decoder may hold packets while the pipe is silent.
            arrival = None;
        }
        let container = Container::begin(magic, &mut input).map_err(|fault| match fault {
            Fault::CutShort => Error::other(&what, "it ends within its header", ""),
            Fault::Bad(why) => Error::other(&what, why, LINK_REMEDY),
            Fault::Io(err) => Error::other(&what, err, ""),
        })?;
        let Some(container) = container else {
            let remedy = "give what tcpdump -w writes";
            return Err(Error::other(what, "neither pcap nor pcapng", remedy));
        };
        Ok(Self {
            name: name.to_owned(),
            input,
            container,
            packet: Vec::new(),
            packets: 0,
            left_out: LeftOutCounts::default(),
            position,
            size: None,
            arrival,
        })
    }

    /// Waits for the beginning of the next packet, or the end of the file. Returns false if neither
    /// is there within `patience`: the input is a pipe whose writer is silent.
    pub fn is_ready(&self, patience: Duration) -> bool {
        let read_ahead = !self.input.buffer().is_empty();
        read_ahead || self.arrival.as_ref().is_none_or(|arrival| arrival.within(patience))
    }

    /// Reads the next packet into `frame`.
    ///
    /// # Errors
    /// [`Error::Other`]: the file cannot be read, or ends within the packet, or the place where the
    /// next packet begins cannot be found.
    pub fn next(&mut self, frame: &mut CapturedFrame) -> Result<Next> {
        let found = match &mut self.container {
            Container::Pcap(pcap) => {
                pcap.next(&mut self.input, &mut self.packet).map(|found| found.map(Ok))
            }
            Container::PcapNg(pcapng) => pcapng.next(&mut self.input, &mut self.packet),
        };
        let Some(found) = found.map_err(|fault| self.error(fault))? else { return Ok(Next::End) };
        self.packets += 1;
        match found {
            Ok(packet) => {
                frame.time_ns = packet.time_ns;
                match packet.link.to_ethernet(&self.packet, &packet, frame) {
                    true => Ok(Next::Frame),
                    false => Ok(self.leave_out(LeftOut::CutShort)),
                }
            }
            Err(reason) => Ok(self.leave_out(reason)),
        }
    }

    fn leave_out(&mut self, reason: LeftOut) -> Next {
        self.left_out.add(reason);
        Next::LeftOut
    }

    /// Returns the number of packets read, also of those that were left out.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Returns the numbers of packets that were left out.
    pub fn left_out(&self) -> &LeftOutCounts {
        &self.left_out
    }

    /// Returns the number of bytes that have been taken from the file.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Returns the size of the file in bytes; `None` for a pipe.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    fn error(&self, fault: Fault) -> Error {
        let what = format!("read {}, packet {}", self.name, self.packets + 1);
        let (why, remedy): (Cause, _) = match fault {
            Fault::CutShort => ("the file ends within it".into(), "what comes before it is read"),
            Fault::Bad(why) => (why.into(), ""),
            Fault::Io(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                (err.into(), "what comes before it is read")
            }
            Fault::Io(err) => (err.into(), ""),
        };
        Error::other(what, why, remedy)
    }
}

/// The remedy for a link layer without IP, the only fault of a file header that can be read.
const LINK_REMEDY: &str = "capture on an interface that carries Ethernet or IP";

impl Container {
    /// Reads the file header. Returns `None` if the first bytes are those of neither format.
    fn begin(magic: [u8; 4], input: &mut Input) -> std::result::Result<Option<Self>, Fault> {
        if pcapng::is_magic(magic) {
            return Ok(Some(Self::PcapNg(PcapNg::default())));
        }
        Ok(Pcap::begin(magic, input)?.map(Self::Pcap))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::write::GzEncoder;
    use flate2::Compression;

    use super::*;

    /// Builds bytes from numbers in one byte order.
    pub(super) struct Bytes {
        pub(super) big: bool,
        pub(super) bytes: Vec<u8>,
    }

    impl Bytes {
        pub(super) fn new(big: bool) -> Self {
            Self { big, bytes: Vec::new() }
        }

        pub(super) fn u32(mut self, value: u32) -> Self {
            let bytes = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
            self.bytes.extend(bytes);
            self
        }

        pub(super) fn u16(mut self, value: u16) -> Self {
            let bytes = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
            self.bytes.extend(bytes);
            self
        }

        pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
            self.bytes.extend(bytes);
            self
        }
    }

    /// Reads a whole capture; returns the packets that were left out, too.
    fn read_counted(bytes: &[u8]) -> (Vec<CapturedFrame>, LeftOutCounts, Result<()>) {
        let mut frames = Vec::new();
        let mut capture = match Capture::read("it", Box::new(Cursor::new(bytes.to_vec()))) {
            Ok(capture) => capture,
            Err(err) => return (frames, LeftOutCounts::default(), Err(err)),
        };
        let mut frame = CapturedFrame::default();
        let result = loop {
            match capture.next(&mut frame) {
                Ok(Next::Frame) => frames.push(frame.clone()),
                Ok(Next::LeftOut) => {}
                Ok(Next::End) => break Ok(()),
                Err(err) => break Err(err),
            }
        };
        let left_out: u64 = capture.left_out().iter().map(|(_, count)| count).sum();
        assert_eq!(capture.packets(), frames.len() as u64 + left_out);
        (frames, capture.left_out().clone(), result)
    }

    pub(super) fn frames(bytes: &[u8]) -> (Vec<CapturedFrame>, Result<()>) {
        let (frames, _, result) = read_counted(bytes);
        (frames, result)
    }

    /// Reads a capture without a fault.
    pub(super) fn read_all(bytes: &[u8]) -> (Vec<CapturedFrame>, LeftOutCounts) {
        let (frames, left_out, result) = read_counted(bytes);
        result.unwrap();
        (frames, left_out)
    }

    pub(super) fn message(bytes: &[u8]) -> String {
        frames(bytes).1.unwrap_err().to_string()
    }

    fn pcap() -> Vec<u8> {
        super::pcap::tests::file(false, 0xA1B2_C3D4, 1)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzipped_or_not() {
        let plain = frames(&pcap());
        plain.1.unwrap();
        let (zipped, result) = frames(&gzip(&pcap()));
        result.unwrap();
        assert!(!plain.0.is_empty() && zipped == plain.0);
        // Concatenated gzip files have several members.
        let half = pcap().len() / 2;
        let members = [gzip(&pcap()[..half]), gzip(&pcap()[half..])].concat();
        assert_eq!(frames(&members).0, plain.0);
    }

    #[test]
    fn a_file_that_is_no_capture_is_refused() {
        for bytes in [&b""[..], b"x", b"#!/bin/sh\n", &gzip(b""), &gzip(b"text")] {
            assert!(message(bytes).starts_with("read it: neither pcap nor pcapng"), "{bytes:?}");
        }
        let err = Capture::open(Path::new("/nonexistent/file"), None).err().unwrap();
        assert!(err.to_string().starts_with("open /nonexistent/file: No such file"), "{err}");
        let err = Capture::open(Path::new("/"), None).err().unwrap();
        assert!(err.to_string().starts_with("read /: Is a directory"), "{err}");
    }

    #[test]
    fn every_truncation_gives_the_packets_before_it() {
        let pcapng = super::pcapng::tests::file(false);
        for bytes in [pcap(), pcapng] {
            let all = frames(&bytes).0;
            for length in 0..bytes.len() {
                let (some, result) = frames(&bytes[..length]);
                assert_eq!(some, all[..some.len()]);
                // A truncated file can be a whole capture of fewer packets.
                assert!(result.is_err() || some.len() < all.len(), "{length}");
                if let Err(err) = result {
                    assert!(err.to_string().contains("end") || length < 24, "{err}");
                }
            }
        }
        let cut = gzip(&pcap());
        let text = message(&cut[..cut.len() - 9]);
        assert!(text.starts_with("read it, packet "), "{text}");
    }

    #[test]
    fn no_changed_byte_makes_the_reader_panic() {
        let pcapng = super::pcapng::tests::file(true);
        for bytes in [pcap(), pcapng] {
            for at in 0..bytes.len() {
                for value in [0, 1, 0x7F, 0x80, 0xFF] {
                    let mut changed = bytes.clone();
                    changed[at] = value;
                    let (found, _) = frames(&changed);
                    assert!(found.iter().all(|frame| frame.data.len() >= 14));
                }
            }
        }
    }
}

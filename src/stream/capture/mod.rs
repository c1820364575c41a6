// SPDX-License-Identifier: GPL-2.0-only
//! Reads the packets of a capture, pcap or pcapng, plain or gzipped, of any link layer with IP, as
//! Ethernet frames.
//!
//! A capture that is truncated or malformed yields the packets before the fault, then an error that
//! names the packet. The two formats are read by hand, not by the `pcap` crate, which needs libpcap
//! as a shared library, nor by a parser crate: each is a page of code, checks every length where it
//! uses it, and names the packet in each error.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use flate2::read::MultiGzDecoder;

use crate::domain::error::{Cause, Error, Result};
use crate::stream::capture::input::{peek, Fault, Input};
use crate::stream::capture::pcap::Pcap;
use crate::stream::capture::pcapng::PcapNg;
use crate::stream::capture::waiting::{Arrival, WaitingFile};

pub use crate::stream::capture::frame::CapturedFrame;

pub mod egress;
mod frame;
mod input;
mod link_layer;
mod pcap;
mod pcapng;
mod waiting;

/// The first bytes of a gzipped file (RFC 1952).
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// An open capture.
pub struct Capture {
    name: String,
    input: Input,
    container: Container,
    /// Bytes of the current packet, with the header of its link layer.
    packet: Vec<u8>,
    /// Number of packets read.
    packets: u64,
    /// Tells whether the next bytes are there; `None` if reading never waits.
    arrival: Option<Arrival>,
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
        let opened = opened.and_then(|file| Ok((file.arrival()?, file)));
        let (arrival, file) =
            opened.map_err(|err| Error::other(format!("open {name}"), err, ""))?;
        Self::begin(&name, Box::new(file), arrival)
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
        let name = name.to_owned();
        Ok(Self { name, input, container, packet: Vec::new(), packets: 0, arrival })
    }

    /// Waits for the beginning of the next packet, or the end of the file. Returns false if neither
    /// is there within `patience`: the input is a pipe whose writer is silent.
    pub fn is_ready(&self, patience: Duration) -> bool {
        let read_ahead = !self.input.buffer().is_empty();
        read_ahead || self.arrival.as_ref().is_none_or(|arrival| arrival.within(patience))
    }

    /// Reads the next packet into `frame`. Returns false at the end of the file.
    ///
    /// # Errors
    /// [`Error::Other`]: the file cannot be read, or the packet is truncated or malformed.
    pub fn next(&mut self, frame: &mut CapturedFrame) -> Result<bool> {
        let found = match &mut self.container {
            Container::Pcap(pcap) => pcap.next(&mut self.input, &mut self.packet),
            Container::PcapNg(pcapng) => pcapng.next(&mut self.input, &mut self.packet),
        };
        let Some(packet) = found.map_err(|fault| self.error(fault))? else { return Ok(false) };
        self.packets += 1;
        frame.time_ns = packet.time_ns;
        packet.link.to_ethernet(&self.packet, &packet, frame);
        Ok(true)
    }

    /// Returns the number of packets read.
    pub fn packets(&self) -> u64 {
        self.packets
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

    pub(super) fn frames(bytes: &[u8]) -> (Vec<CapturedFrame>, Result<()>) {
        let mut frames = Vec::new();
        let mut capture = match Capture::read("it", Box::new(Cursor::new(bytes.to_vec()))) {
            Ok(capture) => capture,
            Err(err) => return (frames, Err(err)),
        };
        let mut frame = CapturedFrame::default();
        loop {
            match capture.next(&mut frame) {
                Ok(true) => frames.push(frame.clone()),
                Ok(false) => return (frames, Ok(())),
                Err(err) => return (frames, Err(err)),
            }
        }
    }

    pub(super) fn message(bytes: &[u8]) -> String {
        frames(bytes).1.unwrap_err().to_string()
    }

    fn pcap() -> Vec<u8> {
        super::pcap::tests::file(false, false, 1)
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

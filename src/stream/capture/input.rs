// SPDX-License-Identifier: GPL-2.0-only
//! Reads the bytes of a capture file and checks every length.

use std::io::{self, BufReader, Cursor, Read};

/// Size of the read buffer in bytes.
const BUFFER: usize = 1 << 16;
/// Largest length in bytes of a packet or block. A greater one is taken for malformed, so that a
/// broken file cannot ask for all memory. libpcap's own limit is 256 KiB.
const MAX_LENGTH: usize = 16 << 20;

/// The reason why no more packets can be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file ends within a packet.
    CutShort,
    /// The packet, or the block that should hold it, cannot be used; the text says why.
    Bad(String),
    /// The file cannot be read.
    Io(io::Error),
}

/// The rest of a capture file.
pub(super) type Input = BufReader<Box<dyn Read + Send>>;

/// Returns the first four bytes, and a reader of the whole input. If the input is shorter, the
/// missing bytes are 0.
pub(super) fn peek(mut input: Box<dyn Read + Send>) -> io::Result<([u8; 4], Input)> {
    let mut magic = [0; 4];
    let length = fill(&mut input, &mut magic)?;
    let whole = Cursor::new(magic).take(length as u64).chain(input);
    Ok((magic, BufReader::with_capacity(BUFFER, Box::new(whole))))
}

/// Reads until the buffer is full or the file ends. Returns the number of bytes read.
pub(super) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(length)
}

/// Reads a header of `N` bytes. Returns `None` if the file ends before its first byte, which is a
/// proper end of a capture.
pub(super) fn header<const N: usize>(input: &mut Input) -> Result<Option<[u8; N]>, Fault> {
    let mut bytes = [0; N];
    match fill(input, &mut bytes).map_err(Fault::Io)? {
        0 => Ok(None),
        length if length == N => Ok(Some(bytes)),
        _ => Err(Fault::CutShort),
    }
}

/// Reads `length` bytes into `data`, replacing its content.
pub(super) fn body(input: &mut Input, data: &mut Vec<u8>, length: usize) -> Result<(), Fault> {
    if length > MAX_LENGTH {
        return Err(Fault::Bad(format!("malformed: it claims to have {length} bytes")));
    }
    data.clear();
    let read = input.take(length as u64).read_to_end(data).map_err(Fault::Io)?;
    if read == length {
        Ok(())
    } else {
        Err(Fault::CutShort)
    }
}

/// Decodes a number in the byte order of the capture. Returns 0 beyond the end of `bytes`.
pub(super) fn u32_at(bytes: &[u8], offset: usize, big_endian: bool) -> u32 {
    match bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) if big_endian => u32::from_be_bytes(*chunk),
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => 0,
    }
}

/// Does the same as [`u32_at`] for 16 bits.
pub(super) fn u16_at(bytes: &[u8], offset: usize, big_endian: bool) -> u16 {
    match bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) if big_endian => u16::from_be_bytes(*chunk),
        Some(chunk) => u16::from_le_bytes(*chunk),
        None => 0,
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! Bytes of a capture file, every length checked.

use std::io::{self, BufReader, Cursor, Read};

const BUFFER: usize = 1 << 16;
/// The longest packet or block that is taken for one; the format's own programs stop at 256 KiB.
const MAX_LENGTH: usize = 16 << 20;

/// Why there are no more packets.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file ends within a packet.
    CutShort,
    /// What is wrong with the packet, or with the block that should hold it.
    Bad(String),
    Io(io::Error),
}

pub(super) type Input = BufReader<Box<dyn Read + Send>>;

/// The first four bytes, or zeroes where there are less, and the whole.
pub(super) fn peek(mut input: Box<dyn Read + Send>) -> io::Result<([u8; 4], Input)> {
    let mut magic = [0; 4];
    let length = fill(&mut input, &mut magic)?;
    let whole = Cursor::new(magic).take(length as u64).chain(input);
    Ok((magic, BufReader::with_capacity(BUFFER, Box::new(whole))))
}

/// Reads until the buffer is full or the file ends; says how much it got.
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

/// A header, or `None` where the file ends as it should.
pub(super) fn header<const N: usize>(
    input: &mut Input,
) -> std::result::Result<Option<[u8; N]>, Fault> {
    let mut bytes = [0; N];
    match fill(input, &mut bytes).map_err(Fault::Io)? {
        0 => Ok(None),
        length if length == N => Ok(Some(bytes)),
        _ => Err(Fault::CutShort),
    }
}

/// Bytes that must be there.
pub(super) fn body(
    input: &mut Input,
    data: &mut Vec<u8>,
    length: usize,
) -> std::result::Result<(), Fault> {
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

/// A number in the byte order of the capture; 0 beyond the end.
pub(super) fn u32_at(bytes: &[u8], offset: usize, big_endian: bool) -> u32 {
    match bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) if big_endian => u32::from_be_bytes(*chunk),
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => 0,
    }
}

/// As [`u32_at`].
pub(super) fn u16_at(bytes: &[u8], offset: usize, big_endian: bool) -> u16 {
    match bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
        Some(chunk) if big_endian => u16::from_be_bytes(*chunk),
        Some(chunk) => u16::from_le_bytes(*chunk),
        None => 0,
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! TCP headers.

use crate::packet::numbers::ACK;

/// A TCP header.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub(super) source: u16,
    pub(super) destination: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    options: Vec<TcpOption>,
    data_offset: Option<u8>,
}

/// A TCP option. [`Tcp`] pads the options to whole words with end-of-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// End of the list.
    End,
    /// No operation: padding between options.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale.
    WindowScale(u8),
    /// SACK permitted.
    SackPermitted,
    /// A SACK option with this many blocks.
    Sack(usize),
    /// Timestamps: TSval and TSecr.
    Timestamps(u32, u32),
    /// An option of this kind, with this many bytes of body.
    Unknown(u8, usize),
    /// These bytes, valid or not.
    Raw(Vec<u8>),
}

impl Tcp {
    /// Makes a segment with the flag ACK and no options.
    pub fn new(source: u16, destination: u16) -> Self {
        Self {
            source,
            destination,
            sequence: 1,
            acknowledged: 1,
            flags: ACK,
            options: Vec::new(),
            data_offset: None,
        }
    }

    /// Sets the flags; those not in `flags` are off.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Sets the sequence and acknowledgement numbers.
    pub fn numbers(mut self, sequence: u32, acknowledged: u32) -> Self {
        self.sequence = sequence;
        self.acknowledged = acknowledged;
        self
    }

    /// Sets the options, in this order.
    pub fn options(mut self, options: impl IntoIterator<Item = TcpOption>) -> Self {
        self.options = options.into_iter().collect();
        self
    }

    /// Sets the options NOP, NOP and timestamps, as kernels send them outside the handshake.
    pub fn timestamps(self, value: u32, echo: u32) -> Self {
        self.options([TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(value, echo)])
    }

    /// Sets the data offset field, in words, to a value that need not match the options.
    pub fn data_offset(mut self, words: u8) -> Self {
        self.data_offset = Some(words);
        self
    }

    /// Builds the header; its checksum is 0.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut options: Vec<u8> = self.options.iter().flat_map(TcpOption::bytes).collect();
        options.resize(options.len().next_multiple_of(4), 0);
        assert!(options.len() <= 40, "{} bytes of TCP options", options.len());
        let words = self.data_offset.unwrap_or(5 + (options.len() / 4) as u8);
        let mut out = Vec::new();
        out.extend(self.source.to_be_bytes());
        out.extend(self.destination.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.acknowledged.to_be_bytes());
        out.extend([words << 4, self.flags, 0x20, 0, 0, 0, 0, 0]);
        out.extend(options);
        out
    }
}

impl TcpOption {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::End => vec![0],
            Self::Nop => vec![1],
            Self::Mss(size) => [&[2, 4][..], &size.to_be_bytes()].concat(),
            Self::WindowScale(shift) => vec![3, 3, *shift],
            Self::SackPermitted => vec![4, 2],
            Self::Sack(blocks) => [vec![5, 2 + 8 * *blocks as u8], vec![9; 8 * blocks]].concat(),
            Self::Timestamps(value, echo) => {
                [&[8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
            }
            Self::Unknown(kind, body) => [vec![*kind, 2 + *body as u8], vec![8; *body]].concat(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

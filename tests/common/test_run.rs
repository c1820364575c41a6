// SPDX-License-Identifier: GPL-2.0-only

//! BPF_PROG_TEST_RUN: one packet through a loaded program, and the bytes that it takes and returns.

use super::names::{__sk_buff, xdp_md};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, OwnedFd};

pub const XDP_PASS: u32 = 2;
pub const XDP_REDIRECT: u32 = 4;
pub const TC_ACT_OK: u32 = 0;

/// The value by which TC recognises the metadata of XDP.
pub const COOKIE: u32 = 0xc00c_1e55;

/// The metadata that XDP writes for TC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub tc_handle: u32,
    pub cpu: u16,
    pub direction: u8,
    /// `enum mapping_state`.
    pub state: u8,
    /// In host byte order.
    pub port: u16,
}

/// The size of the metadata.
pub const METADATA: usize = 20;

/// The result of BPF_PROG_TEST_RUN.
pub struct TestRun {
    pub verdict: u32,
    pub ctx: Vec<u8>,
    pub data: Vec<u8>,
}

impl TestRun {
    /// Returns the packet's priority after a TC run.
    pub fn priority(&self) -> u32 {
        word(&self.ctx, offset_of!(__sk_buff, priority))
    }

    /// Splits the data of an XDP run into the metadata and the frame behind it.
    pub fn split_metadata(&self) -> (&[u8], &[u8]) {
        self.data.split_at(word(&self.ctx, offset_of!(xdp_md, data)) as usize)
    }
}

/// Returns whether the kernel refuses to run TC on this packet: it wants a whole IP header behind an Ethernet header that
/// says IP, and a byte behind any other. (It does not look behind tags and PPPoE, so truncated headers are tested there.)
pub fn refused(packet: &[u8]) -> bool {
    let header = match packet[12..14] {
        [0x08, 0x00] => 20,
        [0x86, 0xdd] => 40,
        _ => 1,
    };
    packet.len() < 14 + header
}

/// Runs a program on a packet. Takes a descriptor, since libbpf-rs's `Program` is not Sync.
pub fn test_run(program: &OwnedFd, ctx: &[u8], data: &[u8], repeat: u32) -> io::Result<TestRun> {
    let mut ctx_out = vec![0; ctx.len()];
    let mut data_out = vec![0; data.len() + 256];
    let mut opts = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
        ctx_in: ctx.as_ptr().cast(),
        ctx_size_in: ctx.len() as u32,
        ctx_out: ctx_out.as_mut_ptr().cast(),
        ctx_size_out: ctx_out.len() as u32,
        data_in: data.as_ptr().cast(),
        data_size_in: data.len() as u32,
        data_out: data_out.as_mut_ptr().cast(),
        data_size_out: data_out.len() as u32,
        repeat: repeat as i32,
        ..Default::default()
    };
    // SAFETY: every pointer in opts is to a live buffer of the size beside it.
    let result = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    data_out.truncate(opts.data_size_out as usize);
    Ok(TestRun { verdict: opts.retval, ctx: ctx_out, data: data_out })
}

/// Reads the metadata in front of a frame that XDP redirected.
pub fn parse_metadata(bytes: &[u8]) -> Option<Metadata> {
    if bytes.is_empty() {
        return None;
    }
    assert_eq!(bytes.len(), METADATA, "struct xdp_metadata");
    assert_eq!(word(bytes, 0), COOKIE);
    assert_eq!(bytes[18..], [0, 0], "padding");
    Some(Metadata {
        tc_handle: word(bytes, 4),
        cpu: u16::from_ne_bytes([bytes[8], bytes[9]]),
        direction: bytes[10],
        state: bytes[11],
        port: u16::from_be_bytes([bytes[16], bytes[17]]),
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Returns the bytes of a struct of the ABI, which has only integers, and names its padding.
pub fn as_bytes<T: Copy>(value: &T) -> Vec<u8> {
    // SAFETY: the skeleton's structs have no unnamed padding (include/abi.h asserts their sizes).
    unsafe { std::slice::from_raw_parts((value as *const T).cast::<u8>(), size_of::<T>()) }.to_vec()
}

/// Reads a struct of the ABI: the inverse of [`as_bytes`].
pub fn from_bytes<T: Copy>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: as many bytes as T has, and any bytes are integers.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

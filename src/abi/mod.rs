// SPDX-License-Identifier: GPL-2.0-only
//! The contract between kernel and user space: the types, constants, enums and counters of `include/`,
//! and the names of maps and programs. build.rs generates everything except the names; the types come
//! from the skeletons.

use plain::Plain;

const _: () = assert!(cfg!(target_endian = "little"), "only little endian is supported");

pub mod maps;
pub mod programs;
pub mod skel;

pub use crate::abi::skel::cpumap_pping::types::{
    addr_cache as AddrCache, config as Config, control as Control, flow_bucket as FlowBucket,
    ip_mapping as IpMapping, ip_prefix as IpPrefix, rtt_epoch as RttEpoch, rtt_handle as RttHandle,
    rtt_recent as RttRecent, rtt_totals as RttTotals, txq_config as TxqConfig,
};

pub use crate::abi::skel::pping::types::{
    config as PpingConfig, stream_config as StreamConfig, stream_count as StreamCount,
    stream_direction as StreamDirection, stream_event as StreamEvent, stream_flow as StreamFlow,
    stream_stats as StreamStats, stream_subnet as StreamSubnet,
    stream_subnet_key as StreamSubnetKey,
};

include!(concat!(env!("OUT_DIR"), "/constants.rs"));
include!(concat!(env!("OUT_DIR"), "/counters.rs"));
include!(concat!(env!("OUT_DIR"), "/stream_counters.rs"));

include!(concat!(env!("OUT_DIR"), "/stream_enums.rs"));

macro_rules! plain {
    ($($name:ty),+) => {
        // SAFETY: repr(C) structs of integers and arrays of integers, without implicit padding (the C
        // side asserts sizes and offsets), so any bytes are a valid value.
        $(unsafe impl Plain for $name {})+
    };
}

plain!(
    AddrCache,
    Config,
    Control,
    FlowBucket,
    IpMapping,
    IpPrefix,
    PpingConfig,
    RttEpoch,
    RttHandle,
    RttRecent,
    RttTotals,
    StreamConfig,
    StreamCount,
    StreamDirection,
    StreamEvent,
    StreamFlow,
    StreamStats,
    StreamSubnet,
    StreamSubnetKey,
    TxqConfig
);

/// Size of one CPU's block in `cpp_stats` in bytes: [`MAX_COUNTERS`] counters of 64 bits.
pub const STATS_SIZE: usize = MAX_COUNTERS as usize * 8;

/// Returns the bytes of a value, for a system call. Integers are in native byte order.
pub fn as_bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: Plain types have no padding and no invalid bytes, and the slice borrows the value.
    unsafe { plain::as_bytes(value) }
}

/// Makes a value from bytes that the kernel returned. Returns the default value, all zeroes, if there
/// are fewer bytes than the value has; ignores further bytes.
pub fn from_bytes<T: Plain + Default>(bytes: &[u8]) -> T {
    let mut value = T::default();
    // Any bytes are a Plain value. The only error is a short buffer, which leaves `value` as it is.
    let _ = plain::copy_from_bytes(&mut value, bytes);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_limits_come_from_the_headers() {
        assert_eq!(COUNTERS[0].0, "xdp_redirected");
        assert!(COUNTERS.len() * 8 <= STATS_SIZE);
        assert_eq!(FLOW_WAYS, 8);
        assert_eq!(RTT_WINDOW_NS, 60_000_000_000);
    }

    #[test]
    fn a_short_buffer_gives_the_default() {
        assert_eq!(from_bytes::<TxqConfig>(&[1, 0]).queue_mapping, 0);
        assert_eq!(from_bytes::<TxqConfig>(&[1, 0, 2, 0]).htb_major, 2);
    }
}

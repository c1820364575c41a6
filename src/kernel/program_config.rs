// SPDX-License-Identifier: GPL-2.0-only
//! The configuration of a loaded program of ours, of any ABI version, from its `.rodata`
//! (include/config.h).

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::abi::{maps, Config};

/// What every ABI version's configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramConfig {
    /// The ABI version that the program was made for.
    pub abi_version: u32,
    /// The program measures RTTs.
    pub rtt: bool,
    /// SYN and SYN-ACK open samples, too.
    pub handshake: bool,
}

impl ProgramConfig {
    /// Reads the configuration of the program that uses the maps with these ids. Returns `None` if it
    /// is not a program of ours, or without CAP_SYS_ADMIN.
    pub fn of(ids: &[u32]) -> Option<Self> {
        let open = |id: &u32| MapHandle::from_map_id(*id).ok();
        let used: Vec<MapHandle> = ids.iter().filter_map(open).collect();
        let find =
            |is: &dyn Fn(&str) -> bool| used.iter().find(|map| is(&map.name().to_string_lossy()));
        find(&|name| name == maps::CONTROL)?;
        let rodata = find(&|name| name.ends_with(".rodata"))?;
        let bytes = rodata.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok()??;
        Self::parse(&bytes)
    }

    fn parse(rodata: &[u8]) -> Option<Self> {
        /// Version 1: the size of `.rodata`, and the offset of `rtt`, after which comes `handshake`.
        const V1: (usize, usize) = (48, 44);
        const RTT: usize = std::mem::offset_of!(Config, rtt);
        const HANDSHAKE: usize = std::mem::offset_of!(Config, handshake);

        let flag = |at: usize| rodata.get(at).map(|byte| *byte != 0);
        if rodata.len() == V1.0 {
            return Some(Self { abi_version: 1, rtt: flag(V1.1)?, handshake: flag(V1.1 + 1)? });
        }
        let abi_version = u32::from_ne_bytes(rodata.get(..4)?.try_into().ok()?);
        Some(Self { abi_version, rtt: flag(RTT)?, handshake: flag(HANDSHAKE)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{as_bytes, ABI_VERSION};

    #[test]
    fn every_version_says_its_options() {
        let mut v1 = [7; 48];
        v1[44..46].copy_from_slice(&[1, 0]);
        let config = ProgramConfig { abi_version: 1, rtt: true, handshake: false };
        assert_eq!(ProgramConfig::parse(&v1), Some(config));

        let abi_version = ABI_VERSION as u32;
        let ours = Config { abi_version, rtt: 0, handshake: 1, ..Config::default() };
        let config = ProgramConfig { abi_version, rtt: false, handshake: true };
        assert_eq!(ProgramConfig::parse(as_bytes(&ours)), Some(config));

        let later = [&9u32.to_ne_bytes()[..], &[1, 1], &[0xee; 400]].concat();
        let config = ProgramConfig { abi_version: 9, rtt: true, handshake: true };
        assert_eq!(ProgramConfig::parse(&later), Some(config));
        assert_eq!(ProgramConfig::parse(&[0; 5]), None);
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! The assignment of an address: that of the longest matching prefix, or else of the default entry.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// An address as in the maps. An IPv4 address is twelve bytes 0xFF, then the four bytes.
///
/// Both families share one space. An IPv6 prefix that covers `ffff:ffff:ffff:ffff:ffff:ffff::/96`
/// therefore covers all IPv4 addresses, too: `::/0` covers every address.
pub type Address = [u8; 16];

/// Returns an IPv4 address in the shared space.
pub fn v4(address: [u8; 4]) -> Address {
    let mut shared = [0xff; 16];
    shared[12..].copy_from_slice(&address);
    shared
}

/// Returns an address of either family in the shared space.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => v4(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A prefix of the shared space; bits beyond its length are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressPrefix {
    length: u8,
    address: Address,
}

impl AddressPrefix {
    /// The default entry: the all-ones address, `255.255.255.255`.
    pub const DEFAULT: AddressPrefix = AddressPrefix { length: 128, address: [0xff; 16] };

    /// Makes an IPv4 prefix; `length` is 0 to 32.
    pub fn v4(address: [u8; 4], length: u8) -> AddressPrefix {
        AddressPrefix::v6(v4(address), length.min(32) + 96)
    }

    /// Makes an IPv6 prefix, or one of the shared space; `length` is 0 to 128.
    pub fn v6(address: Address, length: u8) -> AddressPrefix {
        let length = length.min(128);
        let address = (u128::from_be_bytes(address) & mask(length)).to_be_bytes();
        AddressPrefix { length, address }
    }

    /// Returns the length in the shared space, as in `ip_prefix.prefixlen`.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Returns the address, as in `ip_prefix.addr`.
    pub fn address(&self) -> Address {
        self.address
    }

    fn covers(&self, address: &Address) -> bool {
        u128::from_be_bytes(*address) & mask(self.length) == u128::from_be_bytes(self.address)
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The CPU and class that a prefix is mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    pub cpu: u32,
    /// The tc handle, major << 16 | minor; 0 for no class.
    pub handle: u32,
}

/// All prefixes and their assignments.
#[derive(Debug, Default, Clone)]
pub struct AssignmentTable(BTreeMap<AddressPrefix, Assignment>);

impl AssignmentTable {
    pub fn insert(&mut self, prefix: AddressPrefix, mapping: Assignment) {
        self.0.insert(prefix, mapping);
    }

    pub fn remove(&mut self, prefix: AddressPrefix) -> bool {
        self.0.remove(&prefix).is_some()
    }

    /// Returns the assignment of the longest prefix that covers the address, else of the default entry.
    pub fn lookup(&self, address: &Address) -> Option<Assignment> {
        self.0
            .iter()
            .filter(|(prefix, _)| prefix.covers(address))
            .max_by_key(|(prefix, _)| prefix.length)
            .map(|(_, mapping)| *mapping)
            .or_else(|| self.0.get(&AddressPrefix::DEFAULT).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(AddressPrefix, u32)]) -> AssignmentTable {
        let mut mappings = AssignmentTable::default();
        for &(prefix, handle) in rows {
            mappings.insert(prefix, Assignment { cpu: 0, handle });
        }
        mappings
    }

    fn handle(mappings: &AssignmentTable, address: Address) -> Option<u32> {
        mappings.lookup(&address).map(|mapping| mapping.handle)
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mappings = table(&[
            (AddressPrefix::v4([100, 64, 0, 0], 10), 1),
            (AddressPrefix::v4([100, 64, 1, 0], 24), 2),
            (AddressPrefix::v4([100, 64, 1, 7], 32), 3),
        ]);
        assert_eq!(handle(&mappings, v4([100, 127, 0, 1])), Some(1));
        assert_eq!(handle(&mappings, v4([100, 64, 1, 8])), Some(2));
        assert_eq!(handle(&mappings, v4([100, 64, 1, 7])), Some(3));
        assert_eq!(handle(&mappings, v4([100, 128, 0, 1])), None);
    }

    #[test]
    fn host_bits_do_not_make_a_second_entry() {
        let mappings = table(&[
            (AddressPrefix::v4([10, 0, 0, 1], 24), 1),
            (AddressPrefix::v4([10, 0, 0, 2], 24), 2),
        ]);
        assert_eq!(handle(&mappings, v4([10, 0, 0, 1])), Some(2));
    }

    #[test]
    fn the_default_entry_covers_addresses_without_another() {
        let mappings =
            table(&[(AddressPrefix::DEFAULT, 9), (AddressPrefix::v4([10, 0, 0, 0], 8), 1)]);
        assert_eq!(handle(&mappings, v4([11, 0, 0, 1])), Some(9));
        assert_eq!(handle(&mappings, [0x20; 16]), Some(9));
        assert_eq!(handle(&mappings, v4([10, 0, 0, 1])), Some(1));
        assert_eq!(AddressPrefix::DEFAULT, AddressPrefix::v4([255; 4], 32));
    }

    #[test]
    fn the_empty_prefix_covers_both_families_and_precedes_the_default() {
        let mappings = table(&[(AddressPrefix::v6([0; 16], 0), 5), (AddressPrefix::DEFAULT, 9)]);
        assert_eq!(handle(&mappings, v4([10, 0, 0, 1])), Some(5));
        assert_eq!(handle(&mappings, [0x20; 16]), Some(5));
        assert_eq!(handle(&mappings, [0xff; 16]), Some(9));
    }

    #[test]
    fn nothing_mapped_nothing_found() {
        assert_eq!(handle(&AssignmentTable::default(), [0xff; 16]), None);
    }
}

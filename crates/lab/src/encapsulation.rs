// SPDX-License-Identifier: GPL-2.0-only
//! VLAN tags and PPPoE session headers on the shaper's segment.

use crate::frame_buffer::FrameBuffer;
use crate::packet::numbers::{
    ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, ETH_P_PPP_SES, ETH_P_QINQ1, PPP_IP, PPP_IPV6,
};

/// Offset of the EtherType. A tag is inserted here.
const ETHERTYPE: usize = 12;
/// Length of an untagged Ethernet header.
const ETH_HLEN: usize = 14;
/// Length of the PPPoE header with the PPP protocol number.
const PPPOE_SES_HLEN: usize = 8;

/// The headers that a subscriber's frames carry between the delay lines and the shaper: VLAN tags, and
/// optionally PPPoE after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encapsulation {
    tags: Vec<(u16, u16)>,
    pppoe: Option<u16>,
}

impl Encapsulation {
    /// Returns the encapsulation of plain Ethernet: no headers.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns VLAN tags, given as (TPID, VLAN id), the outermost first:
    /// `vlan(&[(0x88a8, 100), (0x8100, 7)])`.
    pub fn vlan(tags: &[(u16, u16)]) -> Self {
        Self { tags: tags.to_vec(), pppoe: None }
    }

    /// Returns a PPPoE session.
    pub fn pppoe(session: u16) -> Self {
        Self::none().with_pppoe(session)
    }

    /// Adds a PPPoE session inside the tags.
    pub fn with_pppoe(mut self, session: u16) -> Self {
        self.pppoe = Some(session);
        self
    }

    /// Returns whether frames stay as they are.
    pub fn is_none(&self) -> bool {
        self.tags.is_empty() && self.pppoe.is_none()
    }

    /// Returns how many bytes the encapsulation adds to a frame.
    pub fn overhead(&self) -> usize {
        4 * self.tags.len() + self.pppoe.map_or(0, |_| PPPOE_SES_HLEN)
    }

    /// Adds the headers to a plain frame. Returns false if that is impossible: PPPoE carries IP only.
    pub(crate) fn push(&self, frame: &mut FrameBuffer) -> bool {
        self.push_pppoe(frame).is_some()
            && self.tags.iter().rev().all(|&(tpid, vid)| push_tag(frame, tpid, vid))
    }

    fn push_pppoe(&self, frame: &mut FrameBuffer) -> Option<()> {
        let Some(session) = self.pppoe else { return Some(()) };
        let protocol = match frame.be16(ETHERTYPE)? {
            ETH_P_IP => PPP_IP,
            ETH_P_IPV6 => PPP_IPV6,
            _ => return None,
        };
        // The length counts the PPP protocol number and the payload.
        let length = u16::try_from(frame.bytes().len() - ETH_HLEN + 2).ok()?;
        let [session, length, protocol] = [session, length, protocol].map(u16::to_be_bytes);
        let mut header = [0x11, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&session);
        header[4..6].copy_from_slice(&length);
        header[6..8].copy_from_slice(&protocol);
        frame.set_be16(ETHERTYPE, ETH_P_PPP_SES);
        frame.insert(ETH_HLEN, &header).then_some(())
    }
}

/// Adds one tag as the outermost.
pub(crate) fn push_tag(frame: &mut FrameBuffer, tpid: u16, tci: u16) -> bool {
    let [tpid, tci] = [tpid, tci].map(u16::to_be_bytes);
    frame.insert(ETHERTYPE, &[tpid[0], tpid[1], tci[0], tci[1]])
}

/// Removes every tag and the PPPoE header. Stops at the first header that is malformed.
pub(crate) fn strip(frame: &mut FrameBuffer) {
    while let Some(ETH_P_8021Q | ETH_P_8021AD | ETH_P_QINQ1) = frame.be16(ETHERTYPE) {
        frame.remove(ETHERTYPE, 4);
    }
    if frame.be16(ETHERTYPE) != Some(ETH_P_PPP_SES) {
        return;
    }
    let (Some(length), Some(protocol)) = (frame.be16(ETH_HLEN + 4), frame.be16(ETH_HLEN + 6))
    else {
        return;
    };
    let ethertype = match protocol {
        PPP_IP => ETH_P_IP,
        PPP_IPV6 => ETH_P_IPV6,
        _ => return,
    };
    frame.set_be16(ETHERTYPE, ethertype);
    frame.remove(ETH_HLEN, PPPOE_SES_HLEN);
    frame.truncate(ETH_HLEN + usize::from(length).saturating_sub(2));
}

/// Defines a test for each encapsulation that subscribers use; each test calls `$check` with an
/// [`Encapsulation`].
#[macro_export]
macro_rules! test_encapsulations {
    ($check:path) => {
        #[test]
        fn plain_ethernet() {
            $check(&$crate::Encapsulation::none());
        }

        #[test]
        fn one_vlan_tag() {
            $check(&$crate::Encapsulation::vlan(&[(0x8100, 100)]));
        }

        #[test]
        fn two_vlan_tags() {
            $check(&$crate::Encapsulation::vlan(&[(0x88a8, 100), (0x8100, 7)]));
        }

        #[test]
        fn pppoe() {
            $check(&$crate::Encapsulation::pppoe(42));
        }

        #[test]
        fn pppoe_in_two_vlan_tags() {
            let tags = $crate::Encapsulation::vlan(&[(0x88a8, 100), (0x8100, 7)]);
            $check(&tags.with_pppoe(42));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> FrameBuffer {
        let mut frame = FrameBuffer::new(1600);
        let area = frame.receive_area();
        area[..60].iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
        area[12..14].copy_from_slice(&ETH_P_IPV6.to_be_bytes());
        frame.set_length(60);
        frame
    }

    #[test]
    fn strip_undoes_push() {
        let double = Encapsulation::vlan(&[(0x88a8, 100), (0x8100, 7)]);
        for encapsulation in [
            Encapsulation::none(),
            Encapsulation::vlan(&[(0x8100, 100)]),
            double.clone(),
            Encapsulation::pppoe(9),
            double.with_pppoe(9),
        ] {
            let mut frame = plain();
            assert!(encapsulation.push(&mut frame));
            assert_eq!(frame.bytes().len(), 60 + encapsulation.overhead());
            strip(&mut frame);
            assert_eq!(frame.bytes(), plain().bytes(), "{encapsulation:?}");
        }
    }

    #[test]
    fn the_outermost_tag_comes_first() {
        let mut frame = plain();
        assert!(Encapsulation::vlan(&[(0x88a8, 100), (0x8100, 7)]).with_pppoe(5).push(&mut frame));
        let expected =
            [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 5, 0, 48, 0, 0x57];
        assert_eq!(frame.bytes()[12..30], expected);
    }

    #[test]
    fn pppoe_refuses_frames_other_than_ip() {
        let mut frame = plain();
        frame.set_be16(ETHERTYPE, 0x0806);
        assert!(!Encapsulation::pppoe(1).push(&mut frame));
    }
}

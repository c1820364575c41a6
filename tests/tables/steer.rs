//! XDP: whose frame is it, and which CPU takes it.

use crate::common::run::{Metadata, XDP_PASS, XDP_REDIRECT};
use crate::common::scene::{with_scene, ALICE_CLASS};
use lab::packet::{hosts::*, Packet, Tcp};

#[test]
fn a_frame_is_steered_to_its_subscribers_cpu() {
    with_scene(|scene| {
        let frame = Packet::new(ALICE, SERVER).tcp(Tcp::new(1000, 443)).build();
        let outcome = scene.steer(&frame, scene.lan);
        assert_eq!(outcome.verdict, XDP_REDIRECT);
        assert_eq!(outcome.metadata, Some(Metadata { tc_handle: ALICE_CLASS, cpu: 0, direction: 2 }));
        assert_eq!(outcome.counters.fate(), "xdp_redirected");
        let outcome = scene.classify(&frame, scene.to_internet());
        assert_eq!(outcome.counters.fate(), "tc_classified");
        assert_eq!(outcome.priority, ALICE_CLASS);
        assert_eq!(scene.steer(&frame, scene.other).verdict, XDP_PASS);
    });
}

// SPDX-License-Identifier: GPL-2.0-only
//! The words that the stream's formats share. The contract fixes them (section 6).

use crate::abi::{StreamReason, StreamTrigger};
use crate::format::push::{push_address, push_number};
use crate::stream::event::{Event, EventKind};

/// Appends a flow as `src:port+dst:port`, with IPv6 addresses without brackets, as ppviz reads it.
pub fn push_flow(out: &mut Vec<u8>, event: &Event) {
    let flow = &event.flow;
    push_address(out, flow.src);
    out.push(b':');
    push_number(out, flow.src_port.into());
    out.push(b'+');
    push_address(out, flow.dst);
    out.push(b':');
    push_number(out, flow.dst_port.into());
}

/// Appends the name of a protocol (`IPPROTO_*`), or its number if it has no name here.
pub fn push_protocol(out: &mut Vec<u8>, protocol: u8) {
    match protocol {
        1 => out.extend_from_slice(b"ICMP"),
        6 => out.extend_from_slice(b"TCP"),
        58 => out.extend_from_slice(b"ICMPv6"),
        other => push_number(out, other.into()),
    }
}

/// Returns the words of an opening or closing: the event, its reason, the end that triggered it.
/// Returns `None` for an RTT.
pub fn flow_event(kind: &EventKind) -> Option<(&'static str, &'static str, &'static str)> {
    match kind {
        EventKind::Rtt(_) => None,
        EventKind::Opening(reason, trigger) => {
            Some(("opening", reason_name(*reason), trigger_name(*trigger)))
        }
        EventKind::Closing(reason, trigger) => {
            Some(("closing", reason_name(*reason), trigger_name(*trigger)))
        }
    }
}

/// Returns the word of a reason.
fn reason_name(reason: StreamReason) -> &'static str {
    match reason {
        StreamReason::Syn => "SYN",
        StreamReason::SynAck => "SYN-ACK",
        StreamReason::FirstPacket => "first observed packet",
        StreamReason::Fin => "FIN",
        StreamReason::Rst => "RST",
        StreamReason::Timeout => "flow timeout",
    }
}

/// Returns the word of a trigger.
fn trigger_name(trigger: StreamTrigger) -> &'static str {
    match trigger {
        StreamTrigger::Src => "src",
        StreamTrigger::Dest => "dest",
        StreamTrigger::Gc => "garbage collection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_triggers_and_protocols() {
        use StreamReason::*;
        let reasons = [Syn, SynAck, FirstPacket, Fin, Rst, Timeout].map(reason_name);
        let names = ["SYN", "SYN-ACK", "first observed packet", "FIN", "RST", "flow timeout"];
        assert_eq!(reasons, names);
        let triggers =
            [StreamTrigger::Src, StreamTrigger::Dest, StreamTrigger::Gc].map(trigger_name);
        assert_eq!(triggers, ["src", "dest", "garbage collection"]);
        for (protocol, name) in [(1, "ICMP"), (6, "TCP"), (58, "ICMPv6"), (132, "132")] {
            let mut out = Vec::new();
            push_protocol(&mut out, protocol);
            assert_eq!(out, name.as_bytes());
        }
    }
}

// SPDX-License-Identifier: GPL-2.0-only
//! Events, decoded from the records of the ring buffer (`struct stream_event` in include/stream.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::abi::{StreamEvent, StreamKind, StreamReason, StreamTrigger};
use crate::domain::{Side, TcHandle};

/// One direction of a connection, named as the eBPF pping names it: the host that answered comes
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlow {
    /// The host that sent the answer.
    pub src: IpAddr,
    /// The host whose packet was answered. It opened this direction.
    pub dst: IpAddr,
    /// Port of `src`; for ICMP the echo identifier.
    pub src_port: u16,
    /// Port of `dst`; for ICMP the echo identifier.
    pub dst_port: u16,
    /// `IPPROTO_*`.
    pub protocol: u8,
}

/// Something that happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Time of the packet in nanoseconds, on the source's clock.
    pub time_ns: u64,
    /// The flow that the event is about.
    pub flow: EventFlow,
    /// What happened to it.
    pub kind: EventKind,
    /// The shaper's class; [`TcHandle::NONE`] if the packet had none.
    pub tc_handle: TcHandle,
    /// The side of the shaper on which the host that answered is. Without a shaper it has no
    /// meaning.
    pub side: Side,
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An answer matched a packet, which gives an RTT.
    Rtt(Rtt),
    /// The flow was answered for the first time.
    Opening(StreamReason, StreamTrigger),
    /// The flow has ended.
    Closing(StreamReason, StreamTrigger),
}

/// An RTT, and the traffic of the connection until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    /// The RTT, in nanoseconds.
    pub rtt_ns: u64,
    /// The smallest RTT of the flow so far, in nanoseconds.
    pub min_ns: u64,
    /// Number of packets that `dst` sent. A packet that the kernel merged from several segments
    /// (GRO) counts as that many.
    pub sent_packets: u64,
    /// Bytes of their payload, as include/stream.h says.
    pub sent_bytes: u64,
    /// Number of packets that `src` sent, counted in the same way.
    pub rec_packets: u64,
    /// Bytes of their payload.
    pub rec_bytes: u64,
    /// Whether the answer was seen as it left the interface.
    pub on_egress: bool,
}

impl Event {
    /// Decodes a record of the ring buffer. Returns `None` if its kind, reason, trigger or side is
    /// not one of include/stream.h.
    pub fn from_abi(event: &StreamEvent) -> Option<Self> {
        Some(Self {
            time_ns: event.time_ns,
            flow: EventFlow::from_abi(event),
            kind: EventKind::from_abi(event)?,
            tc_handle: TcHandle(event.tc_handle),
            side: Side::from_abi(event.side.into())?,
        })
    }

    /// Returns the closing event of the same flow for a time-out at `time_ns`.
    pub fn timed_out(self, time_ns: u64) -> Self {
        let kind = EventKind::Closing(StreamReason::Timeout, StreamTrigger::Gc);
        Self { time_ns, kind, ..self }
    }
}

impl EventFlow {
    fn from_abi(event: &StreamEvent) -> Self {
        Self {
            src: address(event.src, event.ip_version),
            dst: address(event.dst, event.ip_version),
            src_port: u16::from_be(event.src_port),
            dst_port: u16::from_be(event.dst_port),
            protocol: event.protocol,
        }
    }
}

/// Decodes an address. An IPv4 address is the last four bytes, after twelve bytes of 0xFF.
fn address(bytes: [u8; 16], ip_version: u8) -> IpAddr {
    match (ip_version, bytes) {
        (4, [.., a, b, c, d]) => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(bytes).into(),
    }
}

impl EventKind {
    fn from_abi(event: &StreamEvent) -> Option<Self> {
        let cause = || {
            let reason = StreamReason::from_abi(event.reason.into())?;
            Some((reason, StreamTrigger::from_abi(event.trigger.into())?))
        };
        Some(match StreamKind::from_abi(event.kind.into())? {
            StreamKind::Rtt => Self::Rtt(Rtt {
                rtt_ns: event.rtt_ns,
                min_ns: event.min_rtt_ns,
                sent_packets: event.sent_packets,
                sent_bytes: event.sent_bytes,
                rec_packets: event.rec_packets,
                rec_bytes: event.rec_bytes,
                on_egress: event.on_egress != 0,
            }),
            StreamKind::Opening => cause().map(|(reason, by)| Self::Opening(reason, by))?,
            StreamKind::Closing => cause().map(|(reason, by)| Self::Closing(reason, by))?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes an RTT event, the one of the contract's example.
    pub(crate) fn rtt_record() -> StreamEvent {
        let mut src = [0xFF; 16];
        src[12..].copy_from_slice(&[10, 11, 1, 1]);
        let mut dst = src;
        dst[15] = 2;
        StreamEvent {
            time_ns: 1_000,
            rtt_ns: 5_977_708,
            min_rtt_ns: 5_441_848,
            sent_packets: 9393,
            sent_bytes: 492_457_296,
            rec_packets: 5922,
            rec_bytes: 37,
            tag: 77,
            src,
            dst,
            src_port: 5201_u16.to_be(),
            dst_port: 59572_u16.to_be(),
            tc_handle: 0x12_00AB,
            flow: 3,
            kind: StreamKind::Rtt.to_abi() as u8,
            protocol: 6,
            ip_version: 4,
            side: 1,
            ..StreamEvent::default()
        }
    }

    /// Makes the opening event of the same flow.
    pub(crate) fn opening_record() -> StreamEvent {
        StreamEvent {
            kind: StreamKind::Opening.to_abi() as u8,
            reason: 2,
            trigger: 2,
            ..rtt_record()
        }
    }

    #[test]
    fn an_rtt_record_is_decoded() {
        let event = Event::from_abi(&rtt_record()).unwrap();
        assert_eq!(event.flow.src, "10.11.1.1".parse::<IpAddr>().unwrap());
        assert_eq!(event.flow.dst, "10.11.1.2".parse::<IpAddr>().unwrap());
        assert_eq!((event.flow.src_port, event.flow.dst_port), (5201, 59572));
        assert_eq!((event.tc_handle, event.side), (TcHandle(0x12_00AB), Side::Internet));
        let EventKind::Rtt(rtt) = event.kind else { panic!("{event:?}") };
        assert_eq!((rtt.rtt_ns, rtt.min_ns), (5_977_708, 5_441_848));
        assert_eq!((rtt.sent_packets, rtt.rec_packets, rtt.on_egress), (9393, 5922, false));
    }

    #[test]
    fn the_ip_version_decides_how_an_address_is_decoded() {
        let bytes = std::array::from_fn(|i| i as u8);
        let v6 = "1:203:405:607:809:a0b:c0d:e0f";
        assert_eq!(address(bytes, 6), v6.parse::<IpAddr>().unwrap());
        assert_eq!(address([0xFF; 16], 4), IpAddr::from([255, 255, 255, 255]));
        assert_eq!(address([0xFF; 16], 6), IpAddr::from([0xFFFF; 8]));
    }

    #[test]
    fn unknown_kinds_reasons_and_triggers_are_refused() {
        let table = [
            (2, 1, 1, Some(EventKind::Opening(StreamReason::Syn, StreamTrigger::Src))),
            (2, 2, 2, Some(EventKind::Opening(StreamReason::SynAck, StreamTrigger::Dest))),
            (2, 3, 2, Some(EventKind::Opening(StreamReason::FirstPacket, StreamTrigger::Dest))),
            (3, 4, 1, Some(EventKind::Closing(StreamReason::Fin, StreamTrigger::Src))),
            (3, 5, 2, Some(EventKind::Closing(StreamReason::Rst, StreamTrigger::Dest))),
            (3, 6, 3, Some(EventKind::Closing(StreamReason::Timeout, StreamTrigger::Gc))),
            (2, 0, 1, None),
            (2, 1, 0, None),
            (3, 7, 1, None),
            (3, 4, 4, None),
            (0, 1, 1, None),
            (4, 1, 1, None),
        ];
        for (kind, reason, trigger, expected) in table {
            let record = StreamEvent { kind, reason, trigger, ..opening_record() };
            let found = Event::from_abi(&record).map(|event| event.kind);
            assert_eq!(found, expected, "{kind} {reason} {trigger}");
        }
    }
}

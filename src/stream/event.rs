// SPDX-License-Identifier: GPL-2.0-only
//! Events with types, from the records of the ring buffer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::abi::{StreamEvent, StreamKind, StreamReason, StreamTrigger};
use crate::domain::{Side, TcHandle};

/// One direction of a connection, written as the reader of an RTT expects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFlow {
    /// The host that answered.
    pub src: IpAddr,
    /// The host whose packet was answered: the opener of this direction.
    pub dst: IpAddr,
    /// Port of `src`; of ICMP the echo identifier.
    pub src_port: u16,
    /// Port of `dst`; of ICMP the echo identifier.
    pub dst_port: u16,
    /// `IPPROTO_*`.
    pub protocol: u8,
}

/// Something that happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// On the source's clock.
    pub time_ns: u64,
    /// Whose.
    pub flow: EventFlow,
    /// What.
    pub kind: EventKind,
    /// The shaper's class; [`TcHandle::NONE`] without one.
    pub tc_handle: TcHandle,
    /// On which side of the shaper the host is that answered; means nothing without a shaper.
    pub side: Side,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An answer was matched.
    Rtt(Rtt),
    /// The flow was answered for the first time.
    Opening(StreamReason, StreamTrigger),
    /// The flow has ended.
    Closing(StreamReason, StreamTrigger),
}

/// An RTT and what went to and fro until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    /// This one.
    pub rtt_ns: u64,
    /// The least so far.
    pub min_ns: u64,
    /// Packets that `dst` sent; segments that the kernel has put together are counted.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets that `src` sent.
    pub rec_packets: u64,
    /// Their bytes.
    pub rec_bytes: u64,
    /// The answer was seen leaving.
    pub on_egress: bool,
}

impl Event {
    /// From a record of the ring buffer; `None` for a kind, a reason or a trigger that
    /// include/stream.h does not know.
    pub fn from_abi(event: &StreamEvent) -> Option<Self> {
        Some(Self {
            time_ns: event.time_ns,
            flow: EventFlow::from_abi(event),
            kind: EventKind::from_abi(event)?,
            tc_handle: TcHandle(event.tc_handle),
            side: Side::from_abi(event.side.into())?,
        })
    }

    /// The end of the same flow for want of packets.
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

/// IPv4 stands after twelve bytes of ones.
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

    /// An RTT event of the contract's example.
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

    /// The opening of the same flow.
    pub(crate) fn opening_record() -> StreamEvent {
        StreamEvent {
            kind: StreamKind::Opening.to_abi() as u8,
            reason: 2,
            trigger: 2,
            ..rtt_record()
        }
    }

    #[test]
    fn an_rtt() {
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
    fn addresses_go_by_the_ip_version() {
        let bytes = std::array::from_fn(|i| i as u8);
        let v6 = "1:203:405:607:809:a0b:c0d:e0f";
        assert_eq!(address(bytes, 6), v6.parse::<IpAddr>().unwrap());
        assert_eq!(address([0xFF; 16], 4), IpAddr::from([255, 255, 255, 255]));
        assert_eq!(address([0xFF; 16], 6), IpAddr::from([0xFFFF; 8]));
    }

    #[test]
    fn reasons_and_triggers() {
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

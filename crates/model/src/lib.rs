// SPDX-License-Identifier: GPL-2.0-only
//! The reference model of the packet path: parse, steer, classify, RTT.
//!
//! The model is written from the RFCs, the contract and the design, not from the BPF C, so that only a
//! mistake that was made twice goes unseen. A differential fuzzer gives the same packets at the same times
//! to both. The model is slow and plain on purpose: it has no caches, no metadata from XDP to TC, and a
//! flow table without a limit. It does not raise the counters of those ([`counter::UNMODELLED`]).
//!
//! ```
//! use model::{AddressPrefix, Facing, Frame, Model, ModelConfig, Skb, Verdict};
//!
//! let mut model = Model::new(ModelConfig::new(1_000));
//! model.direction(2, Facing::Lan);
//! model.direction(3, Facing::Wan);
//! model.txq(0, 1, 1);
//! model.cpu_available(0, true);
//! model.map(AddressPrefix::v4([100, 64, 0, 2], 32), 0, 0x1_0005);
//!
//! let frame = Frame::tcp4([192, 0, 2, 1], [100, 64, 0, 2]).payload(100).build();
//! assert_eq!(model.steer(&frame, 3, 0).verdict, Verdict::Redirect { cpu: 0 });
//! let skb = Skb { ifindex: 2, ingress_ifindex: 3, priority: 0, cpu: 0 };
//! assert_eq!(model.classify(&frame, skb, 0).priority, 0x1_0005);
//! ```

pub mod classify;
pub mod counter;
pub mod frame;
pub mod generate;
pub mod histogram;
pub mod mapping;
pub mod parse;
pub mod rng;
pub mod rtt;

pub use classify::{
    Classified, Facing, HandedOn, Model, ModelConfig, Sample, SampleSide, Skb, Steered, Verdict,
};
pub use frame::Frame;
pub use generate::{Generator, InitialMaps, Step, World};
pub use histogram::ReferenceHistogram;
pub use mapping::{AddressPrefix, Assignment};

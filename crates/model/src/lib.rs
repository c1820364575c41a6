//! The reference model of the packet path: parse, steer, classify, RTT.
//!
//! Written from the RFCs, the contract and the design, not from the BPF C, so that a mistake has to be
//! made twice to go unseen. A differential fuzzer gives the same packets at the same times to both.
//! Slow and plain on purpose: no caches, no metadata from XDP to TC, a flow table without a limit. What
//! only those have is not modelled ([`counter::UNMODELLED`]).
//!
//! ```
//! use model::{Config, Direction, Frame, Model, Prefix, Skb, Verdict};
//!
//! let mut model = Model::new(Config::new(1_000));
//! model.direction(2, Direction::Lan);
//! model.direction(3, Direction::Wan);
//! model.txq(0, 1, 1);
//! model.cpu_available(0, true);
//! model.map(Prefix::v4([100, 64, 0, 2], 32), 0, 0x1_0005);
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

pub use classify::{Classified, Config, Direction, Model, Sample, Side, Skb, Steered, Verdict};
pub use frame::Frame;
pub use generate::{Generator, Setup, Step, World};
pub use histogram::Histogram;
pub use mapping::{Mapping, Prefix};

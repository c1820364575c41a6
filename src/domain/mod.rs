// SPDX-License-Identifier: GPL-2.0-only
//! The types that all floors share: prefixes, tc handles, sides, directions, summaries, errors. No
//! I/O, no BPF, no command line.

pub mod direction;
pub mod error;
pub mod format;
pub mod handle;
pub mod interface;
pub mod mapping;
pub mod number;
pub mod prefix;
pub mod side;
pub mod summary;

pub use direction::Direction;
pub use handle::TcHandle;
pub use interface::IfName;
pub use mapping::{Mapping, TxqRow};
pub use prefix::Prefix;
pub use side::{Side, Sides};
pub use summary::Summary;

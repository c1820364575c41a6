//! What the tests of the packet path share.

pub mod names;
pub mod run;
pub mod scene;

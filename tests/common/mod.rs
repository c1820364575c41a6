//! What the tests of the packet path share; each uses its part.
#![allow(dead_code)]

pub mod names;
pub mod run;
pub mod scene;

//! `pping` from end to end: what it hears, how it comes and goes, and what it says.

#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/shaper.rs"]
mod shaper;

mod counts;
mod flood;
mod golden;
mod life;
mod listener;
mod live;
mod recording;
mod starts;
mod tools;

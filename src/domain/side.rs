// SPDX-License-Identifier: GPL-2.0-only
//! The two sides of a shaper, whose RTTs are kept apart.

include!(concat!(env!("OUT_DIR"), "/side.rs"));

impl Side {
    /// Both sides, in the order of their indexes in the RTT records.
    pub const ALL: [Self; 2] = [Self::Subscriber, Self::Internet];

    /// Returns the name that options and JSON use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Internet => "internet",
        }
    }
}

/// A choice of samples: those of one side, or of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sides {
    /// The samples of one side.
    One(Side),
    /// The samples of both sides taken together.
    #[default]
    Both,
}

impl Sides {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::One(Side::Subscriber), Self::One(Side::Internet), Self::Both];

    /// Returns the name that options and JSON use.
    pub fn name(self) -> &'static str {
        match self {
            Self::One(side) => side.name(),
            Self::Both => "both",
        }
    }

    /// Returns the sides to show one by one.
    pub fn each(self) -> &'static [Side] {
        match self {
            Self::One(Side::Subscriber) => &[Side::Subscriber],
            Self::One(Side::Internet) => &[Side::Internet],
            Self::Both => &Side::ALL,
        }
    }

    /// Tells whether the choice includes `side`.
    pub fn include(self, side: Side) -> bool {
        self.each().contains(&side)
    }
}

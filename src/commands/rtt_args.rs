// SPDX-License-Identifier: GPL-2.0-only
//! The options of the RTT measurement, which `xdp_iphash_to_cpu` and `tc_classify` share.

use crate::commands::options::exclusive;
use crate::domain::error::{Error, Result};
use crate::domain::number::parse_number;
use crate::kernel::load::RttOptions;

/// Options that configure the RTT measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct RttArgs {
    /// Number of flows whose RTT can be measured at once: 1024 to 16777216, rounded up to a power
    /// of two [default: that of the loaded programs, else 262144]
    #[arg(long, value_name = "N", allow_hyphen_values = true, help_heading = RTT_HEADING)]
    flows: Option<String>,

    /// Also measure the RTT of SYN and SYN-ACK [default: only of segments that carry data]
    #[arg(long, help_heading = RTT_HEADING)]
    handshake: bool,

    /// Also measure TCP without timestamps, by sequence numbers: a lost segment counts from its
    /// first transmission
    #[arg(long, help_heading = RTT_HEADING)]
    sequence_numbers: bool,

    /// Do not measure RTTs: steer and classify only
    #[arg(long, help_heading = RTT_HEADING)]
    no_rtt: bool,
}

const RTT_HEADING: &str = "RTT options (they apply from this load on)";

impl TryFrom<RttArgs> for RttOptions {
    type Error = Error;

    fn try_from(args: RttArgs) -> Result<Self> {
        exclusive(("--no-rtt", args.no_rtt), ("--handshake", args.handshake))?;
        exclusive(("--no-rtt", args.no_rtt), ("--sequence-numbers", args.sequence_numbers))?;
        let read = |text: String| parse_number("--flows", &text, Self::MIN_FLOWS, Self::MAX_FLOWS);
        let flows = args.flows.map(read).transpose()?;
        Ok(Self {
            enabled: !args.no_rtt,
            handshake: args.handshake,
            sequence: args.sequence_numbers,
            flows: flows.map(u32::next_power_of_two),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::exit;

    #[test]
    fn rtt_options_are_checked_and_rounded() {
        let args = |flows: Option<&str>, handshake, no_rtt| RttArgs {
            flows: flows.map(str::to_owned),
            handshake,
            sequence_numbers: false,
            no_rtt,
        };
        assert_eq!(RttOptions::try_from(RttArgs::default()).unwrap(), RttOptions::default());
        let table = [("1024", 1024), ("1025", 2048), ("262144", 262_144), ("0x1000000", 1 << 24)];
        for (text, flows) in table {
            let options = RttOptions::try_from(args(Some(text), true, false)).unwrap();
            assert_eq!(options.flows, Some(flows), "{text}");
            assert!(options.enabled && options.handshake);
        }
        for text in ["", "0", "1023", "16777217", "-1", "1k"] {
            let err = RttOptions::try_from(args(Some(text), false, false)).unwrap_err();
            assert_eq!(err.exit_code(), exit::USAGE, "{text:?}");
        }
        let err = RttOptions::try_from(args(None, true, true)).unwrap_err();
        assert!(err.to_string().contains("--no-rtt with --handshake"), "{err}");
        let sequence = RttArgs { sequence_numbers: true, ..RttArgs::default() };
        assert!(RttOptions::try_from(sequence.clone()).unwrap().sequence);
        let err = RttOptions::try_from(RttArgs { no_rtt: true, ..sequence }).unwrap_err();
        assert!(err.to_string().contains("--no-rtt with --sequence-numbers"), "{err}");
        assert!(!RttOptions::try_from(args(None, false, true)).unwrap().enabled);
    }
}

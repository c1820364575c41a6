// SPDX-License-Identifier: GPL-2.0-only

//! Plans that no lab can be built of. Any user may run these tests: nothing is built.

use lab::{Lab, Plan, Subscriber};
use std::io::ErrorKind;

#[test]
fn impossible_plans_are_refused() {
    let tagged = Subscriber::new("alice", 1).encapsulation(lab::Encapsulation::pppoe(1));
    for plan in [Plan::new([]), Plan::new([tagged])] {
        assert_eq!(Lab::build(plan).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

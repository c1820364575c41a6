// SPDX-License-Identifier: GPL-2.0-only
//! Writes the mapping and the queue table as the predecessor prints them. Programs in the field
//! parse both: no byte may change.

use crate::domain::{Mapping, TxqRow};
use crate::format::push::push_text;

/// Writes the mapping as one JSON object, one entry a line, in the order given. Major and minor are
/// in upper-case hexadecimal.
pub fn write_mappings(out: &mut Vec<u8>, mappings: impl IntoIterator<Item = Mapping>) {
    out.extend_from_slice(b"{\n");
    let mut separator = "";
    for Mapping { prefix, cpu, tc_handle } in mappings {
        push_text(
            out,
            format_args!(
                r#"{separator}"{prefix}" : {{ "cpu" : {cpu}, "tc_maj" : "{:X}" , "tc_min" : "{:X}" }}"#,
                tc_handle.major(),
                tc_handle.minor()
            ),
        );
        separator = ",\n";
    }
    let end = if separator.is_empty() { "}\n" } else { "\n}\n" };
    out.extend_from_slice(end.as_bytes());
}

/// Writes the queue table of `tc_classify --list`. The HTB major is in upper-case hexadecimal.
pub fn write_txq_table(out: &mut Vec<u8>, rows: impl IntoIterator<Item = TxqRow>) {
    const RULE: &str = "|-----------+---------------+-----------|";
    push_text(out, format_args!("{RULE}\n| key (cpu) | queue_mapping | htb_major |\n{RULE}\n"));
    for TxqRow { cpu, queue_mapping, htb_major } in rows {
        push_text(
            out,
            format_args!("|    {cpu:<6} |        {queue_mapping:<6} |  0x{htb_major:<6X} |\n"),
        );
    }
    push_text(out, format_args!("{RULE}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prefix::parse_cidr;
    use crate::domain::TcHandle;
    use crate::format::push::text;

    fn json(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    fn mapping(cidr: &str, cpu: u32, tc_handle: u32) -> Mapping {
        Mapping { prefix: parse_cidr(cidr).unwrap(), cpu, tc_handle: TcHandle(tc_handle) }
    }

    #[test]
    fn list_is_the_contract_to_the_byte() {
        let entries = [
            mapping("100.64.0.2", 1, 0x2_0005),
            mapping("2001:db8::/32", 63, 0xabc_00ff),
            mapping("::/0", 0, 0),
        ];
        let out = text(|out| write_mappings(out, entries));
        let golden = concat!(
            "{\n",
            r#""100.64.0.2/32" : { "cpu" : 1, "tc_maj" : "2" , "tc_min" : "5" }"#,
            ",\n",
            r#""2001:db8::/32" : { "cpu" : 63, "tc_maj" : "ABC" , "tc_min" : "FF" }"#,
            ",\n",
            r#""::/0" : { "cpu" : 0, "tc_maj" : "0" , "tc_min" : "0" }"#,
            "\n}\n",
        );
        assert_eq!(out, golden);
        assert_eq!(json(&out)["2001:db8::/32"]["cpu"], 63);
    }

    #[test]
    fn list_of_nothing_is_valid() {
        let out = text(|out| write_mappings(out, []));
        assert_eq!(out, "{\n}\n");
        assert_eq!(json(&out), serde_json::json!({}));
    }

    #[test]
    fn queue_table_keeps_the_predecessors_layout() {
        let rows = [
            TxqRow { cpu: 0, queue_mapping: 1, htb_major: 1 },
            TxqRow { cpu: 63, queue_mapping: 64, htb_major: 0x40 },
        ];
        let golden = "\
            |-----------+---------------+-----------|\n\
            | key (cpu) | queue_mapping | htb_major |\n\
            |-----------+---------------+-----------|\n\
            |    0      |        1      |  0x1      |\n\
            |    63     |        64     |  0x40     |\n\
            |-----------+---------------+-----------|\n";
        assert_eq!(text(|out| write_txq_table(out, rows)), golden);
    }
}

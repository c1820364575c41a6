// SPDX-License-Identifier: GPL-2.0-only
//! Rust text from the C headers of `include/`: constants, arithmetic, enums and counters. The headers are
//! the only source; a skeleton holds types, but neither macros nor enums.

use std::fmt::Write as _;

/// Returns the Rust table of a counter list: its `MACRO(name, "help")` lines, in their order.
pub fn counter_table(source: &str, macro_name: &str, table_name: &str) -> String {
    let mut table =
        String::from("/// Name and meaning of each counter, in the order of the C side's enum.\n");
    let _ = writeln!(table, "pub const {table_name}: &[(&str, &str)] = &[");
    let start = format!("{macro_name}(");
    for line in source.lines().filter_map(|line| line.strip_prefix(&start)) {
        let line = line.split(" /*").next().unwrap_or_default();
        if let Some((name, help)) = line.trim_end_matches(')').split_once(", ") {
            let _ = writeln!(table, "    (\"{name}\", {help}),");
        }
    }
    table.push_str("];\n");
    table
}

/// Translates the macros of `include/<header>.h` that are integers or arithmetic on integers.
pub fn constants(header: &str, source: &str) -> String {
    let source = source.replace("\\\n", " ");
    let macros = source.lines().filter_map(|line| line.strip_prefix("#define "));
    let without_comment = macros.map(|line| line.split("/*").next().unwrap_or_default().trim());
    without_comment.filter_map(|line| constant(header, line)).collect()
}

/// Translates one macro: `NAME integer` to a constant, `NAME(a, b) expression` to a function. The
/// operators that such expressions use mean the same in C and in Rust. Returns `None` for any other
/// macro.
fn constant(header: &str, line: &str) -> Option<String> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = line.split_at(end);
    let doc = format!("/// `{name}` of include/{header}.h.\n");
    let Some(rest) = rest.strip_prefix('(') else {
        let value = without_suffixes(rest.trim());
        let value = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')).unwrap_or(&value);
        return is_arithmetic(value, &[])
            .then(|| format!("{doc}pub const {name}: u64 = {value};\n"));
    };
    let (parameters, body) = rest.split_once(')')?;
    let parameters: Vec<&str> = parameters.split(',').map(str::trim).collect();
    let body = without_suffixes(body.trim());
    let declared: Vec<String> = parameters.iter().map(|name| format!("{name}: u64")).collect();
    is_arithmetic(&body, &parameters).then(|| {
        format!(
            "{doc}#[allow(unused_parens, clippy::precedence)]\npub const fn {}({}) -> u64 {{\n    {body}\n}}\n",
            name.to_lowercase(),
            declared.join(", ")
        )
    })
}

/// Removes the suffixes `U` and `L` from numbers: `1ULL << 32` becomes `1 << 32`.
fn without_suffixes(expression: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for c in expression.chars() {
        if in_number && matches!(c, 'U' | 'L') {
            continue;
        }
        let continues = out.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '_');
        in_number = if continues { in_number } else { c.is_ascii_digit() };
        out.push(c);
    }
    out
}

/// Tells whether an expression holds only numbers, `names`, constants and operators on integers.
fn is_arithmetic(expression: &str, names: &[&str]) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let known = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            || names.contains(&word)
            || word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let operators = |c: char| is_word(c) || " ()<>|&^+-*/%".contains(c);
    let words = expression.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    !expression.is_empty() && expression.chars().all(operators) && words.clone().all(known)
}

/// A C enum, and the Rust enum that is generated from it.
pub struct SharedEnum {
    /// Header that defines the enum: `include/<header>.h`.
    pub header: &'static str,
    pub c_name: &'static str,
    /// Prefix of the enumerators, which the Rust variants drop.
    pub prefix: &'static str,
    pub rust_name: &'static str,
    /// Generated file: `$OUT_DIR/<file>.rs`. Several enums may share one.
    pub file: &'static str,
}

impl SharedEnum {
    /// Names an enum, in the order of the fields.
    pub const fn new([header, c_name, prefix, rust_name, file]: [&'static str; 5]) -> Self {
        Self { header, c_name, prefix, rust_name, file }
    }
}

/// Translates one enum; returns `None` if `source` does not define it. The enumerator `<PREFIX>NONE`
/// of value 0 becomes a constant and not a variant: in Rust, `Option::None` takes its place.
pub fn rust_enum(wanted: &SharedEnum, source: &str) -> Option<String> {
    let SharedEnum { header, c_name, prefix, rust_name, .. } = wanted;
    let (_, body) = source.split_once(&format!("\nenum {c_name} {{\n"))?;
    let (body, _) = body.split_once("\n}")?;
    let (mut variants, mut arms, mut none) = (String::new(), String::new(), "");
    for line in body.lines().map(str::trim) {
        let Some((name, rest)) = line.split_once(" = ") else { continue };
        let (value, comment) = rest.split_once(',').unwrap_or((rest, ""));
        let Some(name) = name.strip_prefix(prefix) else { continue };
        if name == "NONE" && value.trim() == "0" {
            none = "    /// The C value for \"no value\".\n    pub const NONE: u32 = 0;\n\n";
            continue;
        }
        let comment = comment.trim().trim_start_matches("/*").trim_end_matches("*/").trim();
        let doc = if comment.is_empty() { format!("`{prefix}{name}`.") } else { comment.into() };
        let (name, value) = (camel_case(name), value.trim());
        let _ = writeln!(variants, "    /// {doc}\n    {name} = {value},");
        let _ = writeln!(arms, "            {value} => Some(Self::{name}),");
    }
    Some(format!(
        "/// `enum {c_name}` of include/{header}.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum {rust_name} {{
{variants}}}

impl {rust_name} {{
{none}    /// Converts a C value. Returns `None` for an unknown value, and for 0 if that means \"no value\".
    pub fn from_abi(value: u32) -> Option<Self> {{
        match value {{
{arms}            _ => None,
        }}
    }}

    /// Returns the C value.
    pub const fn to_abi(self) -> u32 {{
        self as u32
    }}
}}
"
    ))
}

/// Converts a name in capitals to camel case: `SYN_ACK` becomes `SynAck`.
fn camel_case(name: &str) -> String {
    let mut out = String::new();
    for word in name.split('_') {
        let lower = word.to_lowercase();
        let mut letters = lower.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_arithmetic_are_translated() {
        let source = "#define ONE 1ULL /* one */\n#define BIT (1U << 31)\n#define HALF(x) \\\n\t((x) >> 1)\n\
                      #define SEC(name) __attribute__((section(name)))\n#define GUARD_H\n";
        let expected = "/// `ONE` of include/a.h.\npub const ONE: u64 = 1;\n\
                        /// `BIT` of include/a.h.\npub const BIT: u64 = 1 << 31;\n\
                        /// `HALF` of include/a.h.\n#[allow(unused_parens, clippy::precedence)]\n\
                        pub const fn half(x: u64) -> u64 {\n    ((x) >> 1)\n}\n";
        assert_eq!(constants("a", source), expected);
    }

    #[test]
    fn an_enum_keeps_its_values_and_comments() {
        let source =
            "\nenum why {\n\tWHY_NONE = 0, /* nothing */\n\tWHY_SYN_ACK = 2, /* a SYN-ACK */\n};\n";
        let wanted = SharedEnum::new(["a", "why", "WHY_", "Why", "why"]);
        let text = rust_enum(&wanted, source).unwrap();
        for part in
            ["pub enum Why {\n    /// a SYN-ACK\n    SynAck = 2,\n}", "pub const NONE: u32 = 0;"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.contains("2 => Some(Self::SynAck),") && !text.contains("None = 0"), "{text}");
        assert!(rust_enum(&wanted, "").is_none());
    }

    #[test]
    fn counters_keep_their_order() {
        let source = "/* text */\nCOUNTER(a, \"first\")\nCOUNTER(b, \"second\") /* why */\n";
        let table = counter_table(source, "COUNTER", "ALL");
        assert!(
            table.ends_with("= &[\n    (\"a\", \"first\"),\n    (\"b\", \"second\"),\n];\n"),
            "{table}"
        );
    }
}

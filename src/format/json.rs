// SPDX-License-Identifier: GPL-2.0-only
//! Writes JSON objects. All JSON goes through here, except two texts that the contract fixes to the
//! byte, spaces included: the array of `xdp_pping` (`snapshot_formats/json.rs`) and the list of
//! mappings (`tables.rs`).
//!
//! Written by hand, because serde_json would need a type for each record, and because numbers with
//! two decimals, addresses and tc handles are appended without a temporary string. serde_json
//! writes the strings, with their escapes, and the floating-point numbers.

use crate::format::push::{push_ms, push_number};

/// The white space of a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLayout {
    /// No white space.
    Compact,
    /// A line for each member, indented by two spaces a level. The number is the level of the
    /// object itself; its members are one level deeper.
    Indented(usize),
}

impl JsonLayout {
    /// Returns the layout of values inside a value of this layout.
    fn inner(self) -> Self {
        match self {
            Self::Compact => Self::Compact,
            Self::Indented(level) => Self::Indented(level + 1),
        }
    }

    /// Starts a new line at this level, unless the layout is compact.
    fn new_line(self, out: &mut Vec<u8>) {
        if let Self::Indented(level) = self {
            out.push(b'\n');
            out.resize(out.len() + 2 * level, b' ');
        }
    }
}

/// An object that is being written. Each method writes one member, with the comma before it. Names
/// must need no escapes: they are constants of the callers.
pub struct JsonObject<'a> {
    out: &'a mut Vec<u8>,
    layout: JsonLayout,
    /// Whether no member has been written yet.
    empty: bool,
}

impl<'a> JsonObject<'a> {
    /// Appends an object to `out`. `fields` writes its members.
    pub fn write(
        out: &'a mut Vec<u8>,
        layout: JsonLayout,
        fields: impl FnOnce(&mut JsonObject<'_>),
    ) {
        out.push(b'{');
        let mut object = JsonObject { out, layout, empty: true };
        fields(&mut object);
        if !object.empty {
            layout.new_line(object.out);
        }
        object.out.push(b'}');
    }

    /// Writes the name of a member and returns the buffer, to which the caller must append one
    /// value.
    fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.layout.inner().new_line(self.out);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(match self.layout {
            JsonLayout::Compact => b"\":",
            JsonLayout::Indented(_) => b"\": ",
        });
        self.out
    }

    /// Writes an integer.
    pub fn number(&mut self, name: &str, number: u64) {
        push_number(self.field(name), number);
    }

    /// Writes a floating-point number; `null` if it is infinite or NaN, which JSON does not have.
    pub fn float(&mut self, name: &str, number: f64) {
        let out = self.field(name);
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(out, &number);
    }

    /// Writes nanoseconds as milliseconds with two decimals.
    pub fn ms(&mut self, name: &str, ns: u64) {
        push_ms(self.field(name), ns);
    }

    /// Writes `true` or `false`.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.field(name).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Writes `null`.
    pub fn null(&mut self, name: &str) {
        self.field(name).extend_from_slice(b"null");
    }

    /// Writes a string that `push_text` appends. It must need no escapes.
    pub fn unescaped_string(&mut self, name: &str, push_text: impl FnOnce(&mut Vec<u8>)) {
        let out = self.field(name);
        out.push(b'"');
        push_text(out);
        out.push(b'"');
    }

    /// Writes a string with the escapes that it needs.
    pub fn string(&mut self, name: &str, text: &str) {
        let out = self.field(name);
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
    }

    /// Writes an object whose members `fields` writes.
    pub fn object(&mut self, name: &str, fields: impl FnOnce(&mut JsonObject<'_>)) {
        let layout = self.layout.inner();
        JsonObject::write(self.field(name), layout, fields);
    }

    /// Writes an object, or `null` if `value` is `None`.
    pub fn optional<T>(
        &mut self,
        name: &str,
        value: Option<T>,
        fields: impl FnOnce(&mut JsonObject<'_>, T),
    ) {
        match value {
            Some(value) => self.object(name, |object| fields(object, value)),
            None => self.null(name),
        }
    }

    /// Writes an array with an object for each item.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        fields: impl Fn(&mut JsonObject<'_>, T),
    ) {
        let layout = self.layout.inner();
        let out = self.field(name);
        out.push(b'[');
        let mut empty = true;
        for item in items {
            if !empty {
                out.push(b',');
            }
            empty = false;
            layout.inner().new_line(out);
            JsonObject::write(out, layout.inner(), |object| fields(object, item));
        }
        if !empty {
            layout.new_line(out);
        }
        out.push(b']');
    }

    /// Writes an array of integers, on one line.
    pub fn numbers(&mut self, name: &str, numbers: &[u64]) {
        let out = self.field(name);
        out.push(b'[');
        for (index, number) in numbers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_number(out, *number);
        }
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(layout: JsonLayout) -> String {
        let mut out = Vec::new();
        JsonObject::write(&mut out, layout, |object| {
            object.number("n", 7);
            object.string("name", "a\"b\n");
            object.float("rate", 1.0);
            object.flag("on", true);
            object.objects("list", [1, 2], |object, n| object.number("n", n));
            object.objects("none", [], |object, n| object.number("n", n));
            object.object("empty", |_| ());
            object.optional("gone", None::<u64>, |object, n| object.number("n", n));
            object.optional("there", Some(3), |object, n| object.number("n", n));
            object.ms("time", 1_234_567);
            object.unescaped_string("handle", |out| out.extend_from_slice(b"1:5"));
            object.numbers("bins", &[0, u64::MAX]);
            object.float("infinite", f64::INFINITY);
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_layouts_are_valid_json() {
        let compact = sample(JsonLayout::Compact);
        let value: serde_json::Value = serde_json::from_str(&compact).unwrap();
        let golden = r#"{"n":7,"name":"a\"b\n","rate":1.0,"on":true,"list":[{"n":1},{"n":2}],"none":[],"empty":{},"gone":null,"there":{"n":3},"time":1.23,"handle":"1:5","bins":[0,18446744073709551615],"infinite":null}"#;
        assert_eq!(compact, golden);
        let indented = sample(JsonLayout::Indented(0));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&indented).unwrap(), value);
        let golden = "{\n  \"n\": 7,\n  \"name\": \"a\\\"b\\n\",\n  \"rate\": 1.0,\n  \"on\": true,\n  \
                      \"list\": [\n    {\n      \"n\": 1\n    },\n    {\n      \"n\": 2\n    }\n  ],\n  \
                      \"none\": [],\n  \"empty\": {},\n  \"gone\": null,\n  \"there\": {\n    \"n\": 3\n  },\n  \
                      \"time\": 1.23,\n  \"handle\": \"1:5\",\n  \"bins\": [0,18446744073709551615],\n  \
                      \"infinite\": null\n}";
        assert_eq!(indented, golden);
    }
}

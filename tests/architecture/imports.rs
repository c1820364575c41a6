// SPDX-License-Identifier: GPL-2.0-only
//! Reads the imports of a file: of Rust as tokens, of C as text.

use std::str::FromStr;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// A path from the crate's root that a file of Rust uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Line of the file, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// The names after `crate::`. Empty: the crate under another name, or a file from elsewhere, of
    /// which nothing is known.
    pub path: Vec<String>,
}

/// Returns every path that starts with `crate`, `$crate` or `super` outside what is compiled for unit
/// tests only; each name of a `use {…}` by itself. `file` is the path below the crate's `src/`.
pub fn rust_imports(file: &str, text: &str) -> Vec<Import> {
    let mut reader = Reader { lines: text.lines().collect(), found: Vec::new() };
    let tokens = TokenStream::from_str(text).unwrap_or_else(|err| panic!("{file}: {err}"));
    reader.read(tokens, &module(file));
    reader.found
}

/// The module path of a file.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|name| !["lib", "main"].contains(name)).map(str::to_owned).collect()
}

/// Returns whether the file compiles that child module for unit tests only.
pub fn is_test_module(text: &str, child: &str) -> bool {
    let tokens: Vec<_> = TokenStream::from_str(text).unwrap().into_iter().collect();
    let (mut at, mut declared) = (0, false);
    while at < tokens.len() {
        match test_item(&tokens[at..]) {
            Some(length) => at += length,
            None => {
                declared |= is_word(&tokens[at], "mod") && is_word_at(&tokens, at + 1, child);
                at += 1;
            }
        }
    }
    !declared
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    found: Vec<Import>,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            if let Some(length) = test_item(rest) {
                at += length;
                continue;
            }
            match &rest[0] {
                TokenTree::Ident(word) if hides_a_path(rest) => self.push(word, Vec::new()),
                TokenTree::Ident(word) if word == "crate" => self.path(word, rest, Vec::new()),
                TokenTree::Ident(word) if word == "super" && !follows_path(&tokens[..at]) => {
                    let up = module.len().saturating_sub(1);
                    self.path(word, rest, module[..up].to_vec());
                }
                TokenTree::Group(group) => {
                    let mut inner = module.to_vec();
                    inner.extend(inline_module(&tokens[..at]));
                    self.read(group.stream(), &inner);
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads the path that begins with `word`, the first token, which stands for `prefix`.
    fn path(&mut self, word: &Ident, tokens: &[TokenTree], prefix: Vec<String>) {
        if is_path_separator(&tokens[1..]) {
            self.expand(word, &tokens[3..], prefix);
        }
    }

    /// Reads `a::{b, c::d}` into its paths.
    fn expand(&mut self, word: &Ident, tokens: &[TokenTree], mut prefix: Vec<String>) {
        match tokens.first() {
            Some(TokenTree::Ident(name)) => {
                match name.to_string().trim_start_matches("r#") {
                    "super" => drop(prefix.pop()),
                    name => prefix.push(name.to_owned()),
                }
                if is_path_separator(&tokens[1..]) {
                    self.expand(word, &tokens[3..], prefix);
                } else {
                    self.push(word, prefix);
                }
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let names: Vec<_> = group.stream().into_iter().collect();
                for name in names.split(|token| is_mark(token, ',')).filter(|it| !it.is_empty()) {
                    self.expand(word, name, prefix.clone());
                }
            }
            Some(TokenTree::Punct(mark)) if mark.as_char() == '*' => {
                prefix.push("*".to_owned());
                self.push(word, prefix);
            }
            // The generic arguments of a function.
            _ => self.push(word, prefix),
        }
    }

    fn push(&mut self, word: &Ident, path: Vec<String>) {
        let line = word.span().start().line;
        self.found.push(Import { line, text: self.lines[line - 1].trim().to_owned(), path });
    }
}

/// The number of tokens of `#[cfg(test)]` and the item that it marks, if the tokens begin with it.
fn test_item(tokens: &[TokenTree]) -> Option<usize> {
    let [hash, TokenTree::Group(attribute), rest @ ..] = tokens else { return None };
    if !is_mark(hash, '#') || attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return None;
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => is_mark(token, ';') || is_mark(token, ','),
    };
    Some(2 + rest.iter().position(ends).map_or(rest.len(), |last| last + 1))
}

/// What would hide an import: `extern crate`, `crate as`, `#[path = …]`, and an `include!` of anything
/// but what build.rs has made (`concat!(env!("OUT_DIR"), …)`).
fn hides_a_path(tokens: &[TokenTree]) -> bool {
    let included = |token: Option<&TokenTree>| match token {
        Some(TokenTree::Group(group)) => !group.stream().to_string().contains("\"OUT_DIR\""),
        _ => false,
    };
    match tokens[0].to_string().as_str() {
        "extern" => is_word_at(tokens, 1, "crate"),
        "crate" => is_word_at(tokens, 1, "as"),
        "path" => tokens.len() == 3 && is_mark(&tokens[1], '='),
        "include" => is_mark_at(tokens, 1, '!') && included(tokens.get(2)),
        _ => false,
    }
}

/// The name of the module whose braces follow these tokens.
fn inline_module(before: &[TokenTree]) -> Option<String> {
    match before {
        [.., keyword, name] if is_word(keyword, "mod") => Some(name.to_string()),
        _ => None,
    }
}

/// Returns whether the next token is in the middle of a path.
fn follows_path(before: &[TokenTree]) -> bool {
    let length = before.len();
    length > 2 && is_path_separator(&before[length - 2..]) && !is_word(&before[length - 3], "self")
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    is_mark_at(tokens, 0, ':') && is_mark_at(tokens, 1, ':')
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(name) if name == word)
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == mark)
}

fn is_word_at(tokens: &[TokenTree], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|token| is_word(token, word))
}

fn is_mark_at(tokens: &[TokenTree], at: usize, mark: char) -> bool {
    tokens.get(at).is_some_and(|token| is_mark(token, mark))
}

/// Returns the line and the name of every `#include "…"` and `#include <…>`, also behind a comment.
pub fn c_includes(text: &str) -> Vec<(usize, &str)> {
    let name = |line: &'_ str| -> Option<(usize, usize)> {
        let hash = line.rfind("*/").map_or(0, |end| end + 2);
        let directive = line[hash..].trim_start().strip_prefix('#')?.trim_start();
        let rest = directive.strip_prefix("include")?;
        let start = line.len() - rest.len() + rest.find(['"', '<'])? + 1;
        Some((start, start + line[start..].find(['"', '>'])?))
    };
    let lines = text.lines().zip(1..);
    lines.filter_map(|(line, number)| name(line).map(|(a, b)| (number, &line[a..b]))).collect()
}

#[test]
fn paths_are_read_from_every_form_of_use() {
    let paths = |text: &str| -> Vec<String> {
        let imports = rust_imports("kernel/link.rs", text);
        imports.into_iter().map(|import| import.path.join("::")).collect()
    };
    assert_eq!(paths("use crate::a::b;"), ["a::b"]);
    assert_eq!(
        paths("pub use crate::a::{self, b, c::{d, e as f}, g};"),
        ["a::self", "a::b", "a::c::d", "a::c::e", "a::g"]
    );
    assert_eq!(paths("pub(crate) use crate::{\n    a, // one; two\n    b::c,\n};"), ["a", "b::c"]);
    assert_eq!(paths("let x = crate::a::b(crate::c::D::<u8>());"), ["a::b", "c::D"]);
    assert_eq!(paths("use crate :: a ::\n b; use crate::r#c;"), ["a::b", "c"]);
    assert_eq!(paths("// use crate::a;\n/* crate::b */ my_crate::c; \"crate::d\""), [""; 0]);
    assert_eq!(paths("vec![$crate::b, crate::c]"), ["b", "c"]);
    assert_eq!(paths("pub(super) use super::xdp; super::super::a::b();"), ["kernel::xdp", "a::b"]);
    assert_eq!(
        paths("mod m { use super::n; use super::super::o; }"),
        ["kernel::link::n", "kernel::o"]
    );
    assert_eq!(paths("#[cfg(test)] mod t;\n#[cfg(test)] use crate::a;\nuse crate::b;"), ["b"]);
    for hidden in ["use crate as c;", "extern crate self as me;", "#[path = \"x.rs\"] mod x;"] {
        assert_eq!(paths(hidden), [""], "{hidden}");
    }
    assert_eq!(paths("include!(\"x.rs\"); include!(concat!(env!(\"OUT_DIR\"), \"/y.rs\"));"), [""]);
}

#[test]
fn a_module_of_tests_is_declared_as_one() {
    assert!(is_test_module("mod a;\n#[cfg(test)]\nmod tests;\nmod b;", "tests"));
    assert!(!is_test_module("#[cfg(test)]\nmod a;\nmod tests;", "tests"));
}

#[test]
fn includes_are_read_in_every_form() {
    let text =
        "#include <x.h>\n# include \"y.h\"\n/* z */ #include \"a/z.h\"\n// #include \"no.h\"\n";
    assert_eq!(c_includes(text), [(1, "x.h"), (2, "y.h"), (3, "a/z.h")]);
}

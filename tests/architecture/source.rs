//! Reads files the way the rules need them: without comments, strings and test code, as whole paths.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// One file of the project; its path is relative to the root and has `/` between its parts.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Whether the file is a room or lies in it: `src/store` holds `src/store.rs` and `src/store/…`.
    pub(crate) fn is_in(&self, room: &str) -> bool {
        let Some(rest) = self.path.strip_prefix(room) else {
            return false;
        };
        rest.is_empty() || rest == ".rs" || rest.starts_with('/')
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file as a whole is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
    }

    pub(crate) fn breach(&self, line: usize, reason: impl Into<String>) -> Breach {
        Breach {
            path: self.path.clone(),
            line,
            reason: reason.into(),
        }
    }

    /// The text with comments, strings and characters blanked out; the lines stay where they were.
    pub(crate) fn code(&self) -> String {
        blank_prose(&self.text)
    }

    /// What [`Source::code`] answers, without test code.
    pub(crate) fn shipped_code(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        blank_tests(&self.code())
    }
}

/// A place that breaks a rule, and which.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.reason)
    }
}

/// All files below a directory of the project, sorted; none where there is no such directory.
pub(crate) fn files_below(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut pending = vec![root.join(directory)];
    while let Some(path) = pending.pop() {
        let Ok(entries) = path.read_dir() else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("the directory can be read").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let relative = path.strip_prefix(root).expect("the file is ours");
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            sources.push(Source::new(&parts.join("/"), &text));
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Number of the line that holds the byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn blank_prose(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = prose_end(text, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut bytes[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where the comment, string or character that begins at `at` ends; `at` itself if none begins.
fn prose_end(text: &str, at: usize) -> usize {
    let Some(rest) = text.get(at..) else {
        return at;
    };
    let after_name = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let ends = |length: Option<usize>| at + length.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return ends(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        return ends(block_comment_length(rest));
    }
    if rest.starts_with('"') {
        return ends(quoted_length(rest, '"'));
    }
    if rest.starts_with('r') && !after_name {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return ends(rest[body..].find(&close).map(|n| body + n + close.len()));
        }
    }
    let mut chars = rest.chars();
    if chars.next() == Some('\'') {
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || second == Some('\'') {
            return ends(quoted_length(rest, '\''));
        }
    }
    at
}

fn block_comment_length(rest: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let step = match rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (1, 2),
            [b'*', b'/', ..] => (-1, 2),
            _ => (0, 1),
        };
        depth += step.0;
        at += step.1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn quoted_length(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Blanks each item that stands after `#[cfg(test)]`: to its closing brace, or to its `;`.
fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut blanked = code.to_owned();
    let mut from = 0;
    while let Some(found) = blanked[from..].find(MARK) {
        let begin = from + found;
        let mut depth = 0usize;
        let mut end = blanked.len();
        for (at, c) in blanked[begin + MARK.len()..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = begin + MARK.len() + at + 1;
                break;
            }
        }
        let kept = |c: char| if c == '\n' { '\n' } else { ' ' };
        let blank: String = blanked[begin..end].chars().map(kept).collect();
        blanked.replace_range(begin..end, &blank);
        from = begin + blank.len();
    }
    blanked
}

/// A path as the code means it: `crate::…`, or the name of a foreign crate and what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) path: String,
}

impl Named {
    /// Whether the path lies in `name`: below that path of ours, or in the family of that foreign
    /// crate (`prost` stands for `prost_types` too).
    pub(crate) fn belongs_to(&self, name: &str) -> bool {
        if name.contains("::") {
            return self.is_below(name);
        }
        let root = self.path.split("::").next().unwrap_or_default();
        let rest = root.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    }

    /// Whether the path is `prefix` or lies below it.
    pub(crate) fn is_below(&self, prefix: &str) -> bool {
        let rest = self.path.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// All paths that the code of a file names, with `use` groups spread out, `super` and `self`
/// resolved from where the file stands, and names replaced by what they were imported as.
pub(crate) fn named_paths(file: &str, code: &str) -> Vec<Named> {
    let mut raw: Vec<(bool, usize, Vec<String>, Option<String>)> = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let length = name_length(rest);
        if length == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let before = code[..at].trim_end();
        let used = before.ends_with("use") && name_tail(before) == "use";
        if before.ends_with("::") || !(used || rest[length..].trim_start().starts_with("::")) {
            at += length;
            continue;
        }
        let line = line_of(code, at);
        let mut leaves = Vec::new();
        at += read_tree(rest, &[], &mut leaves);
        raw.extend(
            leaves
                .into_iter()
                .map(|(path, alias)| (used, line, path, alias)),
        );
    }
    let mut imported = HashMap::new();
    for (_, _, path, alias) in raw.iter().filter(|(used, ..)| *used) {
        let path = absolute(file, path);
        let last = path.rsplit("::").next().unwrap_or_default().to_owned();
        imported.insert(alias.clone().unwrap_or(last), path);
    }
    let resolve = |used: bool, path: &[String]| match path.split_first() {
        Some((first, rest)) if !used && imported.contains_key(first) => {
            let parts = [imported[first].as_str()].into_iter();
            let parts = parts.chain(rest.iter().map(String::as_str));
            parts.collect::<Vec<_>>().join("::")
        }
        _ => absolute(file, path),
    };
    raw.into_iter()
        .map(|(used, line, path, _)| Named {
            line,
            path: resolve(used, &path),
        })
        .collect()
}

type Leaf = (Vec<String>, Option<String>);

/// Reads `a::b`, `a::{b, c::d as e}` and so on; answers how long it was.
fn read_tree(text: &str, above: &[String], leaves: &mut Vec<Leaf>) -> usize {
    let mut path = above.to_vec();
    let mut at = 0;
    loop {
        at += blank_length(&text[at..]);
        let length = name_length(&text[at..]);
        if length == 0 {
            break;
        }
        let name = &text[at..at + length];
        if name != "self" || path.is_empty() {
            path.push(name.to_owned());
        }
        at += length;
        let blank = blank_length(&text[at..]);
        if !text[at + blank..].starts_with("::") {
            break;
        }
        at += blank + 2;
    }
    at += blank_length(&text[at..]);
    if !text[at..].starts_with('{') || !text[..at].trim_end().ends_with("::") {
        let rest = text[at..].strip_prefix("as ");
        let alias = rest.map(|rest| rest[..name_length(rest)].to_owned());
        leaves.push((path, alias));
        return at;
    }
    at += 1;
    while at < text.len() && !text[at..].starts_with('}') {
        at += read_tree(&text[at..], &path, leaves);
        let rest = &text[at..];
        at += rest.find([',', '}']).unwrap_or(rest.len());
        at += usize::from(text[at..].starts_with(','));
        at += blank_length(&text[at..]);
    }
    (at + 1).min(text.len())
}

fn absolute(file: &str, path: &[String]) -> String {
    let stem = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut here: Vec<&str> = stem.split('/').collect();
    if matches!(here.last(), Some(&("mod" | "lib" | "main"))) {
        here.pop();
    }
    let mut rest = path.iter().map(String::as_str).peekable();
    if !matches!(rest.peek(), Some(&("self" | "super"))) {
        return path.join("::");
    }
    while let Some(word @ ("self" | "super")) = rest.peek().copied() {
        if word == "super" {
            here.pop();
        }
        rest.next();
    }
    let parts = ["crate"].into_iter().chain(here).chain(rest);
    parts.collect::<Vec<_>>().join("::")
}

fn name_length(text: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.find(|c| !part(c)).unwrap_or(text.len())
}

fn name_tail(text: &str) -> &str {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    &text[text.rfind(|c| !part(c)).map_or(0, |at| at + 1)..]
}

fn blank_length(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

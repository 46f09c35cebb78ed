//! SECURITY.md is held to the tests: whatever it names as shown by a test is one.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends a test")]

use std::fs;
use std::path::Path;

const SECURITY: &str = include_str!("../SECURITY.md");
const HEAD: &str = "| threat | control | shown by |";

/// What the table names as tests: a file, and some that stand in it.
fn named(table: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let rows = table.lines().skip_while(|line| *line != HEAD).skip(2);
    let mut all = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [threat, _, shown] = cells[..] else {
            return Err(format!("not three cells: {row}"));
        };
        let mut files: Vec<(String, Vec<String>)> = Vec::new();
        for word in shown.split('`').skip(1).step_by(2) {
            match files.last_mut() {
                _ if word.contains('/') => files.push((word.to_owned(), Vec::new())),
                Some((_, tests)) => tests.push(word.to_owned()),
                None => return Err(format!("a test without its file: {word}")),
            }
        }
        if files.is_empty() || files.iter().any(|(_, tests)| tests.is_empty()) {
            return Err(format!("no test is named: {threat}"));
        }
        all.extend(files);
    }
    Ok(all)
}

#[test]
fn every_test_that_security_names_is_one() {
    let named = named(SECURITY).unwrap();
    assert!(named.len() > 20, "the table was found");
    for (file, tests) in named {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
        for test in tests {
            let begins = [format!("fn {test}("), format!("def {test}(")];
            assert!(
                begins.iter().any(|begin| text.contains(begin)),
                "{file} has no {test}"
            );
        }
    }
}

#[test]
fn a_row_without_a_test_is_noticed() {
    let table = |row: &str| format!("{HEAD}\n|---|---|---|\n{row}\n");
    assert!(named(&table("| a | b | `src/x.rs` `y` |")).is_ok());
    for wrong in [
        "| a | b | - |",
        "| a | b | `src/x.rs` |",
        "| a | b | `y` |",
        "| a | b |",
    ] {
        assert!(named(&table(wrong)).is_err(), "{wrong}");
    }
}

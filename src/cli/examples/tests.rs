//! Every command teaches by lines that it understands.

use std::ffi::OsString;

use clap::Command as Syntax;

use super::super::args::{parse, syntax};
use super::EXAMPLES;

/// The words of the program's call in a line, as a shell reads it, without redirections, variables and
/// what it is piped into.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '|' | '<' | '>') => break,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words.retain(|word| !word.starts_with("TOKEN_AUTHORITY_"));
    words
}

/// The commands that do something, by their words.
fn leaves(command: &Syntax, path: &str) -> Vec<String> {
    if !command.has_subcommands() {
        return vec![path.trim_start().to_owned()];
    }
    let below = command.get_subcommands();
    let leaves = below.map(|below| leaves(below, &format!("{path} {}", below.get_name())));
    leaves.flatten().collect()
}

#[test]
fn every_example_is_understood() {
    for (command, examples) in EXAMPLES {
        for (_, line) in *examples {
            let parsed = parse(words(line).into_iter().map(OsString::from));
            assert!(parsed.is_ok(), "{command}: {line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn every_command_has_two_or_three_examples_and_shows_them() {
    let known = leaves(&syntax(), "");
    for command in &known {
        let found = EXAMPLES.iter().find(|(of, _)| of == command);
        let (_, examples) = found.unwrap_or_else(|| panic!("{command} teaches nothing"));
        assert!((2..=3).contains(&examples.len()), "{command}");
        let line = format!("token-authority {command} --help");
        let help = parse(line.split(' ').map(OsString::from)).unwrap_err();
        let help = help.render().to_string();
        for (what, line) in *examples {
            assert!(
                help.contains(what) && help.contains(line),
                "{command}: {help}"
            );
        }
    }
    assert_eq!(known.len(), EXAMPLES.len(), "examples of no command");
}

#[test]
fn examples_stand_before_what_else_follows_the_flags() {
    let help = |line: &str| {
        let words = line.split(' ').map(OsString::from);
        parse(words).unwrap_err().render().to_string()
    };
    let long = help("token-authority usage --help");
    assert!(long.find("Examples:") < long.find("Exit codes:"), "{long}");
    let short = help("token-authority usage -h");
    assert!(
        !short.contains("Examples:") && short.contains("Exit codes:"),
        "{short}"
    );
}

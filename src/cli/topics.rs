//! What the program's own `--help` begins with: its commands, by what they are for.

use std::fmt::Write;

use clap::Command as Syntax;
use clap::builder::styling::Style;

/// Every command, under one topic each.
const TOPICS: [(&str, &[&str]); 5] = [
    ("Tokens", &["token", "namespace", "whoami"]),
    ("Pools and leases", &["pool", "lease"]),
    ("What happens", &["usage", "overview", "watch"]),
    (
        "Running a server",
        &["serve", "init", "config", "doctor", "healthcheck"],
    ),
    ("This program", &["context", "completions"]),
];

const LAST: &str = "Say token-authority help COMMAND, or COMMAND --help, for examples and flags.";

/// The same tree, whose own help lists commands by topic.
pub(super) fn by_topic(syntax: Syntax) -> Syntax {
    let listed = list(&syntax);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listed}\n{LAST}\n\n{{all-args}}{{after-help}}\n"
    );
    // They are listed; all-args would list them again.
    let hidden = syntax.mut_subcommands(|command| command.hide(true));
    let usage = "token-authority [OPTIONS] <COMMAND>";
    hidden.help_template(template).override_usage(usage)
}

fn list(syntax: &Syntax) -> String {
    let names = TOPICS.iter().flat_map(|(_, names)| names.iter());
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (topic, names) in TOPICS {
        let head = Style::new().bold().underline();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{head}{topic}:{head:#}");
        for name in names {
            let about = syntax
                .find_subcommand(name)
                .and_then(Syntax::get_about)
                .map(ToString::to_string);
            let (name, about) = (format!("{name:width$}"), about.unwrap_or_default());
            let bold = Style::new().bold();
            let _ = writeln!(text, "  {bold}{name}{bold:#}  {about}");
        }
        text.push('\n');
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::super::args::syntax;
    use super::*;

    #[test]
    fn every_command_has_one_topic() {
        let mut listed: Vec<&str> = TOPICS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        listed.sort_unstable();
        let syntax = syntax();
        let mut known: Vec<&str> = syntax.get_subcommands().map(Syntax::get_name).collect();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn help_lists_commands_by_topic_and_once() {
        let help = by_topic(syntax()).render_help().to_string();
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text}: {help}"));
        assert!(
            at("Tokens:\n  token ") < at("Running a server:\n  serve "),
            "{help}"
        );
        assert_eq!(help.matches("\n  healthcheck ").count(), 1, "{help}");
        assert!(at("Server options:") < at("Exit codes:"), "{help}");
        assert!(help.contains("<COMMAND>"), "{help}");
    }
}

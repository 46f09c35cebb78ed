//! Colours for people: only where a terminal shows them, and never beside JSON.

use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};

use crate::config::Environment;

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColourChoice {
    #[default]
    Auto,
    Always,
    Never,
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Palette {
    on: bool,
}

const GOOD: Style = AnsiColor::Green.on_default();
const NEAR: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

impl Palette {
    /// No colours.
    pub(super) const PLAIN: Self = Self { on: false };
    #[cfg(test)]
    pub(super) const COLOURED: Self = Self { on: true };

    /// The flag decides, then `NO_COLOR` (no-color.org) and `CLICOLOR_FORCE` (bixense.com/clicolors), then
    /// whether it is a terminal that can.
    pub(super) fn of(choice: ColourChoice, environment: &Environment, terminal: bool) -> Self {
        let variable = |name: &str| environment.get(name).map_or("", String::as_str);
        let on = match choice {
            ColourChoice::Always => true,
            ColourChoice::Never => false,
            ColourChoice::Auto if !variable("NO_COLOR").is_empty() => false,
            ColourChoice::Auto if !matches!(variable("CLICOLOR_FORCE"), "" | "0") => true,
            ColourChoice::Auto => {
                terminal && variable("TERM") != "dumb" && variable("CLICOLOR") != "0"
            }
        };
        Self { on }
    }

    pub(super) fn is_on(self) -> bool {
        self.on
    }

    pub(super) fn paint(self, style: Style, text: &str) -> String {
        match self.on {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }

    /// The head of a table.
    pub(super) fn head(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// A chart.
    pub(super) fn chart(self, text: &str) -> String {
        self.paint(AnsiColor::Cyan.on_default(), text)
    }

    /// What is told under `name` (the head of a column, or what stands before a value), where it is
    /// a state or a verdict; `text` may be padded.
    pub(super) fn value(self, name: &str, text: &str) -> String {
        let style = match name.to_ascii_lowercase().as_str() {
            "state" => of_state(text.trim_end()),
            "verdict" => of_verdict(text.trim_end()),
            _ => None,
        };
        style.map_or_else(|| text.to_owned(), |style| self.paint(style, text))
    }

    /// A verdict.
    pub(super) fn verdict(self, text: &str) -> String {
        self.value("verdict", text)
    }

    /// A line that begins with what kind of line it is, such as `error: `.
    pub(super) fn note(self, line: &str) -> String {
        let kinds = [
            ("error:", BAD.bold()),
            ("warning:", NEAR.bold()),
            ("note:", Style::new().bold()),
        ];
        let found = kinds.iter().find_map(|(kind, style)| {
            let rest = line.strip_prefix(kind)?;
            Some(self.paint(*style, kind) + rest)
        });
        found.unwrap_or_else(|| line.to_owned())
    }

    /// A judgement of `doctor`, or of health.
    pub(super) fn judgement(self, text: &str) -> String {
        let style = match text.trim_end() {
            "ok" | "SERVING" => GOOD,
            "warn" => NEAR,
            _ => BAD,
        };
        self.paint(style, text)
    }

    /// What happened to a token: green for what begins, yellow for what is near, red for what ends.
    pub(super) fn event(self, text: &str) -> String {
        let style = match text.trim_end() {
            "created" | "leased" => GOOD,
            "expiring" | "lease-expired" => NEAR,
            "revoked" | "deleted" | "expired" => BAD,
            _ => return text.to_owned(),
        };
        self.paint(style, text)
    }
}

fn of_state(state: &str) -> Option<Style> {
    match state {
        "active" => Some(GOOD),
        "disabled" => Some(NEAR),
        "revoked" | "expired" => Some(BAD),
        _ => None,
    }
}

fn of_verdict(verdict: &str) -> Option<Style> {
    match verdict.to_ascii_uppercase().as_str() {
        "" | "-" => None,
        "VALID" => Some(GOOD),
        // It passes some time later.
        "RATE_LIMITED" | "QUOTA_EXCEEDED" | "DISABLED" => Some(NEAR),
        _ => Some(BAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ColourChoice::{Always, Auto, Never};

    #[test]
    fn colours_are_for_terminals_unless_somebody_says_otherwise() {
        for (choice, variables, terminal, on) in [
            (Auto, &[][..], true, true),
            (Auto, &[], false, false),
            (Auto, &[("NO_COLOR", "1")], true, false),
            (Auto, &[("NO_COLOR", "")], true, true),
            (Auto, &[("CLICOLOR_FORCE", "1")], false, true),
            (Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            (
                Auto,
                &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
                true,
                false,
            ),
            (Auto, &[("CLICOLOR", "0")], true, false),
            (Auto, &[("TERM", "dumb")], true, false),
            (Always, &[("NO_COLOR", "1")], false, true),
            (Never, &[("CLICOLOR_FORCE", "1")], true, false),
        ] {
            let pairs = variables.iter();
            let environment = pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let palette = Palette::of(choice, &environment, terminal);
            assert_eq!(palette.is_on(), on, "{choice:?} {variables:?} {terminal}");
        }
    }

    #[test]
    fn only_states_and_verdicts_are_coloured() {
        let palette = Palette::COLOURED;
        assert_eq!(palette.value("STATE", "active"), "\x1b[32mactive\x1b[0m");
        assert_eq!(palette.value("NAME", "active"), "active");
        assert_eq!(palette.verdict("EXPIRED"), "\x1b[31mEXPIRED\x1b[0m");
        assert_eq!(Palette::PLAIN.verdict("EXPIRED"), "EXPIRED");
        assert_eq!(palette.note("  hint: error:"), "  hint: error:");
        assert_eq!(palette.event("updated"), "updated");
    }
}

//! `doctor`: prints what was found, for people or as JSON.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::config::Environment;
use crate::config::args::ServeArgs;
use crate::serve::doctor::{self, Diagnosis, Finding, Look};

use super::args::timeout;
use super::colour::Palette;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::table::printable;

/// What `--help` says after the flags.
const EXIT_CODES: &str = "\
Each line says ok, warn or FAIL, what was looked at, and what was found; below a warn or FAIL stands
what to do. Nothing is changed, and a server that runs is not disturbed.

Exit codes:
  0  nothing fails
  1  something fails
  2  the configuration cannot be read; then all that is wrong with it is told";

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct DoctorCommand {
    #[command(flatten)]
    pub server: ServeArgs,

    /// Read an SQLite database whole, even beside a server
    #[arg(long)]
    pub deep: bool,

    /// How long all of it may take together, such as 500ms or 1m
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = timeout)]
    pub timeout: Duration,

    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(
    command: &DoctorCommand,
    environment: &Environment,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let look = Look {
        timeout: command.timeout,
        deep: command.deep,
    };
    let diagnosis = doctor::examine(&command.server, environment, look).map_err(Failure::Serve)?;
    let text = match command.json {
        true => as_json(&diagnosis)?,
        false => diagnosis
            .findings
            .iter()
            .map(|finding| for_people(finding, output.palette()))
            .collect(),
    };
    output.answer(&text)?;
    Ok(match diagnosis.exit_code() {
        0 => Exit::Done,
        1 => Exit::Refused,
        _ => Exit::Usage,
    })
}

fn for_people(finding: &Finding, palette: Palette) -> String {
    let (word, advice) = (finding.judgement.word(), finding.judgement.advice());
    let (subject, found) = (printable(&finding.subject), printable(&finding.found));
    let advice = advice.map_or(String::new(), |advice| {
        format!("      {}\n", printable(advice))
    });
    let word = palette.judgement(&format!("{word:<4}"));
    format!("{word}  {subject}: {found}\n{advice}")
}

fn as_json(diagnosis: &Diagnosis) -> Result<String, Failure> {
    let findings = diagnosis.findings.iter().map(|finding| {
        let (word, advice) = (finding.judgement.word(), finding.judgement.advice());
        let mut object = json!({
            "level": word,
            "subject": finding.subject,
            "found": finding.found,
        });
        if let Some(advice) = advice {
            object["advice"] = advice.into();
        }
        object
    });
    let findings: Vec<_> = findings.collect();
    let text = serde_json::to_string_pretty(&json!({ "findings": findings }))
        .map_err(|error| Failure::Broken(format!("cannot write JSON: {error}")))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::doctor::Judgement;

    fn finding(judgement: Judgement) -> Finding {
        Finding {
            subject: "store".to_owned(),
            found: "a\u{1b}b".to_owned(),
            judgement,
        }
    }

    #[test]
    fn a_finding_is_a_line_and_its_advice_another() {
        let advice = || "mend it".to_owned();
        assert_eq!(
            for_people(&finding(Judgement::Ok), Palette::PLAIN),
            "ok    store: a\\u{1b}b\n"
        );
        assert_eq!(
            for_people(
                &finding(Judgement::Warn { advice: advice() }),
                Palette::PLAIN
            ),
            "warn  store: a\\u{1b}b\n      mend it\n"
        );
        assert_eq!(
            for_people(
                &finding(Judgement::Fail { advice: advice() }),
                Palette::PLAIN
            ),
            "FAIL  store: a\\u{1b}b\n      mend it\n"
        );
    }

    #[test]
    fn json_says_the_same() {
        let advice = "mend it".to_owned();
        let diagnosis = Diagnosis {
            findings: vec![finding(Judgement::Ok), finding(Judgement::Fail { advice })],
            configured: true,
        };
        let read: serde_json::Value = serde_json::from_str(&as_json(&diagnosis).unwrap()).unwrap();
        assert_eq!(read["findings"][0]["level"], "ok");
        assert!(read["findings"][0].get("advice").is_none());
        assert_eq!(read["findings"][1]["level"], "FAIL");
        assert_eq!(read["findings"][1]["advice"], "mend it");
        assert_eq!(read["findings"][1]["subject"], "store");
    }
}

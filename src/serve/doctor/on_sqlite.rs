//! An SQLite store: its files, who holds it, whether it is whole, and its time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::store::sqlite::{
    Condition, Contents, Files, Holder, Integrity, OpenError, Scrutiny, inspect,
};

use super::files::{self, Openness, megabytes};
use super::{Case, Finding, Findings, peppers, root_token};

const SUBJECT: &str = "store";

/// How far the clock may be behind the time of the last decision before it is told; the mark is
/// written once a second.
const BEHIND: Duration = Duration::from_secs(1);

/// How far before nothing expires for so long that a server had better not start.
const FAR_BEHIND: Duration = Duration::from_secs(30);

pub(super) fn check(case: &Case, path: &Path) -> Findings {
    let found = match Files::at(path) {
        Ok(found) => found,
        Err(_) if !files::folder(path).exists() => {
            let folder = files::folder(path).display();
            return vec![Finding::fail(
                "store folder",
                format!("{folder} does not exist"),
                format!("make the folder as the user who serves: mkdir -p -m 700 {folder}"),
            )];
        }
        Err(error) => return vec![refused(&error)],
    };
    let folder = files::folder(&found.database);
    let mut findings = vec![
        files::workable("store folder", folder),
        files::room("store folder", folder),
    ];
    if !found.database.exists() {
        findings.push(absent(&case.config, &found.database));
        return findings;
    }
    for path in [&found.database, &found.log, &found.index, &found.lock] {
        if path.exists() {
            findings.push(files::privacy("store file", path, Openness::Closed));
        }
    }
    let holder = found.holder();
    findings.push(held(holder, &found));
    let scrutiny = Scrutiny {
        deep: case.deep,
        until: case.until,
    };
    let begun = Instant::now();
    let served = matches!(holder, Holder::Process(_));
    let checks = case.config.keyring.checks();
    match inspect(&found, served, &checks, scrutiny) {
        Ok(Contents::Store(condition)) => {
            findings.extend(judged(case, &condition, served));
            findings.push(whole(&condition, case.deep, begun.elapsed()));
            findings.push(root_token::kept(&case.config, condition.root));
        }
        Ok(Contents::Empty) if case.config.store.require_existing => findings.push(Finding::fail(
            SUBJECT,
            format!(
                "{} is empty, and store.require_existing is set",
                found.database.display()
            ),
            "restore the database from a backup",
        )),
        Ok(Contents::Empty) => findings.push(Finding::ok(
            SUBJECT,
            "empty: the first start makes a store of it",
        )),
        Ok(Contents::Unindexed) => findings.push(Finding::warn(
            SUBJECT,
            format!(
                "{} has a log without its index, as a copy has",
                found.database.display()
            ),
            "start a server, which takes the log in, and look again",
        )),
        Err(error) => findings.push(refused(&error)),
    }
    findings
}

fn absent(config: &Config, path: &Path) -> Finding {
    let path = path.display();
    match config.store.require_existing {
        true => Finding::fail(
            SUBJECT,
            format!("{path} does not exist, and store.require_existing is set"),
            "restore the database, or name the right one in store.url",
        ),
        false => Finding::ok(
            SUBJECT,
            format!("{path} does not exist: the first start makes it"),
        ),
    }
}

fn refused(error: &OpenError) -> Finding {
    let advice = match error {
        OpenError::Absent(_) | OpenError::Empty(_) => "restore the database from a backup",
        OpenError::Locked(_) => "look again",
        OpenError::Denied { .. } => "give the file and its folder to the user who serves",
        OpenError::NotDatabase(_) | OpenError::Foreign { .. } => {
            "name another file in store.url, or restore the database from a backup"
        }
        OpenError::Newer { .. } => "run the newer release",
        OpenError::Io { .. } => {
            "look at the disk and its file system; if the file is damaged, restore it from a backup"
        }
    };
    Finding::fail(SUBJECT, error.to_string(), advice)
}

fn held(holder: Holder, files: &Files) -> Finding {
    const SUBJECT: &str = "store lock";
    match holder {
        Holder::Process(process) => {
            Finding::ok(SUBJECT, format!("process {process} holds the database"))
        }
        Holder::Nobody if files.log.exists() => Finding::ok(
            SUBJECT,
            "nobody seen here holds the database, but there is a log: a server in another container \
             has it, or one was killed and the next start recovers",
        ),
        Holder::Nobody => Finding::ok(SUBJECT, "nobody holds the database"),
        Holder::Unknown => Finding::ok(SUBJECT, "who holds the database is not told here"),
    }
}

fn judged(case: &Case, condition: &Condition, served: bool) -> Findings {
    let Condition {
        id,
        schema,
        logged,
        mark,
        tokens,
        namespaces,
        unkept_peppers,
        missing_peppers,
        database_bytes,
        log_bytes,
        ..
    } = condition;
    let (size, log) = (megabytes(*database_bytes), megabytes(*log_bytes));
    let mut findings = vec![Finding::ok(
        SUBJECT,
        format!(
            "{id}, schema {schema}, {tokens} tokens in {namespaces} namespaces, {size}, log {log}"
        ),
    )];
    if served && !logged {
        findings.push(Finding::fail(
            SUBJECT,
            "the database has no write-ahead log, though a server uses it",
            "somebody changed journal_mode: stop the server, and start it again",
        ));
    }
    findings.extend(peppers::judged(unkept_peppers, Some(missing_peppers)));
    findings.push(clock(case.now(), *mark));
    findings
}

/// Judges the system's clock by the latest time at which a decision is known to be made.
fn clock(now: Timestamp, mark: Timestamp) -> Finding {
    const SUBJECT: &str = "clock";
    let behind = mark.saturating_since(now);
    let whole = Duration::from_secs(behind.as_secs());
    let found = format!(
        "{} behind the store's last decision: until then nothing expires, and no limit recovers",
        humantime::format_duration(whole)
    );
    let advice = "set the clock right (NTP); if the store's time is from a wrong clock that ran \
                  ahead, restore a backup or wait";
    if behind > FAR_BEHIND {
        return Finding::fail(SUBJECT, found, advice);
    }
    if behind > BEHIND {
        return Finding::warn(SUBJECT, found, advice);
    }
    Finding::ok(SUBJECT, "not behind the store's last decision")
}

fn whole(condition: &Condition, deep: bool, spent: Duration) -> Finding {
    const SUBJECT: &str = "integrity";
    let again = "look with --deep and a longer --timeout, such as 10m, while no server runs";
    match &condition.integrity {
        Integrity::Sound if deep => Finding::ok(
            SUBJECT,
            format!("every page and index entry is sound ({spent:.1?})"),
        ),
        Integrity::Sound => Finding::ok(SUBJECT, format!("every page is sound ({spent:.1?})")),
        Integrity::Damaged(damages) => Finding::fail(
            SUBJECT,
            format!("the database is damaged: {}", damages.join("; ")),
            "stop the server, keep a copy of all its files, and restore a backup",
        ),
        Integrity::Unfinished if deep => Finding::warn(
            SUBJECT,
            format!("no damage within {spent:.1?}, but not all was read"),
            again,
        ),
        Integrity::Unfinished => Finding::ok(
            SUBJECT,
            format!("no damage within {spent:.1?}, but not all was read; --deep reads all"),
        ),
        Integrity::NotAsked(why) => Finding::ok(
            SUBJECT,
            format!("not asked, as {why}; --deep asks all the same"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Judgement;
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_is_told_by_how_much_it_matters() {
        let mark = Timestamp::from_micros(1_000_000_000);
        let judged = |behind: u64| {
            let now = Timestamp::from_micros(1_000_000_000 - behind * 1_000_000);
            clock(now, mark).judgement
        };
        assert_eq!(judged(0), Judgement::Ok);
        assert_eq!(judged(1), Judgement::Ok);
        assert!(matches!(judged(2), Judgement::Warn { .. }));
        assert!(matches!(judged(30), Judgement::Warn { .. }));
        assert!(matches!(judged(31), Judgement::Fail { .. }));
        let ahead = Timestamp::from_micros(2_000_000_000);
        assert_eq!(clock(ahead, mark).judgement, Judgement::Ok);
    }
}

//! The process: how many files it may open, whether it leaves its memory behind, its clock.

use rustix::process::{Resource, Rlimit, getrlimit};

use crate::config::Config;
use crate::domain::time::Timestamp;

use super::super::process::files_wanted;
use super::{Case, Finding, Findings};

/// No release is older than 2025; a clock that says so was never set.
const EARLIEST: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

pub(super) fn check(case: &Case) -> Findings {
    let files = open_files(&case.config, getrlimit(Resource::Nofile));
    vec![files, core(getrlimit(Resource::Core)), clock(case.now())]
}

/// Limits of this very process: those of a server are the same where it is started alike.
fn open_files(config: &Config, limit: Rlimit) -> Finding {
    const SUBJECT: &str = "open files";
    let (connections, needed) = (config.limits.connections, files_wanted(config));
    match limit.current {
        Some(most) if most < needed => Finding::warn(
            SUBJECT,
            format!("{most} may be open; limits.connections is {connections}"),
            format!("raise it to {needed} (ulimit -n, LimitNOFILE), or lower limits.connections"),
        ),
        Some(most) => Finding::ok(
            SUBJECT,
            format!("{most} may be open, {needed} are needed at most"),
        ),
        None => Finding::ok(SUBJECT, "as many as are needed"),
    }
}

fn core(limit: Rlimit) -> Finding {
    const SUBJECT: &str = "core dumps";
    match limit.current {
        Some(0) => Finding::ok(SUBJECT, "none: memory is left nowhere"),
        _ => Finding::warn(
            SUBJECT,
            "a server that crashes leaves its memory behind, peppers and secrets included",
            "forbid them: ulimit -c 0, LimitCORE=0",
        ),
    }
}

fn clock(now: Timestamp) -> Finding {
    const SUBJECT: &str = "system clock";
    let since_1970 = std::time::Duration::from_micros(now.micros());
    let told = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since_1970);
    match now < EARLIEST {
        true => Finding::fail(
            SUBJECT,
            format!("it says {told}, which is before this program was made"),
            "set the clock (NTP)",
        ),
        false => Finding::ok(SUBJECT, format!("it says {told}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Judgement;
    use super::*;
    use crate::config::Environment;
    use crate::config::args::ServeArgs;

    fn limit(current: Option<u64>) -> Rlimit {
        Rlimit {
            current,
            maximum: None,
        }
    }

    #[test]
    fn too_few_files_are_told() {
        let config = Config::load(&ServeArgs::default(), &Environment::new()).unwrap();
        let judged = |current| open_files(&config, limit(current)).judgement;
        let needed = files_wanted(&config);
        assert_eq!(judged(Some(needed)), Judgement::Ok);
        assert_eq!(judged(None), Judgement::Ok);
        assert!(matches!(judged(Some(needed - 1)), Judgement::Warn { .. }));
    }

    #[test]
    fn memory_that_may_be_left_behind_is_told() {
        assert_eq!(core(limit(Some(0))).judgement, Judgement::Ok);
        for current in [Some(1), None] {
            assert!(matches!(
                core(limit(current)).judgement,
                Judgement::Warn { .. }
            ));
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_told() {
        assert!(matches!(
            clock(Timestamp::from_micros(1)).judgement,
            Judgement::Fail { .. }
        ));
        assert_eq!(clock(EARLIEST).judgement, Judgement::Ok);
        assert!(clock(EARLIEST).found.contains("2025-01-01T00:00:00Z"));
    }
}

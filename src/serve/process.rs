//! What the process asks of the operating system: that its memory stays its own, and files enough.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, MetricsPlace};

/// Open files beyond those of connections: the store's, listeners, logs, certificates, the runtime's.
const FILES_RESERVED: u64 = 128;

/// Keeps secrets and peppers in memory out of core files and away from other processes of the same
/// user. Asked before the first secret is read; what fails is told once there is a log.
pub(super) fn keep_memory_private() -> MemoryKept {
    MemoryKept {
        core_files: no_core_files(),
        others: hide_from_others(),
    }
}

/// What became of [`keep_memory_private`].
pub(super) struct MemoryKept {
    core_files: io::Result<()>,
    others: io::Result<()>,
}

impl MemoryKept {
    /// A server that cannot hide is still one that serves, so a failure is a warning.
    pub(super) fn tell(self) {
        if let Err(error) = self.core_files {
            tracing::warn!(%error, "a crash may write secrets into a core file");
        }
        if let Err(error) = self.others {
            tracing::warn!(%error, "other processes of this user may read this one's memory");
        }
    }
}

fn no_core_files() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Not dumpable: the kernel then gives no core to a crash handler either, which no limit on the size of
/// core files keeps it from, and refuses ptrace and `/proc/PID/mem` to all but the superuser (prctl(2)).
#[cfg(target_os = "linux")]
fn hide_from_others() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(not(target_os = "linux"))]
fn hide_from_others() -> io::Result<()> {
    Ok(())
}

/// Raises the soft limit of open files to the hard one, and warns where connections may not fit.
pub(super) fn make_room(config: &Config) {
    let raised = raise_open_files();
    let limit = getrlimit(Resource::Nofile).current;
    let wanted = files_wanted(config);
    let Some(limit) = limit.filter(|limit| *limit < wanted) else {
        return;
    };
    let error = raised.err().map(tracing::field::display);
    tracing::warn!(
        limit,
        wanted,
        error,
        "limits.connections does not fit into the limit of open files: lower it, or raise the hard \
         limit (LimitNOFILE of a systemd unit, ulimits of a container, ulimit -Hn)"
    );
}

fn raise_open_files() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    let highest = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, highest)?)
}

/// How many files a server has open at most. The metrics' own listener has as many connections as
/// that of calls.
pub(super) fn files_wanted(config: &Config) -> u64 {
    let doors = match config.server.metrics {
        MetricsPlace::Own(_) => 2,
        MetricsPlace::Beside | MetricsPlace::Off => 1,
    };
    let connections = u64::try_from(config.limits.connections).unwrap_or(u64::MAX);
    connections
        .saturating_mul(doors)
        .saturating_add(FILES_RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::config::args::ServeArgs;

    #[test]
    fn connections_leave_room_for_what_else_is_open_and_metrics_may_have_their_own() {
        let wanted = |metrics: &str| {
            let setting = format!("server.metrics_listen={metrics}");
            let args = ServeArgs {
                settings: vec![setting, "limits.connections=1000".to_owned()],
                ..ServeArgs::default()
            };
            files_wanted(&Config::load(&args, &Environment::new()).unwrap())
        };
        assert_eq!(wanted("off"), 1128);
        assert_eq!(wanted(""), 1128);
        assert_eq!(wanted("127.0.0.1:0"), 2128);
    }
}

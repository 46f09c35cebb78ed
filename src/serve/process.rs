//! What the process asks of the operating system: that its memory stays its own, and files enough.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Raises the soft limit of open files to the hard one, and warns where `connections` may not fit.
pub(super) fn make_room_for(connections: usize) {
    let raised = raise_open_files();
    let limit = getrlimit(Resource::Nofile).current;
    let wanted = files_wanted(connections);
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

fn files_wanted(connections: usize) -> u64 {
    u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(FILES_RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_what_else_is_open() {
        assert_eq!(files_wanted(4096), 4224);
        assert_eq!(files_wanted(usize::MAX), u64::MAX);
    }
}

//! Running a command while a lease is held: the command ends before another can hold the token.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::transport::grpc::pb;
use pb::{keep_alive_request, release_request};

use super::Session;
use super::client::Client;
use super::failure::{Exit, Failure, withheld};
use super::lease::acquire_request;
use super::lease_args::RunArgs;
use super::lease_keeper::{Asked, Held, Keeper, held_since};
use super::slept::slept;
use super::table::printable;

/// Exit codes beside the command's own, as `timeout` and `env` use them.
const LOST: u8 = 124;
const NOT_ACQUIRED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NO_SUCH_COMMAND: u8 = 127;

/// Longest wait for the answer to a release that nobody waits for.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Time between two looks whether any of what the command started is left.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Time between two looks whether the machine has slept.
const LOOK_UP_EVERY: Duration = Duration::from_millis(500);

/// The caller's own secret, which is not the command's.
const CALLERS: [&str; 2] = ["TOKEN_AUTHORITY_TOKEN", "TOKEN_AUTHORITY_TOKEN_FILE"];

pub(super) async fn run(session: &mut Session<'_>, args: RunArgs) -> Exit {
    match hold_and_run(session, args).await {
        Ok(code) => Exit::Ran(code),
        Err(failure) => {
            for line in failure.lines() {
                session.output.note(&line);
            }
            Exit::Ran(NOT_ACQUIRED)
        }
    }
}

/// A lease that was acquired, and how long it is held as far as is known.
struct Acquired {
    lease_id: String,
    held: Held,
    next_beat: Instant,
    variables: [(&'static str, String); 4],
}

async fn hold_and_run(session: &mut Session<'_>, args: RunArgs) -> Result<u8, Failure> {
    let RunArgs {
        pool,
        wanted,
        grace,
        command,
    } = args;
    // From here on no signal ends this process and leaves the command behind.
    let signals = Signals::listen();
    let mut signals =
        signals.map_err(|error| Failure::Broken(format!("cannot listen for signals: {error}")))?;
    let patience = session.args.timeout();
    let duration = wanted.duration;
    let client = session.client().await?;
    let request = acquire_request(session, pool, wanted, String::new());
    let Acquired {
        lease_id,
        held,
        next_beat,
        variables,
    } = tokio::select! {
        acquired = acquire(client.clone(), request) => acquired?,
        signal = signals.next() => return Ok(by_signal(signal.as_raw())),
    };
    let (notices, news) = watch::channel(held);
    let keeper = Keeper {
        client: client.clone(),
        lease_id: lease_id.clone(),
        duration,
        patience,
        held: notices,
    };
    let code = match Tree::start(&command, variables) {
        Ok(tree) => {
            let mut run = Run {
                tree,
                grace,
                news,
                signals,
            };
            run.until_it_ends(keeper.keep(next_beat), session).await
        }
        Err(error) => {
            let name = command.first().cloned().unwrap_or_default();
            let name = printable(&name.to_string_lossy());
            let line = format!("error: cannot execute {name}: {error}");
            session.output.note(&line);
            match error.kind() {
                io::ErrorKind::NotFound => NO_SUCH_COMMAND,
                _ => NOT_EXECUTABLE,
            }
        }
    };
    if let Err(failure) = release(client, patience, lease_id).await {
        let why = failure.in_one_line();
        let line = format!("the lease was not released, and ends by itself: {why}");
        session.output.note(&line);
    }
    Ok(code)
}

/// Acquires a lease. After a wait nobody here knows when it began, so a beat asks what is left.
async fn acquire(mut client: Client, request: pb::AcquireRequest) -> Result<Acquired, Failure> {
    let (waits, duration) = (request.wait.is_some(), request.lease_duration);
    let asked = Asked::now();
    let pb::AcquireResponse {
        token,
        lease,
        secret,
    } = client.acquire(request).await?;
    let (token, lease) = (token.unwrap_or_default(), lease.unwrap_or_default());
    let left = span_of(&lease).unwrap_or_default();
    let (held, next_beat) = if waits {
        let beat = pb::KeepAliveRequest {
            target: Some(keep_alive_request::Target::LeaseId(lease.lease_id.clone())),
            lease_duration: duration,
        };
        let asked = Asked::now();
        let kept = match client.keep_alive(beat).await {
            Ok(kept) => kept,
            Err(failure) => {
                // Else it is nobody's until its end, as is that of a caller who dies.
                let _ = release(client, ANSWER_MAX, lease.lease_id).await;
                return Err(failure);
            }
        };
        held_since(asked, &kept).unwrap_or((Held::since(asked, left), asked.at))
    } else {
        (Held::since(asked, left), asked.at + left / 3)
    };
    let expires = lease.expire_time.map(|end| end.to_string());
    let expires = expires.unwrap_or_default();
    Ok(Acquired {
        held,
        next_beat,
        variables: [
            ("TOKEN_AUTHORITY_LEASE_SECRET", secret),
            ("TOKEN_AUTHORITY_LEASE_TOKEN_ID", token.token_id),
            ("TOKEN_AUTHORITY_LEASE_FENCE", lease.fence.to_string()),
            ("TOKEN_AUTHORITY_LEASE_EXPIRE_TIME", expires),
        ],
        lease_id: lease.lease_id,
    })
}

/// How long the lease was to last when it was acquired.
fn span_of(lease: &pb::Lease) -> Option<Duration> {
    let nanos =
        |at: prost_types::Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let span = nanos(lease.expire_time?) - nanos(lease.acquire_time?);
    u64::try_from(span).ok().map(Duration::from_nanos)
}

/// Gives the lease back, so that nobody needs to wait for its end. The connection that the beats
/// went over may be half open, so it takes one of its own.
async fn release(client: Client, patience: Duration, lease_id: String) -> Result<(), Failure> {
    let request = pb::ReleaseRequest {
        target: Some(release_request::Target::LeaseId(lease_id)),
        force: false,
    };
    let mut client = client.again(patience).await?;
    client.release(request).await.map(drop)
}

/// A command that runs, and what has a say in its end.
struct Run {
    tree: Tree,
    grace: Duration,
    news: watch::Receiver<Held>,
    signals: Signals,
}

impl Run {
    /// Waits for the command to end, or ends it when the lease is lost, which the keeper answers, or
    /// may be lost soon. Answers what this process exits with.
    async fn until_it_ends(
        &mut self,
        keeper: impl Future<Output = String>,
        session: &mut Session<'_>,
    ) -> u8 {
        let mut keeper = pin!(keeper);
        let (why, kill_at) = loop {
            let held = *self.news.borrow_and_update();
            let asleep = slept();
            tokio::select! {
                biased;
                ended = self.tree.child.wait() => return ended.map_or(LOST, code_of),
                signal = self.signals.next() => self.tree.send(signal),
                () = sleep_until(held.leave_at(self.grace, asleep)) => {
                    break ("it could not be kept alive in time".to_owned(), held.over_at(asleep));
                }
                why = &mut keeper => break (why, Instant::now() + self.grace),
                _ = self.news.changed() => {}
                // No timer tells that the machine slept.
                () = sleep(LOOK_UP_EVERY) => {}
            }
        };
        let line = format!("the lease is lost: {}; ending the command", printable(&why));
        session.output.note(&withheld(&line));
        self.tree.send(Signal::TERM);
        loop {
            tokio::select! {
                biased;
                () = self.tree.gone() => return LOST,
                signal = self.signals.next() => self.tree.send(signal),
                () = sleep_until(kill_at) => break,
            }
        }
        self.tree.send(Signal::KILL);
        let _ = self.tree.child.wait().await;
        LOST
    }
}

/// The command with all that it started, as far as signals reach.
struct Tree {
    child: Child,
    id: Option<Pid>,
    /// Whether it is a group of its own. It is not where it is to read the terminal, which also
    /// tells it of interrupts itself.
    group: bool,
}

impl Tree {
    fn start(command: &[OsString], variables: [(&str, String); 4]) -> io::Result<Self> {
        let [program, arguments @ ..] = command else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let group = !io::stdin().is_terminal();
        let mut command = Command::new(program);
        command.args(arguments).envs(variables).kill_on_drop(true);
        for name in CALLERS {
            command.env_remove(name);
        }
        if group {
            command.process_group(0);
        }
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw);
        Ok(Self { child, id, group })
    }

    /// Waits until the command has ended, and with it all of its group.
    async fn gone(&mut self) {
        let _ = self.child.wait().await;
        while let (Some(id), true) = (self.id, self.group)
            && test_kill_process_group(id).is_ok()
        {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Sends a signal, unless the command has ended, and all of its group. Its id is nobody else's
    /// while one of them is there.
    fn send(&self, signal: Signal) {
        let Some(id) = self.id.filter(|_| self.group || self.child.id().is_some()) else {
            return;
        };
        let from_terminal = !matches!(signal, Signal::TERM | Signal::KILL);
        // It fails only where nobody is left to get it.
        let _ = match self.group {
            true => kill_process_group(id, signal),
            false if from_terminal => Ok(()),
            false => kill_process(id, signal),
        };
    }
}

/// What the command's end makes this process exit with.
fn code_of(ended: ExitStatus) -> u8 {
    match (ended.code(), ended.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, number) => by_signal(number.unwrap_or_default()),
    }
}

/// As shells tell of signals.
fn by_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}

/// The signals that are passed on.
struct Signals {
    terminate: Listener,
    interrupt: Listener,
    hangup: Listener,
    quit: Listener,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_commands_own() {
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(15)), 143);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn a_lease_lasts_from_its_beginning_until_it_ends() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let lease = |from, until| pb::Lease {
            acquire_time: from,
            expire_time: until,
            ..pb::Lease::default()
        };
        let half = lease(at(10, 500_000_000), at(11, 0));
        assert_eq!(span_of(&half), Some(Duration::from_millis(500)));
        assert_eq!(span_of(&lease(at(11, 0), at(10, 0))), None);
        assert_eq!(span_of(&lease(at(11, 0), None)), None);
    }
}

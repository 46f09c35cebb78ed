//! What a service manager says of itself in the environment: where it listens, how often it wants a sign.

use std::time::Duration;

use super::Environment;

/// Where the service manager is told of start and stop: `NOTIFY_SOCKET` of sd_notify(3).
const SOCKET: &str = "NOTIFY_SOCKET";
/// Within how many microseconds it wants signs of life, and from which process: sd_watchdog_enabled(3).
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// A service manager that wants to be told of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// As the service manager wrote it: the path of a socket, or `@` and an abstract name.
    pub socket: String,
    /// It ends a process that gives no sign for so long; never zero.
    pub watchdog: Option<Duration>,
}

impl Supervision {
    /// `None` where nobody wants to be told. These variables are the service manager's own, so what
    /// cannot be read asks for nothing, rather than keep a server from starting.
    pub(super) fn parse(environment: &Environment) -> Option<Self> {
        let socket = environment
            .get(SOCKET)
            .filter(|socket| !socket.is_empty())?;
        let meant = environment
            .get(WATCHDOG_PID)
            .is_none_or(|process| *process == std::process::id().to_string());
        let micros = environment.get(WATCHDOG_USEC);
        let micros = micros.and_then(|text| text.parse().ok()).filter(|_| meant);
        Some(Self {
            socket: socket.clone(),
            watchdog: micros.filter(|n| *n > 0).map(Duration::from_micros),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<Supervision> {
        let pairs = variables.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Supervision::parse(&pairs.collect())
    }

    #[test]
    fn without_a_socket_nobody_is_told() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("NOTIFY_SOCKET", ""), ("WATCHDOG_USEC", "5")]), None);
    }

    #[test]
    fn a_watchdog_is_meant_for_one_process() {
        let me = std::process::id().to_string();
        let socket = ("NOTIFY_SOCKET", "/run/notify");
        let watchdog = |pid: &str, micros: &str| {
            let all = [socket, ("WATCHDOG_PID", pid), ("WATCHDOG_USEC", micros)];
            of(&all).unwrap().watchdog
        };
        assert_eq!(watchdog(&me, "1500000"), Some(Duration::from_millis(1500)));
        assert_eq!(
            watchdog("1", "1500000"),
            (me == "1").then_some(Duration::from_millis(1500))
        );
        for rubbish in ["0", "", "-1", "soon"] {
            assert_eq!(watchdog(&me, rubbish), None, "{rubbish:?}");
        }
        let all = [socket, ("WATCHDOG_USEC", "7")];
        assert_eq!(of(&all).unwrap().watchdog, Some(Duration::from_micros(7)));
    }
}

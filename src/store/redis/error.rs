//! What the driver's errors mean; its error types go no further than this.

use std::time::Duration;

use redis::{
    ErrorKind, FromRedisValue, ParsingError, RedisError, ServerErrorKind, Value, from_redis_value,
};

use super::distrust;
use crate::store::StoreError;

/// What an error says about the link that it came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The link is well.
    None,
    /// The link may be dead: some of these in sequence and it is replaced.
    Strike,
    /// The link is dead, or leads to the wrong server.
    Drop,
}

/// Longest text of Redis that an error repeats.
const DETAIL_CHARS_MAX: usize = 200;

/// Reads an error of the driver; `limit` is how long the answer was waited for.
pub(super) fn understand(error: &RedisError, limit: Duration) -> (StoreError, Effect) {
    if error.is_timeout() {
        return (StoreError::Slow(limit), Effect::Strike);
    }
    match error.kind() {
        ErrorKind::Io => {
            let why = distrust::told(error).unwrap_or_else(|| error.to_string());
            (StoreError::Unreachable(why), Effect::Drop)
        }
        ErrorKind::AuthenticationFailed => (wrong_password(), Effect::Drop),
        ErrorKind::Server(kind) => of_server(kind, detail(error)),
        ErrorKind::Extension => of_code(error.code().unwrap_or_default(), detail(error)),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            (unexpected("it was not in Redis' format"), Effect::Drop)
        }
        _ => (
            StoreError::Unreachable(error.category().to_owned()),
            Effect::Drop,
        ),
    }
}

fn of_server(kind: ServerErrorKind, detail: String) -> (StoreError, Effect) {
    let unreachable = |why: &str| (StoreError::Unreachable(why.to_owned()), Effect::None);
    match kind {
        ServerErrorKind::ReadOnly => {
            let why = "this Redis is a replica now; the master must be named";
            (StoreError::ReadOnly(why.to_owned()), Effect::Drop)
        }
        ServerErrorKind::BusyLoading => unreachable("Redis is loading its data"),
        ServerErrorKind::MasterDown => unreachable("this Redis is a replica without its master"),
        ServerErrorKind::NoPerm => {
            let why = format!("Redis does not permit this user a command that is needed: {detail}");
            (StoreError::Unacceptable(why), Effect::None)
        }
        ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::CrossSlot => {
            let why = "this Redis is part of a cluster, which this release does not support";
            (StoreError::Unacceptable(why.to_owned()), Effect::Drop)
        }
        _ => refused("ERR", &detail),
    }
}

fn of_code(code: &str, detail: String) -> (StoreError, Effect) {
    let read_only = |why: &str| (StoreError::ReadOnly(why.to_owned()), Effect::None);
    match code {
        "OOM" => read_only("Redis is full: its memory limit (maxmemory) is reached"),
        "MISCONF" => read_only("Redis cannot persist (MISCONF); its log names the cause"),
        "NOREPLICAS" => read_only("Redis has fewer replicas than it was told to require"),
        "BUSY" => {
            let why = "Redis is busy with another client's script".to_owned();
            (StoreError::Unreachable(why), Effect::None)
        }
        "NOAUTH" | "WRONGPASS" => (wrong_password(), Effect::Drop),
        "WRONGTYPE" => {
            let why = "a key of the store holds another type than was written".to_owned();
            (StoreError::Corrupt(why), Effect::None)
        }
        code => refused(code, &detail),
    }
}

fn refused(code: &str, detail: &str) -> (StoreError, Effect) {
    let why = format!("Redis refused a command: {code} {detail}");
    (StoreError::Unacceptable(why), Effect::None)
}

fn wrong_password() -> StoreError {
    let why = "Redis refuses the password, or demands one that the URL does not hold; \
               expected redis://[user:password@]host:port";
    StoreError::Unacceptable(why.to_owned())
}

fn detail(error: &RedisError) -> String {
    let text = error.detail().unwrap_or_default();
    text.chars().take(DETAIL_CHARS_MAX).collect()
}

/// An answer that does not have the form which its command always gives.
pub(super) fn unexpected(what: &str) -> StoreError {
    StoreError::Corrupt(format!("Redis gave an unexpected answer: {what}"))
}

/// Reads an answer whose form the command or the script determines.
pub(super) fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|error: ParsingError| unexpected(&error.to_string()))
}

/// Reads microseconds, or a revision, that a script answered as text.
pub(super) fn micros(text: &str) -> Result<u64, StoreError> {
    text.parse()
        .map_err(|_| unexpected("a time that is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The meaning of an error line as Redis sends it.
    fn meaning(line: &str) -> (StoreError, Effect) {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        understand(
            &value.extract_error().unwrap_err(),
            Duration::from_millis(7),
        )
    }

    #[test]
    fn a_replica_is_left_and_a_full_redis_is_not() {
        let (error, effect) = meaning("READONLY You can't write against a read only replica.");
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
        assert_eq!(effect, Effect::Drop);
        let (error, effect) = meaning("OOM command not allowed when used memory > 'maxmemory'.");
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
        assert_eq!(effect, Effect::None);
    }

    #[test]
    fn a_loading_redis_is_unreachable_and_a_failed_login_unacceptable() {
        let (error, _) = meaning("LOADING Redis is loading the dataset in memory");
        assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
        for line in ["NOAUTH Authentication required.", "WRONGPASS invalid pair"] {
            let (error, _) = meaning(line);
            assert!(
                error.to_string().contains("refuses the password"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_foreign_error_is_cut_short() {
        let (error, _) = meaning(&format!("ODD {}", "x".repeat(10_000)));
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn a_timeout_is_a_strike() {
        let error = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let limit = Duration::from_millis(7);
        assert_eq!(
            understand(&error, limit),
            (StoreError::Slow(limit), Effect::Strike)
        );
    }
}

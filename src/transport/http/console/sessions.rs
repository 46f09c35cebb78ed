//! Sessions: who is signed in, in the memory of this process alone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::entropy::{self, EntropyError};

/// Most sessions at once; one more takes the place of the one that was idle longest.
const SESSIONS_MAX: usize = 1024;
/// 256 random bits, in base62.
const ID_DIGITS: usize = 43;
/// Forms of a session that are remembered as used up.
const SPENT_MAX: usize = 256;

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// In which nobody does anything.
    pub idle: Duration,
    /// In all.
    pub longest: Duration,
}

/// All sessions, by the digest of their ids: the ids themselves are with the browsers only.
pub(super) struct Sessions {
    terms: Terms,
    held: Mutex<HashMap<Key, Held>>,
}

type Key = [u8; 32];

struct Held {
    secret: Arc<Zeroizing<String>>,
    csrf: Arc<str>,
    since: Instant,
    used: Instant,
    spent: VecDeque<String>,
}

/// A session as one request finds it.
#[derive(Clone)]
pub(super) struct Visit {
    key: Key,
    /// What was shown when it began.
    pub(super) secret: Arc<Zeroizing<String>>,
    /// What its forms carry.
    pub(super) csrf: Arc<str>,
}

impl Sessions {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            held: Mutex::default(),
        }
    }

    /// Begins a session; answers its id, for the cookie.
    pub(super) fn begin(
        &self,
        secret: Zeroizing<String>,
        now: Instant,
    ) -> Result<Zeroizing<String>, EntropyError> {
        let id = entropy::digits(ID_DIGITS)?;
        let session = Held {
            secret: Arc::new(secret),
            csrf: entropy::digits(ID_DIGITS)?.as_str().into(),
            since: now,
            used: now,
            spent: VecDeque::new(),
        };
        let mut held = self.held();
        held.retain(|_, session| self.lasts(session, now));
        if held.len() >= SESSIONS_MAX {
            let idlest = held.iter().min_by_key(|(_, session)| session.used);
            if let Some(key) = idlest.map(|(key, _)| *key) {
                held.remove(&key);
            }
        }
        held.insert(key_of(&id), session);
        Ok(id)
    }

    /// The session of that id. It is used by that, unless it was found by a page that refreshes itself.
    pub(super) fn find(&self, id: &str, now: Instant, by_itself: bool) -> Option<Visit> {
        let key = key_of(id);
        let mut held = self.held();
        let session = held.get_mut(&key)?;
        if !self.lasts(session, now) {
            held.remove(&key);
            return None;
        }
        if !by_itself {
            session.used = now;
        }
        Some(Visit {
            key,
            secret: session.secret.clone(),
            csrf: session.csrf.clone(),
        })
    }

    pub(super) fn end(&self, visit: &Visit) {
        self.held().remove(&visit.key);
    }

    /// Uses up a form that may be sent once; false where it was used before.
    pub(super) fn spend(&self, visit: &Visit, form: &str) -> bool {
        let mut held = self.held();
        let Some(session) = held.get_mut(&visit.key) else {
            return false;
        };
        if session.spent.iter().any(|spent| spent == form) {
            return false;
        }
        if session.spent.len() == SPENT_MAX {
            session.spent.pop_front();
        }
        session.spent.push_back(form.to_owned());
        true
    }

    fn lasts(&self, session: &Held, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        since(session.used) < self.terms.idle && since(session.since) < self.terms.longest
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(id: &str) -> Key {
    Sha256::digest(id.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sessions() -> Sessions {
        Sessions::new(Terms {
            idle: 15 * MINUTE,
            longest: 60 * MINUTE,
        })
    }

    fn begun(sessions: &Sessions, now: Instant) -> Zeroizing<String> {
        sessions.begin(Zeroizing::new("s".to_owned()), now).unwrap()
    }

    #[test]
    fn a_session_lasts_as_long_as_it_is_used_and_no_longer_than_it_may() {
        let (sessions, now) = (sessions(), Instant::now());
        let id = begun(&sessions, now);
        for minute in [14, 28, 42, 56] {
            let at = now + minute * MINUTE;
            assert!(sessions.find(&id, at, false).is_some(), "{minute}");
        }
        assert!(sessions.find(&id, now + 60 * MINUTE, false).is_none());
        assert!(sessions.find(&id, now, false).is_none(), "it is gone");
        assert!(sessions.find("another", now, false).is_none());
    }

    #[test]
    fn a_page_that_refreshes_itself_keeps_no_session_alive() {
        let (sessions, now) = (sessions(), Instant::now());
        let id = begun(&sessions, now);
        assert!(sessions.find(&id, now + 14 * MINUTE, true).is_some());
        assert!(sessions.find(&id, now + 15 * MINUTE, true).is_none());
    }

    #[test]
    fn the_idlest_session_makes_room() {
        let (sessions, now) = (sessions(), Instant::now());
        let first = begun(&sessions, now);
        let second = begun(&sessions, now + Duration::from_secs(1));
        let later = now + Duration::from_secs(2);
        assert!(sessions.find(&first, later, false).is_some());
        for _ in 2..=SESSIONS_MAX {
            begun(&sessions, later);
        }
        assert!(sessions.find(&first, later, false).is_some());
        assert!(sessions.find(&second, later, false).is_none());
        assert_eq!(sessions.held().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_form_is_used_once_and_an_ended_session_never() {
        let (sessions, now) = (sessions(), Instant::now());
        let id = begun(&sessions, now);
        let visit = sessions.find(&id, now, false).unwrap();
        assert!(sessions.spend(&visit, "a") && sessions.spend(&visit, "b"));
        assert!(!sessions.spend(&visit, "a"));
        sessions.end(&visit);
        assert!(sessions.find(&id, now, false).is_none());
        assert!(!sessions.spend(&visit, "c"));
    }
}

//! Answers that the authority allowed to be repeated: bounded, timed, and dropped with their token.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    pb::{ValidateResponse, Verdict},
    question::Key,
};

/// The answers to the latest questions.
///
/// Only valid answers with a `cache_ttl` are kept, and none is repeated beyond that, counted from when it was asked
/// for. Each event of a token drops the answers about it. While no events come, since the Watch broke, answers still end
/// with their `cache_ttl`.
pub(crate) struct AnswerCache {
    entries_max: usize,
    kept: Mutex<Answers>,
}

/// When a question was asked, and after how many events.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    at: Instant,
    events: u64,
}

#[derive(Default)]
struct Answers {
    by_key: HashMap<Key, Kept>,
    by_token: HashMap<String, HashSet<Key>>,
    /// The question that was not asked for longest stands first.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    events: u64,
}

struct Kept {
    answer: ValidateResponse,
    until: Instant,
    used: u64,
}

impl AnswerCache {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            entries_max,
            kept: Mutex::default(),
        }
    }

    /// The answer to a question, as long as it may be repeated.
    pub(crate) fn get(&self, key: &Key) -> Option<ValidateResponse> {
        let mut answers = self.answers();
        let until = answers.by_key.get(key)?.until;
        if Instant::now() >= until {
            answers.forget(key);
            return None;
        }
        answers.touch(key);
        answers.by_key.get(key).map(|kept| kept.answer.clone())
    }

    /// To be called before a question is asked, and handed to `keep` with its answer.
    pub(crate) fn asking(&self) -> Asked {
        Asked {
            at: Instant::now(),
            events: self.answers().events,
        }
    }

    /// Keeps an answer, if it may be kept, and nothing was told since it was asked for: an event that overtakes the
    /// answer it makes void would drop nothing.
    pub(crate) fn keep(&self, key: Key, answer: &ValidateResponse, asked: Asked) {
        let ttl = answer
            .cache_ttl
            .and_then(|ttl| Duration::try_from(ttl).ok());
        let ttl = ttl.unwrap_or_default();
        let valid = answer.valid && answer.verdict() == Verdict::Valid;
        let until = asked.at.checked_add(ttl);
        let (Some(until), Some(token)) = (until, &answer.token) else {
            return;
        };
        if !valid || ttl.is_zero() || self.entries_max == 0 {
            return;
        }
        let mut answers = self.answers();
        if answers.events != asked.events {
            return;
        }
        answers.forget(&key);
        while answers.by_key.len() >= self.entries_max {
            let Some(eldest) = answers.by_use.first_key_value().map(|(_, key)| *key) else {
                break;
            };
            answers.forget(&eldest);
        }
        let of_token = answers.by_token.entry(token.token_id.clone());
        of_token.or_default().insert(key);
        let answer = answer.clone();
        let kept = Kept {
            answer,
            until,
            used: 0,
        };
        answers.by_key.insert(key, kept);
        answers.touch(&key);
    }

    /// Forgets what was answered about a token, of which something was told.
    pub(crate) fn drop_token(&self, token_id: &str) {
        let mut answers = self.answers();
        answers.events += 1;
        for key in answers.by_token.remove(token_id).unwrap_or_default() {
            answers.forget(&key);
        }
    }

    /// Forgets everything, since events may have been missed.
    pub(crate) fn clear(&self) {
        let mut answers = self.answers();
        let events = answers.events + 1;
        *answers = Answers {
            events,
            ..Answers::default()
        };
    }

    /// No act leaves it half done, so that it is sound even after a panic.
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn touch(&mut self, key: &Key) {
        if let Some(kept) = self.by_key.get_mut(key) {
            self.by_use.remove(&kept.used);
            self.uses += 1;
            kept.used = self.uses;
            self.by_use.insert(self.uses, *key);
        }
    }

    fn forget(&mut self, key: &Key) {
        let Some(kept) = self.by_key.remove(key) else {
            return;
        };
        self.by_use.remove(&kept.used);
        let token_id = kept.answer.token.map(|token| token.token_id);
        let token_id = token_id.unwrap_or_default();
        if let Some(keys) = self.by_token.get_mut(&token_id) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_token.remove(&token_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::Token;

    const TTL: Duration = Duration::from_secs(10);

    fn answer(token_id: &str) -> ValidateResponse {
        ValidateResponse {
            valid: true,
            verdict: Verdict::Valid.into(),
            token: Some(Token {
                token_id: token_id.to_owned(),
                ..Token::default()
            }),
            cache_ttl: TTL.try_into().ok(),
            ..ValidateResponse::default()
        }
    }

    fn keep(cache: &AnswerCache, key: u8, answer: &ValidateResponse) {
        cache.keep([key; 32], answer, cache.asking());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_forgets_what_was_not_asked_for_longest() {
        let cache = AnswerCache::new(2);
        keep(&cache, 1, &answer("a"));
        keep(&cache, 2, &answer("b"));
        assert!(cache.get(&[1; 32]).is_some());
        keep(&cache, 3, &answer("c"));
        assert_eq!(cache.answers().by_key.len(), 2);
        assert!(cache.get(&[2; 32]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_repeated_once_its_time_is_over() {
        let cache = AnswerCache::new(2);
        let asked = cache.asking();
        tokio::time::advance(TTL * 9 / 10).await;
        cache.keep([1; 32], &answer("a"), asked);
        assert!(cache.get(&[1; 32]).is_some());
        tokio::time::advance(TTL / 10).await;
        assert!(cache.get(&[1; 32]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_a_ttl_or_that_refuses_is_not_kept() {
        let cache = AnswerCache::new(2);
        let (mut without, mut refuses) = (answer("a"), answer("a"));
        without.cache_ttl = None;
        refuses.set_verdict(Verdict::Revoked);
        keep(&cache, 1, &without);
        keep(&cache, 2, &refuses);
        assert!(cache.answers().by_key.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_an_event_overtook_is_not_kept() {
        let cache = AnswerCache::new(2);
        let asked = cache.asking();
        cache.drop_token("a");
        cache.keep([1; 32], &answer("a"), asked);
        assert!(cache.get(&[1; 32]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_drops_all_answers_about_its_token_and_no_other() {
        let cache = AnswerCache::new(2);
        keep(&cache, 1, &answer("a"));
        keep(&cache, 2, &answer("b"));
        cache.drop_token("a");
        assert!(cache.get(&[1; 32]).is_none());
        assert!(cache.get(&[2; 32]).is_some());
    }
}

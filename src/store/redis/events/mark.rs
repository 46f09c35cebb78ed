//! Marks: what is noted of a change of a token in no pool before it is made, so that whoever finds the
//! mark can tell the change, if nobody else does.
//!
//! A mark stands in the slot of the log, and begins with the token's id and the revision that is to be
//! changed. Whoever changes a token has read the revision that the change before it made, whose mark
//! therefore was there before and sorts before: so an event that waits until no mark of the same token
//! sorts before its own is told after all earlier ones.

use std::time::Duration;

use super::stored;
use crate::domain::event::{Event, EventKind};
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::store::events::MARK_PATIENCE;
use crate::store::redis::standing::Standing;
use crate::store::{StoreError, record};

/// What is about to be done to a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::redis) enum Act {
    Creation,
    /// The token is revoked already, or not, and its secret is of such a version.
    Change {
        revoked: bool,
        version: u32,
    },
    /// Of the token, as it is now.
    Deletion(Vec<u8>),
}

impl Act {
    pub(in crate::store::redis) fn change(token: &Token) -> Self {
        Self::Change {
            revoked: token.revoked.is_some(),
            version: token.secrets.current.version,
        }
    }

    pub(in crate::store::redis) fn deletion(token: &Token) -> Self {
        Self::Deletion(record::encode(token))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::redis) struct Mark {
    pub(super) id: TokenId,
    /// The revision to be changed; 0 of a token that is to be created.
    before: u64,
    /// Tells attempts from each other that come at once.
    draw: u64,
    /// When the change was judged; of a creation the token's own time, which no other token of its
    /// namespace has.
    time: Timestamp,
    act: Act,
}

const CREATION: u8 = 1;
const CHANGE: u8 = 2;
const DELETION: u8 = 3;

impl Mark {
    pub(super) fn new(token: &Token, act: Act, time: Timestamp, draw: u64) -> Self {
        let before = match act {
            Act::Creation => 0,
            _ => token.revision,
        };
        Self {
            id: token.id,
            before,
            draw,
            time,
            act,
        }
    }

    /// What stands among the marks.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = self.id.as_str().as_bytes().to_vec();
        for number in [self.before, self.draw, self.time.micros()] {
            text.extend(number.to_be_bytes());
        }
        match &self.act {
            Act::Creation => text.push(CREATION),
            Act::Change { revoked, version } => {
                text.extend([CHANGE, u8::from(*revoked)]);
                text.extend(version.to_be_bytes());
            }
            Act::Deletion(blob) => {
                text.push(DELETION);
                text.extend(blob);
            }
        }
        text
    }

    /// Reads what [`Self::text`] wrote.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let (id, rest) = text.split_at_checked(TokenId::DIGITS)?;
        let (before, rest) = rest.split_first_chunk()?;
        let (draw, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let act = match rest.split_first()? {
            (&CREATION, []) => Act::Creation,
            (&CHANGE, [revoked, version @ ..]) => Act::Change {
                revoked: *revoked != 0,
                version: u32::from_be_bytes(version.try_into().ok()?),
            },
            (&DELETION, blob) => Act::Deletion(blob.to_vec()),
            _ => return None,
        };
        Some(Self {
            id: TokenId::parse(std::str::from_utf8(id).ok()?).ok()?,
            before: u64::from_be_bytes(*before),
            draw: u64::from_be_bytes(*draw),
            time: Timestamp::from_micros(u64::from_be_bytes(*time)),
            act,
        })
    }

    /// Whether nobody but who finds it is to be expected to tell the change.
    pub(super) fn is_orphaned(&self, now: Timestamp) -> bool {
        const PATIENCE: Duration = MARK_PATIENCE;
        self.time.saturating_add(PATIENCE) <= now
    }

    /// What became of the token, by what stands at its id now; nothing where the change was not made.
    /// Of a token that is gone by now only its deletion is told, which has a mark of its own.
    pub(super) fn outcome(&self, standing: Standing) -> Result<Option<Event>, StoreError> {
        let told = |kind, time, token| Ok(Some(stored::event(kind, time, token)));
        match (&self.act, standing) {
            (Act::Creation, Standing::Token(token)) if token.create_time == self.time => {
                told(EventKind::Created, token.create_time, token)
            }
            (Act::Change { revoked, version }, Standing::Token(token))
                if self.before < token.revision =>
            {
                let kind = match &token {
                    token if !revoked && token.revoked.is_some() => EventKind::Revoked,
                    token if *version < token.secrets.current.version => EventKind::Rotated,
                    _ => EventKind::Updated,
                };
                told(kind, Timestamp::from_micros(token.revision), token)
            }
            (Act::Deletion(blob), Standing::Nothing | Standing::Deletion(_)) => {
                let token = record::decode(self.id, self.before, blob)?;
                told(EventKind::Deleted, self.time, token)
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::Reason;
    use crate::domain::token::tests::{at, draft, replaced};

    fn token() -> Token {
        draft().issue(at(5)).unwrap()
    }

    fn revoked() -> Token {
        let revoked = replaced(token().revoke(at(6), Reason::parse("lost").unwrap()));
        Token {
            revision: at(6).micros(),
            ..revoked
        }
    }

    fn told(act: Act, time: u64, standing: Standing) -> Option<EventKind> {
        let mark = Mark::new(&token(), act, at(time), 1);
        mark.outcome(standing).unwrap().map(|event| event.kind)
    }

    #[test]
    fn a_mark_is_read_back_and_a_damaged_one_is_none() {
        let token = token();
        for act in [
            Act::Creation,
            Act::change(&revoked()),
            Act::deletion(&token),
        ] {
            let mark = Mark::new(&token, act, at(7), 9);
            let text = mark.text();
            assert_eq!(Mark::read(&text), Some(mark));
            assert_eq!(Mark::read(&text[..46]), None);
        }
    }

    #[test]
    fn marks_of_a_token_sort_by_the_revision_that_is_to_be_changed() {
        let (early, late) = (token(), revoked());
        let text = |token, act, draw| Mark::new(token, act, at(7), draw).text();
        let texts = [
            text(&early, Act::Creation, 9),
            text(&early, Act::change(&early), 8),
            text(&late, Act::deletion(&late), 7),
        ];
        assert!(texts.is_sorted());
    }

    #[test]
    fn it_is_told_what_became_of_a_token() {
        let change = || Act::change(&token());
        let deletion = || Act::deletion(&token());
        let (before, after) = (|| Standing::Token(token()), || Standing::Token(revoked()));
        assert_eq!(told(Act::Creation, 5, before()), Some(EventKind::Created));
        assert_eq!(told(change(), 6, after()), Some(EventKind::Revoked));
        let known = Act::Change {
            revoked: true,
            version: 1,
        };
        assert_eq!(told(known, 6, after()), Some(EventKind::Updated));
        let rotated = Act::Change {
            revoked: true,
            version: 0,
        };
        assert_eq!(told(rotated, 6, after()), Some(EventKind::Rotated));
        for gone in [Standing::Nothing, Standing::Deletion(7)] {
            assert_eq!(told(deletion(), 6, gone), Some(EventKind::Deleted));
        }
    }

    #[test]
    fn nothing_is_told_of_what_was_not_done() {
        let standing = || Standing::Token(token());
        assert_eq!(
            told(Act::Creation, 6, standing()),
            None,
            "another attempt's"
        );
        assert_eq!(told(Act::Creation, 5, Standing::Nothing), None);
        assert_eq!(told(Act::change(&token()), 6, standing()), None);
        assert_eq!(told(Act::deletion(&token()), 6, standing()), None);
    }
}

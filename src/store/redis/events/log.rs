//! The log of events: adding to it, reading it, and dropping what was kept long enough.
//!
//! It is a stream of Redis, and a cursor is a place in it. Places only ever grow. Where the last event
//! that was dropped stood is noted, so that who asks for what is dropped is told so, and nobody else.

use redis::Value;

use super::stored;
use crate::domain::event::EventCursor;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::store::StoreError;
use crate::store::events::{EVENTS_MAX, Events};
use crate::store::redis::Access;
use crate::store::redis::error::{micros, read, unexpected};
use crate::store::redis::line::Line;
use crate::store::redis::scripts::{APPEND_EVENTS, DROP_EVENTS, READ_EVENTS};

/// Most events that are added in one step, so that the calls of others come between.
const APPENDED_MAX: usize = 128;
/// Most events that are dropped in one step for their age.
const DROPPED_MAX: usize = 1024;
/// Most events by which the log is longer than asked for, before those are dropped together.
const SLACK_MAX: u64 = 256;

/// How an event is added that has a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It waits for earlier changes of its token that are marked.
    InTurn,
    /// It has no mark, and waits for all changes of a token that are marked: [`Item::behind`].
    Behind,
    /// If its mark still stands: else somebody told it.
    Late,
    /// Whether its mark still stands or not.
    Surely,
}

/// What the log takes at once: an event, and the mark that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Empty where there is none.
    pub(super) mark: Vec<u8>,
    pub(super) how: How,
    /// Empty where only the mark goes.
    pub(super) event: Vec<u8>,
}

impl Item {
    /// An event that no change has caused, behind all changes of `token` that are marked.
    pub(super) fn behind(token: TokenId, event: Vec<u8>) -> Self {
        let last = u64::MAX.to_be_bytes();
        Self {
            mark: [token.as_str().as_bytes(), &last].concat(),
            how: How::Behind,
            event,
        }
    }
}

impl Access {
    /// Adds events in their order; answers of each whether it is done, or waits.
    pub(super) async fn append(
        &self,
        line: &Line<'_>,
        items: &[Item],
    ) -> Result<Vec<bool>, StoreError> {
        let mut done = Vec::with_capacity(items.len());
        for some in items.chunks(APPENDED_MAX) {
            let keys = &self.keys;
            let slack = SLACK_MAX.min(self.events.number / 64);
            let call = APPEND_EVENTS
                .call([keys.events(), keys.marks(), keys.dropped()])
                .arg(self.now())
                .arg(self.events.number.to_string())
                .arg(slack.to_string());
            let call = some.iter().fold(call, |call, item| {
                let how = match item.how {
                    How::InTurn => "turn",
                    How::Behind => "behind",
                    How::Late => "late",
                    How::Surely => "sure",
                };
                call.arg(item.mark.as_slice())
                    .arg(how)
                    .arg(item.event.as_slice())
            });
            let answer = line.script(self.write_timeout, &call).await?;
            let answers: Vec<u64> = read(answer)?;
            if answers.len() != some.len() {
                return Err(unexpected("not as many answers as events"));
            }
            done.extend(answers.into_iter().map(|done| done > 0));
        }
        Ok(done)
    }

    /// Reads the events behind `after`.
    pub(super) async fn read_events(
        &self,
        line: &Line<'_>,
        after: EventCursor,
    ) -> Result<Events, StoreError> {
        let (entries, end, dropped) = self.ask_events(line, after).await?;
        if end < after {
            // The log lost its end, or it is another one.
            return Ok(Events {
                events: Vec::new(),
                next: end,
                missed: true,
            });
        }
        let mut events = Vec::with_capacity(entries.len());
        let mut next = after;
        for (place, event) in entries {
            next = place;
            match stored::decode(&event) {
                Ok(event) => events.push((place, event)),
                Err(error) => {
                    tracing::error!(%error, "an event cannot be read, and is passed over");
                }
            }
        }
        Ok(Events {
            events,
            next,
            missed: after < dropped,
        })
    }

    /// Where the log ends.
    pub(super) async fn end_of_events(&self, line: &Line<'_>) -> Result<EventCursor, StoreError> {
        let beyond = EventCursor {
            major: u64::MAX,
            minor: u64::MAX,
        };
        let (_, end, _) = self.ask_events(line, beyond).await?;
        Ok(end)
    }

    async fn ask_events(
        &self,
        line: &Line<'_>,
        after: EventCursor,
    ) -> Result<(Vec<(EventCursor, Vec<u8>)>, EventCursor, EventCursor), StoreError> {
        let keys = &self.keys;
        let call = READ_EVENTS
            .call([keys.events(), keys.dropped()])
            .arg(place(successor(after)))
            .arg(EVENTS_MAX.to_string());
        // Beside the marker: of an emptied store it must not be said that nothing happened.
        let answer = line.marked_script(self.read_timeout, &call).await?;
        let (end, dropped, entries): (String, String, Vec<Value>) = read(answer)?;
        let entries = entries.into_iter().map(read_entry);
        Ok((
            entries.collect::<Result<_, _>>()?,
            parse_place(&end)?,
            parse_place(&dropped)?,
        ))
    }

    /// Drops some of what was kept long enough; answers whether there may be more.
    pub(super) async fn drop_old(
        &self,
        line: &Line<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let age = self.events.age.as_millis();
        let last = u128::from(now.micros() / 1000).checked_sub(age + 1);
        let Some(last) = last else {
            return Ok(false);
        };
        let keys = &self.keys;
        let call = DROP_EVENTS
            .call([keys.events(), keys.dropped()])
            .arg(last.to_string())
            .arg(DROPPED_MAX.to_string());
        let answer = line.script(self.write_timeout, &call).await?;
        Ok(read::<usize>(answer)? == DROPPED_MAX)
    }
}

/// A cursor as Redis writes it.
fn place(cursor: EventCursor) -> String {
    format!("{}-{}", cursor.major, cursor.minor)
}

fn parse_place(text: &str) -> Result<EventCursor, StoreError> {
    let (major, minor) = text
        .split_once('-')
        .ok_or_else(|| unexpected("a place in the log that is none"))?;
    Ok(EventCursor {
        major: micros(major)?,
        minor: micros(minor)?,
    })
}

/// The first place behind a cursor; the last of all behind that.
fn successor(cursor: EventCursor) -> EventCursor {
    let EventCursor { major, minor } = cursor;
    match (minor.checked_add(1), major.checked_add(1)) {
        (Some(minor), _) => EventCursor { major, minor },
        (None, Some(major)) => EventCursor { major, minor: 0 },
        (None, None) => cursor,
    }
}

fn read_entry(entry: Value) -> Result<(EventCursor, Vec<u8>), StoreError> {
    let (place, fields): (String, Vec<Vec<u8>>) = read(entry)?;
    let event = fields.into_iter().nth(1).unwrap_or_default();
    Ok((parse_place(&place)?, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(major: u64, minor: u64) -> EventCursor {
        EventCursor { major, minor }
    }

    #[test]
    fn places_are_written_as_redis_reads_them_and_read_back() {
        let some = cursor(1_700_000_000_000, 3);
        assert_eq!(place(some), "1700000000000-3");
        assert_eq!(parse_place(&place(some)), Ok(some));
        for text in ["", "1", "x-1", "1-"] {
            assert!(parse_place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn behind_each_place_there_is_another_but_for_the_last() {
        let cases = [
            (cursor(0, 0), cursor(0, 1)),
            (cursor(7, u64::MAX), cursor(8, 0)),
            (cursor(u64::MAX, u64::MAX), cursor(u64::MAX, u64::MAX)),
        ];
        for (before, after) in cases {
            assert_eq!(successor(before), after);
        }
    }
}

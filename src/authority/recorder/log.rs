//! A log of judged requests: their numbers in one list, their texts one after the other in another.

use std::net::IpAddr;

use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{ENDPOINT_BYTES_MAX, Judged, USER_AGENT_BYTES_MAX, beginning};
use crate::domain::verdict::Verdict;

/// Most bytes of texts, and most entries, of one log between two countings: 8 MB of memory in all, and
/// as much again for what is just being counted.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
const ENTRIES_MAX: usize = 32 * 1024;

/// What a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Token(TokenId),
    /// A secret of no token.
    Unknown,
}

/// Judged requests, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    texts: String,
    /// What was counted last, emptied: to be written into next time.
    spare: (Vec<Entry>, String),
}

/// The texts of an entry, in the order in which they are written.
const TEXTS: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Timestamp,
    subject: Subject,
    verdict: Verdict,
    cost: u64,
    secret_version: u32,
    client: Option<IpAddr>,
    /// Bytes of each of its texts.
    lengths: [u16; TEXTS],
}

/// What was written until it was taken.
#[derive(Debug)]
pub(super) struct Written {
    entries: Vec<Entry>,
    texts: String,
    /// How many entries, and bytes of their texts, were read.
    read: (usize, usize),
}

impl Log {
    /// Writes a request down; answers whether there was room.
    pub(super) fn write(&mut self, subject: Subject, namespace: &str, judged: &Judged<'_>) -> bool {
        // A path that is longer than any that is told apart shall be seen to be.
        let texts = [
            (namespace, usize::MAX),
            (judged.validation_id, usize::MAX),
            (judged.method, usize::MAX),
            (judged.path, ENDPOINT_BYTES_MAX + 4),
            (judged.user_agent, USER_AGENT_BYTES_MAX),
        ]
        .map(|(text, most)| beginning(text, most.min(usize::from(u16::MAX))));
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        if self.entries.len() >= ENTRIES_MAX || self.texts.len() + bytes > TEXT_BYTES_MAX {
            return false;
        }
        texts.iter().for_each(|text| self.texts.push_str(text));
        self.entries.push(Entry {
            at: judged.at,
            subject,
            verdict: judged.verdict,
            cost: judged.cost,
            secret_version: judged.secret_version,
            client: judged.client,
            // Cut to that above.
            lengths: texts.map(|text| u16::try_from(text.len()).unwrap_or_default()),
        });
        true
    }

    /// Takes what was written.
    pub(super) fn take(&mut self) -> Written {
        let (entries, texts) = std::mem::take(&mut self.spare);
        Written {
            entries: std::mem::replace(&mut self.entries, entries),
            texts: std::mem::replace(&mut self.texts, texts),
            read: (0, 0),
        }
    }

    /// Takes back the room that was taken, unless it is far more than is needed.
    pub(super) fn give_back(&mut self, written: Written) {
        let Written {
            mut entries,
            mut texts,
            read: _,
        } = written;
        let ample = |used: usize, room: usize| room > 4 * used + 4096;
        if ample(entries.len(), entries.capacity()) || ample(texts.len(), texts.capacity()) {
            return;
        }
        entries.clear();
        texts.clear();
        self.spare = (entries, texts);
    }
}

impl Written {
    /// Whether all of it was read.
    pub(super) fn is_read(&self) -> bool {
        self.read.0 == self.entries.len()
    }

    /// Reads on: the next requests, so many at the most, each with the name of the namespace that it counts in.
    pub(super) fn some(
        &mut self,
        most: usize,
    ) -> impl Iterator<Item = (Subject, &str, Judged<'_>)> {
        let (from, text) = self.read;
        let entries = &self.entries[from..self.entries.len().min(from + most)];
        let lengths = entries.iter().flat_map(|entry| entry.lengths);
        let bytes: usize = lengths.map(usize::from).sum();
        self.read = (from + entries.len(), text + bytes);
        let mut rest = &self.texts[text..];
        entries.iter().map(move |entry| {
            let [namespace, validation_id, method, path, user_agent] =
                entry.lengths.map(|length| {
                    let (text, after) = rest.split_at(usize::from(length));
                    rest = after;
                    text
                });
            let judged = Judged {
                at: entry.at,
                verdict: entry.verdict,
                cost: entry.cost,
                secret_version: entry.secret_version,
                validation_id,
                method,
                path,
                client: entry.client,
                user_agent,
            };
            (entry.subject, namespace, judged)
        })
    }
}

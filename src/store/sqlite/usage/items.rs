//! What is not folded, as it lies in memory: of each subject a row of *items*, each of one flush, which
//! is a plain gain or a frame; and a *legend* beside them, which tells once what many items name.

use std::collections::HashMap;
use std::sync::Arc;

use prost::encoding::encode_varint;

use super::plain::{self, Kind, varint};
use crate::domain::token::TokenId;
use crate::domain::usage::{Gain, Hour, Ledger, Mark, Subject, TokenUse};
use crate::store::StoreError;
use crate::store::usage::add_frames;

/// What items name by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Legend {
    kinds: Vec<Arc<Kind>>,
    /// Hashed with care, since callers choose most of it.
    places: HashMap<Arc<Kind>, u64>,
    marks: Vec<Mark>,
}

/// The items of a subject: behind the number of a kind, from 1 on, and that of a mark, stand the
/// requests of a plain gain; behind 0 and a length, frames.
#[derive(Clone, Debug, Default)]
pub(super) struct Items {
    pub(super) legend: Arc<Legend>,
    pub(super) bytes: Vec<u8>,
}

impl Legend {
    /// The number of a kind, and how many bytes it adds.
    pub(super) fn place(&mut self, kind: &Arc<Kind>) -> (u64, usize) {
        if let Some(place) = self.places.get(kind) {
            return (*place, 0);
        }
        self.kinds.push(kind.clone());
        let place = self.kinds.len() as u64;
        self.places.insert(kind.clone(), place);
        (place, kind.bytes())
    }

    /// The number of a mark. Those of a flush come together.
    pub(super) fn mark(&mut self, mark: Mark) -> u64 {
        if self.marks.last() != Some(&mark) {
            self.marks.push(mark);
        }
        self.marks.len() as u64 - 1
    }
}

pub(super) fn write_plain(out: &mut Vec<u8>, kind: u64, mark: u64, body: &[u8]) {
    encode_varint(kind, out);
    encode_varint(mark, out);
    out.extend_from_slice(body);
}

pub(super) fn write_frames(out: &mut Vec<u8>, frames: &[u8]) {
    encode_varint(0, out);
    encode_varint(frames.len() as u64, out);
    out.extend_from_slice(frames);
}

/// Plain gains of one process and hour that are added together: none between them was added before.
struct Together {
    mark: Mark,
    hour: Hour,
    own: TokenUse,
}

impl Items {
    /// Adds to a ledger what it does not know.
    pub(super) fn add_to(&self, subject: &Subject, ledger: &mut Ledger) -> Result<(), StoreError> {
        let mut rest = self.bytes.as_slice();
        let mut together: Option<Together> = None;
        while !rest.is_empty() {
            let number = varint(&mut rest)?;
            if number == 0 {
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| cut_off())?;
                let (frames, after) = rest.split_at_checked(length).ok_or_else(cut_off)?;
                rest = after;
                Together::add_to(together.take(), ledger);
                add_frames(ledger, frames)?;
                continue;
            }
            let (kind, mark) = self.named(number, varint(&mut rest)?)?;
            let Subject::Token(id) = subject else {
                return Err(StoreError::Corrupt(
                    "usage: a plain gain of no token".into(),
                ));
            };
            if !together.as_ref().is_some_and(|own| own.goes_on(kind, mark)) {
                Together::add_to(together.take(), ledger);
            }
            let known = match &together {
                Some(own) => mark.sequence <= own.mark.sequence,
                None => ledger.knows(mark),
            };
            match known {
                true => plain::skip(&mut rest)?,
                false => Self::count(&mut rest, *id, kind, mark, &mut together)?,
            }
        }
        Together::add_to(together, ledger);
        Ok(())
    }

    fn count(
        rest: &mut &[u8],
        id: TokenId,
        kind: &Kind,
        mark: Mark,
        together: &mut Option<Together>,
    ) -> Result<(), StoreError> {
        let own = together.get_or_insert_with(|| Together {
            mark,
            hour: kind.hour,
            own: plain::nothing(),
        });
        own.mark = mark;
        plain::count(rest, kind, id, &mut own.own)
    }

    fn named(&self, kind: u64, mark: u64) -> Result<(&Kind, Mark), StoreError> {
        let kind = usize::try_from(kind - 1).ok();
        let kind = kind.and_then(|at| self.legend.kinds.get(at));
        let mark = usize::try_from(mark).ok();
        let mark = mark.and_then(|at| self.legend.marks.get(at));
        kind.zip(mark)
            .map(|(kind, mark)| (&**kind, *mark))
            .ok_or_else(|| StoreError::Corrupt("usage: an item that nothing tells of".into()))
    }
}

impl Together {
    /// Whether a gain may be counted with these.
    fn goes_on(&self, kind: &Kind, mark: Mark) -> bool {
        self.hour == kind.hour && self.mark.process == mark.process
    }

    fn add_to(own: Option<Self>, ledger: &mut Ledger) {
        if let Some(Self { mark, hour, own }) = own {
            let gain = Gain {
                hours: vec![(hour, own.used)],
                recent: own.recent,
                ..Gain::default()
            };
            ledger.add(mark, gain);
        }
    }
}

fn cut_off() -> StoreError {
    StoreError::Corrupt("usage: an item that is cut off".into())
}

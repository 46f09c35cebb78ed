//! Validate: who is asked about in which order, and whether the answer is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use prost::encoding::encode_varint;
use token_authority::transport::grpc::pb::{
    Consistency, ValidateRequest, ValidateResponse, Verdict,
};

use crate::Fault;
use crate::asking::{self, Subject};
use crate::driving::{Heard, Script};
use crate::support::numbers::Numbers;

pub(crate) const VALIDATE: &str = "/tokenauthority.v1.TokenService/Validate";

/// Tokens, each with the question about it as it goes over the wire.
pub(crate) struct Subjects {
    pub(crate) all: Vec<Subject>,
    questions: Vec<Box<[u8]>>,
}

impl Subjects {
    pub(crate) fn new(all: Vec<Subject>) -> Arc<Self> {
        let encoded = |subject: &Subject| asking::question(&subject.secret).encode_to_vec();
        let questions = all.iter().map(|subject| encoded(subject).into());
        Arc::new(Self {
            questions: questions.collect(),
            all,
        })
    }

    /// The same questions to whoever answers each for one token.
    pub(crate) fn answered_for(&self, token_id: &str) -> Arc<Self> {
        let all = self.all.iter().map(|subject| Subject {
            secret: subject.secret.clone(),
            token_id: token_id.to_owned(),
        });
        Self::new(all.collect())
    }

    pub(crate) fn question(&self, place: usize) -> &[u8] {
        &self.questions[place]
    }
}

/// Draws from some tokens, made beforehand; every window goes on where the last one was.
pub(crate) struct Mix {
    draws: Vec<u32>,
    next: AtomicUsize,
}

const DRAWS: usize = 1 << 20;

impl Mix {
    /// Each of `count` tokens as often as any other.
    pub(crate) fn uniform(count: usize) -> Arc<Self> {
        let mut numbers = Numbers(1);
        Self::of((0..DRAWS).map(|_| numbers.below(count as u64) as usize))
    }

    /// The token of rank `r` in proportion to `1/r`: Zipf's law with exponent 1.
    pub(crate) fn zipf(count: usize) -> Arc<Self> {
        let sum = |so_far: &mut f64, rank: usize| {
            *so_far += 1.0 / rank as f64;
            Some(*so_far)
        };
        let sums: Vec<f64> = (1..=count).scan(0.0, sum).collect();
        let most = sums.last().copied().unwrap_or_default();
        let mut numbers = Numbers(2);
        let fine = 1 << 30;
        let share = move || numbers.below(fine) as f64 / fine as f64;
        let ranks = std::iter::repeat_with(share).take(DRAWS);
        Self::of(ranks.map(|share| sums.partition_point(|sum| *sum <= share * most)))
    }

    /// Each once, and then again.
    pub(crate) fn in_turn(count: usize) -> Arc<Self> {
        Self::of(0..count)
    }

    fn of(draws: impl Iterator<Item = usize>) -> Arc<Self> {
        let draws = draws.map(|place| u32::try_from(place).expect("a million tokens at most"));
        Arc::new(Self {
            draws: draws.collect(),
            next: AtomicUsize::new(0),
        })
    }

    fn draw(&self) -> usize {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.draws.len();
        self.draws[at] as usize
    }
}

/// Who is asked about.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) subjects: Arc<Subjects>,
    pub(crate) mix: Arc<Mix>,
    /// What stands in each message beside the question.
    beside: Arc<[u8]>,
    /// How many questions are left; `None` for no end.
    left: Option<Arc<AtomicUsize>>,
}

impl Asked {
    pub(crate) fn of(subjects: &Arc<Subjects>, mix: &Arc<Mix>) -> Self {
        Self {
            subjects: subjects.clone(),
            mix: mix.clone(),
            beside: Arc::new([]),
            left: None,
        }
    }

    /// The same, of the store and not of what is remembered.
    pub(crate) fn strongly(self) -> Self {
        let strong = ValidateRequest {
            consistency: Consistency::Strong.into(),
            ..ValidateRequest::default()
        };
        // Fields of a message may come in any number of pieces.
        let beside = strong.encode_to_vec().into();
        Self { beside, ..self }
    }

    /// The same, each of the tokens once.
    pub(crate) fn once(subjects: &Arc<Subjects>) -> Self {
        let count = subjects.all.len();
        Self {
            left: Some(Arc::new(AtomicUsize::new(count))),
            ..Self::of(subjects, &Mix::in_turn(count))
        }
    }

    /// Whether one more may be asked.
    fn goes_on(&self) -> bool {
        let Some(left) = &self.left else { return true };
        let less = |left: usize| left.checked_sub(1);
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    /// Appends the next question, and answers about which token it is.
    pub(crate) fn next(&self, message: &mut Vec<u8>) -> Option<usize> {
        if !self.goes_on() {
            return None;
        }
        let place = self.mix.draw();
        message.extend_from_slice(self.subjects.question(place));
        message.extend_from_slice(&self.beside);
        Some(place)
    }

    /// Appends a question with its length, as a part of another message; answers about which token it is.
    pub(crate) fn next_within(&self, message: &mut Vec<u8>) -> usize {
        let place = self.mix.draw();
        let question = self.subjects.question(place);
        encode_varint((question.len() + self.beside.len()) as u64, message);
        message.extend_from_slice(question);
        message.extend_from_slice(&self.beside);
        place
    }

    /// An error unless an answer says that this very token may do it.
    pub(crate) fn check(&self, place: usize, answer: &[u8]) -> Result<(), Fault> {
        let subject = &self.subjects.all[place];
        if begins_right(answer, &subject.token_id) {
            return Ok(());
        }
        asking::check(&ValidateResponse::decode(answer)?, subject)
    }
}

/// Whether an answer begins, in the order in which encoders write, with what it has to say: `valid`,
/// `verdict` and within `token` its id. What does not may be right all the same, and is decoded.
fn begins_right(answer: &[u8], token_id: &str) -> bool {
    const TOKEN: u8 = 3 << 3 | 2;
    const TOKEN_ID: u8 = 1 << 3 | 2;
    let begins = [1 << 3, 1, 2 << 3, Verdict::Valid as u8, TOKEN];
    let Some(rest) = answer.strip_prefix(&begins) else {
        return false;
    };
    // The length of the token, in one byte or two.
    let length = if rest.first().is_some_and(|byte| *byte >= 0x80) {
        2
    } else {
        1
    };
    let id = rest
        .get(length..)
        .and_then(|token| token.strip_prefix(&[TOKEN_ID]));
    let id = id.and_then(|token| token.split_first());
    id.is_some_and(|(length, rest)| {
        usize::from(*length) == token_id.len() && rest.starts_with(token_id.as_bytes())
    })
}

/// Asks about one token after the other.
pub(crate) struct Validating {
    asked: Asked,
    /// About which token each slot asked.
    places: Vec<usize>,
}

impl Validating {
    pub(crate) fn new(asked: Asked, slots: usize) -> Self {
        Self {
            asked,
            places: vec![0; slots],
        }
    }
}

impl Script for Validating {
    fn ask(&mut self, slot: usize, message: &mut Vec<u8>) -> Option<&'static str> {
        self.places[slot] = self.asked.next(message)?;
        Some(VALIDATE)
    }

    fn hear(&mut self, slot: usize, answer: &[u8]) -> Result<Heard, Fault> {
        self.asked.check(self.places[slot], answer)?;
        Ok(Heard::Whole)
    }
}

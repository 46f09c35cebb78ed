//! One of the last requests of a token, in full.

use std::net::IpAddr;

use super::{ENDPOINT_BYTES_MAX, Judged, USER_AGENT_BYTES_MAX, beginning};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

/// One of the last requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    pub at: Timestamp,
    pub verdict: Verdict,
    pub client: Option<IpAddr>,
    /// Bytes of each of the texts.
    lengths: [u32; TEXTS],
    texts: String,
}

/// Validation id, method, path, user agent.
const TEXTS: usize = 4;

impl Recent {
    /// Takes a request down, where another was that is not kept any more.
    pub fn of(judged: &Judged<'_>, place: Option<Self>) -> Self {
        let mut texts = place.map(|place| place.texts).unwrap_or_default();
        texts.clear();
        let parts = [
            (judged.validation_id, usize::MAX),
            (judged.method, usize::MAX),
            (judged.path, ENDPOINT_BYTES_MAX),
            (judged.user_agent, USER_AGENT_BYTES_MAX),
        ]
        .map(|(text, most)| beginning(text, most));
        texts.reserve_exact(parts.iter().map(|part| part.len()).sum());
        texts.extend(parts);
        Self {
            at: judged.at,
            verdict: judged.verdict,
            client: judged.client,
            // No text is longer than a message may be.
            lengths: parts.map(|part| part.len() as u32),
            texts,
        }
    }

    pub fn validation_id(&self) -> &str {
        self.text(0)
    }

    pub fn method(&self) -> &str {
        self.text(1)
    }

    pub fn path(&self) -> &str {
        self.text(2)
    }

    pub fn user_agent(&self) -> &str {
        self.text(3)
    }

    fn text(&self, number: usize) -> &str {
        let begin = self.lengths[..number].iter().sum::<u32>() as usize;
        &self.texts[begin..begin + self.lengths[number] as usize]
    }
}

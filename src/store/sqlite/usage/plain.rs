//! Plain gains: a few requests of a token within an hour that were alike, as nearly all gains are where
//! many tokens are asked about by turns. Their *kind* is told once for many tokens, and of each request
//! only when it was and which number it had: a dozen bytes.
//!
//! A gain is plain only where all of it follows from that again.

use std::net::IpAddr;

use prost::encoding::{decode_varint, encode_varint};

use crate::domain::alphabet;
use crate::domain::name::Namespace;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenId;
use crate::domain::usage::{Add, Gain, Hour, Judged, Recent, TokenUse, Use};
use crate::domain::verdict::Verdict;
use crate::store::StoreError;

/// Digits of a judgement's name that tell which process gave it, and of the count behind them.
const PROCESS_DIGITS: usize = 12;
const COUNT_DIGITS: usize = 8;
/// Where these begin: behind the token and the verdict.
const HEAD_BYTES: usize = TokenId::DIGITS + 1;
const ID_BYTES: usize = HEAD_BYTES + PROCESS_DIGITS + COUNT_DIGITS;

/// What requests have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct KindOf<T> {
    pub(super) hour: Hour,
    pub(super) verdict: Verdict,
    /// What each took.
    pub(super) cost: u64,
    pub(super) version: u32,
    pub(super) client: Option<IpAddr>,
    pub(super) process: [u8; PROCESS_DIGITS],
    pub(super) method: T,
    pub(super) path: T,
    pub(super) user_agent: T,
}

pub(super) type Kind = KindOf<Box<str>>;

impl KindOf<&str> {
    pub(super) fn kept(&self) -> Kind {
        KindOf {
            hour: self.hour,
            verdict: self.verdict,
            cost: self.cost,
            version: self.version,
            client: self.client,
            process: self.process,
            method: self.method.into(),
            path: self.path.into(),
            user_agent: self.user_agent.into(),
        }
    }
}

impl Kind {
    pub(super) fn borrowed(&self) -> KindOf<&str> {
        KindOf {
            hour: self.hour,
            verdict: self.verdict,
            cost: self.cost,
            version: self.version,
            client: self.client,
            process: self.process,
            method: &self.method,
            path: &self.path,
            user_agent: &self.user_agent,
        }
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.method, &self.path, &self.user_agent];
        2 * size_of::<Self>() + texts.map(|text| text.len()).iter().sum::<usize>()
    }
}

/// The kind of a token's gain; `None` where it is not plain.
pub(super) fn kind(id: TokenId, gain: &Gain) -> Option<KindOf<&str>> {
    let [(hour, used)] = gain.hours.as_slice() else {
        return None;
    };
    let first = gain.recent.front()?;
    let requests = gain.recent.len() as u64;
    if !gain.ended.is_empty() || used.tokens.is_some() {
        return None;
    }
    let Use {
        counts,
        versions,
        endpoints,
        clients,
        tokens: _,
    } = used;
    let (version, version_row) = one(versions.read())?;
    let (endpoint, endpoint_row) = one(endpoints.read())?;
    let client = match clients.is_empty() {
        true => None,
        false => Some(one(clients.read())?),
    };
    let passed = first.verdict == Verdict::Valid;
    let times = || gain.recent.iter().map(|recent| recent.at);
    let cost = counts.cost().checked_div(requests)?;
    let sound = counts.completed().is_none()
        && counts.of(first.verdict) == requests
        && counts.requests() == requests
        && counts.cost() == cost * requests
        && (passed || cost == 0)
        && endpoint_row == counts
        && (endpoint.method(), endpoint.path()) == (first.method(), first.path())
        && version_row.requests == requests
        && version_row.last_used == times().max().filter(|_| passed)
        && client.map(|(address, _)| *address) == first.client
        && client.is_none_or(|(_, row)| {
            row.requests == requests && Some(row.first_seen) == times().min()
        });
    let like_first = |recent: &Recent| {
        (recent.verdict, recent.client) == (first.verdict, first.client)
            && (recent.method(), recent.path()) == (first.method(), first.path())
            && recent.user_agent() == first.user_agent()
    };
    let process = process(id, first)?;
    let like = sound
        && gain.recent.iter().all(|recent| {
            Hour::of(recent.at) == *hour && like_first(recent) && {
                number(recent).is_some() && self::process(id, recent) == Some(process)
            }
        });
    like.then_some(KindOf {
        hour: *hour,
        verdict: first.verdict,
        cost,
        version: *version,
        client: first.client,
        process,
        method: first.method(),
        path: first.path(),
        user_agent: first.user_agent(),
    })
}

/// The only row of a table.
fn one<'a, K, V: Add + PartialEq + 'a>(
    (mut rows, other): (impl Iterator<Item = &'a (K, V)>, &V),
) -> Option<(&'a K, &'a V)> {
    let (key, value) = rows.next()?;
    (rows.next().is_none() && *other == V::default()).then_some((key, value))
}

/// Which process gave a judgement of this token its name, if one did.
fn process(id: TokenId, recent: &Recent) -> Option<[u8; PROCESS_DIGITS]> {
    let text = recent.validation_id().as_bytes();
    let rest = text.strip_prefix(id.as_str().as_bytes())?;
    let rest = rest.strip_prefix(&digit(recent.verdict))?;
    let process = rest.first_chunk::<PROCESS_DIGITS>()?;
    (rest.len() == PROCESS_DIGITS + COUNT_DIGITS && process.is_ascii()).then_some(*process)
}

fn digit(verdict: Verdict) -> [u8; 1] {
    alphabet::digits_of(verdict.number().into())
}

/// Which number the name ends in.
fn number(recent: &Recent) -> Option<u64> {
    alphabet::number(recent.validation_id().get(ID_BYTES - COUNT_DIGITS..)?)
}

/// Writes down the requests of a plain gain: how many, and of each its time within the hour and its
/// number, each as how far it is from the one before.
pub(super) fn write(out: &mut Vec<u8>, kind: &KindOf<&str>, gain: &Gain) {
    encode_varint(gain.recent.len() as u64, out);
    let (mut at, mut count) = (kind.hour.begin().micros(), 0);
    for recent in &gain.recent {
        difference(out, recent.at.micros(), &mut at);
        difference(out, number(recent).unwrap_or_default(), &mut count);
    }
}

/// Reads what [`write`] wrote of one gain, and counts its requests.
pub(super) fn count(
    bytes: &mut &[u8],
    kind: &Kind,
    id: TokenId,
    own: &mut TokenUse,
) -> Result<(), StoreError> {
    let mut name = String::with_capacity(ID_BYTES);
    let (mut at, mut count) = (kind.hour.begin().micros(), 0);
    for _ in 0..varint(bytes)? {
        read_difference(bytes, &mut at)?;
        read_difference(bytes, &mut count)?;
        name.clear();
        name.push_str(id.as_str());
        for digits in [
            digit(kind.verdict).as_slice(),
            &kind.process,
            &alphabet::digits_of::<COUNT_DIGITS>(count),
        ] {
            name.push_str(alphabet::text(digits));
        }
        own.note(&Judged {
            at: Timestamp::from_micros(at),
            verdict: kind.verdict,
            cost: kind.cost,
            secret_version: kind.version,
            validation_id: &name,
            method: &kind.method,
            path: &kind.path,
            client: kind.client,
            user_agent: &kind.user_agent,
        });
    }
    Ok(())
}

/// Passes over what [`write`] wrote of one gain.
pub(super) fn skip(bytes: &mut &[u8]) -> Result<(), StoreError> {
    for _ in 0..2 * varint(bytes)? {
        varint(bytes)?;
    }
    Ok(())
}

/// Nothing counted yet.
pub(super) fn nothing() -> TokenUse {
    // Where it counts is known by whoever adds it.
    TokenUse::of(Namespace::fallback())
}

pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, StoreError> {
    decode_varint(bytes).map_err(|error| StoreError::Corrupt(format!("usage: {error}")))
}

fn difference(out: &mut Vec<u8>, value: u64, before: &mut u64) {
    let by = value.wrapping_sub(*before).cast_signed();
    *before = value;
    encode_varint((by << 1 ^ by >> 63).cast_unsigned(), out);
}

fn read_difference(bytes: &mut &[u8], value: &mut u64) -> Result<(), StoreError> {
    let by = varint(bytes)?;
    *value = value.wrapping_add((by >> 1) ^ (by & 1).wrapping_neg());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::token::tests::at;
    use crate::entropy;

    /// Second, verdict, path, client, version, number.
    type Drawn = (u64, bool, u8, u8, u32, u64);

    fn gain(id: TokenId, requests: &[Drawn]) -> Gain {
        let mut gain = Gain::default();
        for (second, passes, path, client, version, count) in requests {
            let verdict = match passes {
                true => Verdict::Valid,
                false => Verdict::RateLimited,
            };
            let number = alphabet::encode(u128::from(*count), COUNT_DIGITS);
            let digit = digit(verdict);
            let name = format!("{id}{}ProcessName0{number}", alphabet::text(&digit));
            let path = format!("/{path}");
            let judged = Judged {
                at: at(*second),
                verdict,
                cost: 3,
                secret_version: *version,
                validation_id: &name,
                method: "GET",
                path: &path,
                client: (*client > 0).then(|| IpAddr::from([192, 0, 2, *client])),
                user_agent: "agent",
            };
            let mut own = nothing();
            own.note(&judged);
            gain.add_hour(Hour::of(judged.at), own.used);
            gain.recent.extend(own.recent);
        }
        gain
    }

    proptest! {
        #[test]
        fn a_plain_gain_is_told_again_as_it_was(
            requests in prop::collection::vec(
                (0_u64..7200, any::<bool>(), 0_u8..2, 0_u8..2, 0_u32..2, 0_u64..1 << 40), 1..4,
            ),
        ) {
            let id = entropy::token_id().unwrap();
            let gain = gain(id, &requests);
            if let Some(kind) = kind(id, &gain) {
                let mut bytes = Vec::new();
                write(&mut bytes, &kind, &gain);
                let mut own = nothing();
                count(&mut bytes.as_slice(), &kind.kept(), id, &mut own).unwrap();
                prop_assert_eq!(&gain.hours, &[(kind.hour, own.used)]);
                prop_assert_eq!(&gain.recent, &own.recent);
            } else {
                let alike = |one: &Drawn| (one.0 / 3600, one.1, one.2, one.3, one.4);
                prop_assert!(requests.iter().any(|one| alike(one) != alike(&requests[0])));
            }
        }
    }
}

//! The stored form of a tenure, which Redis' scripts read and write too: numbers at fixed places, and
//! what no script looks at as a blob.
//!
//! All numbers are big-endian; times and spans are microseconds, times since 1970.
//!
//! | bytes | in the head |
//! |---|---|
//! | 8 | number of the last lease, 0 before the first |
//! | 8 | how long the token lives without a beat, 0 for ever |
//! | 8 | when it goes unless it is kept alive, 0 never |
//! | 8 | when the token ends, 0 never |
//! | 1, then as many | length of `<namespace>:<pool>`, and that |
//!
//! | bytes | of each lease, the newest first |
//! |---|---|
//! | 22 | its mark |
//! | 8 | its number |
//! | 8 | when it was acquired |
//! | 8 | when it is over unless it is kept alive, or ended before |
//! | 8 | how long a keep-alive that does not say so extends it |
//! | 8 | when somebody, or by the next lease its time, ended it, 0 where nothing did |
//! | 1 | why it will be over: 2 its own time, 3 the end of its token |
//! | 1 | why that ended it: 1 released, 2 its own time, 3 the end of its token, 4 forced, 0 where nothing did |
//! | 2, then as many | length of the blob: holder, request, digests |

use std::time::Duration;

use prost::Message;

use crate::domain::flaw::Flaw;
use crate::domain::lease::{Holder, Lease, LeaseEnd, LeaseMark};
use crate::domain::tenure::{Grant, Tenure};
use crate::domain::time::Timestamp;
use crate::domain::token::{Origin, Token, TokenId};

use super::StoreError;
use super::record::{StoredDigest, StoredOrigin};

/// What no script looks at. Field numbers are for ever.
#[derive(Clone, PartialEq, Message)]
struct StoredHolding {
    #[prost(string, tag = "1")]
    holder: String,
    #[prost(message, optional, tag = "2")]
    origin: Option<StoredOrigin>,
    #[prost(message, repeated, tag = "3")]
    digests: Vec<StoredDigest>,
}

/// Encodes the tenure that `token` carries; nothing for a token that is in no pool.
pub fn encode(token: &Token) -> Option<Vec<u8>> {
    let tenure = token.tenure.as_ref()?;
    let pool = token.profile.pool.as_ref()?;
    let Tenure {
        fence,
        deadline,
        leases,
    } = tenure;
    let place = format!("{}:{}", token.namespace, pool.as_str());
    let mut bytes = Vec::with_capacity(64 + place.len() + leases.len() * 160);
    let numbers = [
        *fence,
        token.profile.keep_alive_ttl.map_or(0, micros),
        deadline.map_or(0, Timestamp::micros),
        token.expire_time.map_or(0, Timestamp::micros),
    ];
    numbers
        .iter()
        .for_each(|number| bytes.extend(number.to_be_bytes()));
    // Two names of at most 63 bytes each.
    bytes.push(u8::try_from(place.len()).unwrap_or(u8::MAX));
    bytes.extend(place.as_bytes());
    for lease in leases {
        encode_lease(lease, &mut bytes);
    }
    Some(bytes)
}

/// Encodes what a script puts behind the numbers of a new lease.
pub fn encode_grant(grant: &Grant) -> Vec<u8> {
    let Grant {
        mark: _,
        holder,
        duration: _,
        origin,
        digest,
    } = grant;
    let digests = vec![StoredDigest::from(digest)];
    holding(holder, origin.as_ref(), digests).encode_to_vec()
}

fn holding(holder: &Holder, origin: Option<&Origin>, digests: Vec<StoredDigest>) -> StoredHolding {
    StoredHolding {
        holder: holder.as_str().to_owned(),
        origin: origin.map(StoredOrigin::from),
        digests,
    }
}

fn encode_lease(lease: &Lease, bytes: &mut Vec<u8>) {
    let Lease {
        mark,
        holder,
        fence,
        acquire_time,
        expire_time,
        lapse,
        duration,
        ended,
        origin,
        digests,
    } = lease;
    bytes.extend(mark.as_str().as_bytes());
    let numbers = [
        *fence,
        acquire_time.micros(),
        expire_time.micros(),
        micros(*duration),
        ended.map_or(0, |(time, _)| time.micros()),
    ];
    numbers
        .iter()
        .for_each(|number| bytes.extend(number.to_be_bytes()));
    bytes.push(reason(*lapse));
    bytes.push(ended.map_or(0, |(_, why)| reason(why)));
    let digests = digests.iter().map(StoredDigest::from).collect();
    let blob = holding(holder, origin.as_ref(), digests).encode_to_vec();
    // A holder of 512 bytes at most, a request of 64, three digests of 32.
    bytes.extend(u16::try_from(blob.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(blob);
}

/// Decodes what [`encode`] wrote.
pub fn decode(id: TokenId, bytes: &[u8]) -> Result<Tenure, StoreError> {
    read(bytes).map_err(|flaw| StoreError::Corrupt(format!("the tenure of token {id}: {flaw}")))
}

fn read(bytes: &[u8]) -> Result<Tenure, Flaw> {
    let mut reader = Reader(bytes);
    let (fence, _ttl, deadline, _end) = (
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
    );
    let [length] = reader.array()?;
    reader.take(usize::from(length))?;
    let mut leases = Vec::new();
    while !reader.0.is_empty() {
        leases.push(read_lease(&mut reader)?);
    }
    Ok(Tenure {
        fence,
        deadline: time(deadline),
        leases,
    })
}

fn read_lease(reader: &mut Reader<'_>) -> Result<Lease, Flaw> {
    let mark = std::str::from_utf8(reader.take(LeaseMark::DIGITS)?);
    let mark = LeaseMark::parse(mark.map_err(|_| Flaw::new("a mark that is no text"))?)?;
    let (fence, acquired, expires, duration, ended) = (
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
        reader.number()?,
    );
    let [lapse, why] = reader.array()?;
    let length = u16::from_be_bytes(reader.array()?);
    let blob = reader.take(usize::from(length))?;
    let StoredHolding {
        holder,
        origin,
        digests,
    } = StoredHolding::decode(blob).map_err(|error| Flaw::new(error.to_string()))?;
    let ended = time(ended).map(|time| Ok::<_, Flaw>((time, end(why)?)));
    Ok(Lease {
        mark,
        holder: Holder::parse(&holder)?,
        fence,
        acquire_time: Timestamp::from_micros(acquired),
        expire_time: Timestamp::from_micros(expires),
        lapse: end(lapse)?,
        duration: Duration::from_micros(duration),
        ended: ended.transpose()?,
        origin: origin.map(Origin::try_from).transpose()?,
        digests: digests
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, Flaw>>()?,
    })
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let cut = || Flaw::new("it is cut");
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn number(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_be_bytes)
    }
}

fn time(micros: u64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn reason(end: LeaseEnd) -> u8 {
    match end {
        LeaseEnd::Released => 1,
        LeaseEnd::Expired => 2,
        LeaseEnd::Revoked => 3,
        LeaseEnd::Forced => 4,
    }
}

fn end(reason: u8) -> Result<LeaseEnd, Flaw> {
    match reason {
        1 => Ok(LeaseEnd::Released),
        2 => Ok(LeaseEnd::Expired),
        3 => Ok(LeaseEnd::Revoked),
        4 => Ok(LeaseEnd::Forced),
        other => Err(Flaw::new(format!("an end {other} of a lease"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::PoolName;
    use crate::domain::profile::Profile;
    use crate::domain::token::tests::{at, draft};
    use crate::domain::token::{Draft, Expiration, RequestKey};

    fn leased() -> Token {
        let profile = Profile {
            pool: PoolName::parse("gpu").ok(),
            keep_alive_ttl: Some(Duration::from_secs(300)),
            ..Profile::default()
        };
        let expiration = Expiration::After(Duration::from_secs(3000));
        let draft = Draft {
            profile,
            expiration,
            ..draft()
        };
        let token = draft.issue(at(1000)).unwrap();
        let mut tenure = token.tenure.clone().unwrap();
        for (digit, second) in [('a', 1000), ('b', 1001), ('c', 1002)] {
            let origin = (digit == 'b').then_some(Origin {
                key: RequestKey([1; 32]),
                fingerprint: [2; 32],
            });
            let grant = Grant {
                mark: LeaseMark::parse(&digit.to_string().repeat(22)).unwrap(),
                holder: Holder::parse("é worker").unwrap(),
                duration: Duration::from_secs(60),
                origin,
                digest: draft.digest.clone(),
            };
            tenure.grant(&token, at(second), grant);
            if digit != 'c' {
                tenure.release(&token, at(second), LeaseEnd::Forced);
            }
        }
        Token {
            tenure: Some(tenure),
            ..token
        }
    }

    #[test]
    fn a_tenure_is_read_back_whole() {
        let token = leased();
        let bytes = encode(&token).unwrap();
        assert_eq!(decode(token.id, &bytes).ok(), token.tenure);
    }

    #[test]
    fn what_a_script_appends_is_read_back() {
        let token = leased();
        let lease = &token.tenure.as_ref().unwrap().leases[1];
        let grant = Grant {
            mark: lease.mark,
            holder: lease.holder.clone(),
            duration: lease.duration,
            origin: lease.origin.clone(),
            digest: lease.digests[0].clone(),
        };
        let bytes = encode(&token).unwrap();
        let blob = encode_grant(&grant);
        assert!(bytes.windows(blob.len()).any(|window| window == blob));
    }

    #[test]
    fn a_damaged_tenure_is_an_error_and_never_a_panic() {
        let token = leased();
        let bytes = encode(&token).unwrap();
        let mut whole = 0;
        for cut in 0..bytes.len() {
            whole += u32::from(decode(token.id, &bytes[..cut]).is_ok());
        }
        assert_eq!(whole, 3, "at the border of each lease only");
    }

    #[test]
    fn a_token_in_no_pool_has_no_tenure() {
        assert_eq!(encode(&draft().issue(at(1)).unwrap()), None);
    }
}

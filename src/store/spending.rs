//! The stored form of what is spent of limits: short texts, which Redis' scripts read and write too.
//!
//! Rate limits: `<since> <time>`, then ` <name> <step> <drain> <units>` for each. Quota:
//! `<since> <time> <limit> <left>`. Batches: `<rates since> <quota since>`, then
//! ` <id> <uses> <of quota> <end> <settled>` for each, where 1 is yes and 0 is no. Times are microseconds
//! since 1970.

use std::fmt::Write;
use std::str::FromStr;

use crate::domain::limit::LimitName;
use crate::domain::permits::{Batch, BatchId, Batches};
use crate::domain::spending::{Backlog, QuotaSpending, RateSpending};
use crate::domain::time::Timestamp;

use super::StoreError;

pub fn encode_rates(rates: &RateSpending) -> String {
    let RateSpending {
        since,
        time,
        backlogs,
    } = rates;
    let mut text = format!("{} {}", since.micros(), time.micros());
    for backlog in backlogs {
        let Backlog {
            name,
            step,
            drain,
            units,
        } = backlog;
        // Writing to a string cannot fail.
        let _ = write!(text, " {name} {step} {drain} {units}");
    }
    text
}

pub fn decode_rates(text: &[u8]) -> Result<RateSpending, StoreError> {
    let mut words = Words::of(text)?;
    let (since, time) = (words.time()?, words.time()?);
    let mut backlogs = Vec::new();
    while let Some(name) = words.0.next() {
        backlogs.push(Backlog {
            name: LimitName::parse(name).map_err(|flaw| corrupt(&flaw.to_string()))?,
            step: words.number().and_then(positive)?,
            drain: words.number()?,
            units: words.number()?,
        });
    }
    Ok(RateSpending {
        since,
        time,
        backlogs,
    })
}

pub fn encode_quota(quota: &QuotaSpending) -> String {
    let QuotaSpending {
        since,
        time,
        limit,
        left,
    } = quota;
    format!("{} {} {limit} {left}", since.micros(), time.micros())
}

pub fn decode_quota(text: &[u8]) -> Result<QuotaSpending, StoreError> {
    let mut words = Words::of(text)?;
    Ok(QuotaSpending {
        since: words.time()?,
        time: words.time()?,
        limit: words.number()?,
        left: words.number()?,
    })
}

/// Only a script writes them.
pub fn decode_batches(text: &[u8]) -> Result<Batches, StoreError> {
    let mut words = Words::of(text)?;
    let (rates_since, quota_since) = (words.time()?, words.time()?);
    let mut list = Vec::new();
    while let Some(id) = words.0.next() {
        list.push(Batch {
            id: BatchId(number(id)?),
            uses: words.number()?,
            of_quota: words.yes()?,
            end: words.time()?,
            settled: words.yes()?,
        });
    }
    Ok(Batches {
        rates_since,
        quota_since,
        list,
    })
}

struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn of(text: &'a [u8]) -> Result<Self, StoreError> {
        let text = std::str::from_utf8(text).map_err(|_| corrupt("it is no text"))?;
        Ok(Self(text.split_ascii_whitespace()))
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        let word = self.0.next().ok_or_else(|| corrupt("it is cut"))?;
        number(word)
    }

    fn yes(&mut self) -> Result<bool, StoreError> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(corrupt("neither yes nor no")),
        }
    }

    fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.number().map(Timestamp::from_micros)
    }
}

fn number(word: &str) -> Result<u64, StoreError> {
    u64::from_str(word).map_err(|_| corrupt("a number is none"))
}

fn positive(step: u64) -> Result<u64, StoreError> {
    if step == 0 {
        return Err(corrupt("a step is 0"));
    }
    Ok(step)
}

fn corrupt(why: &str) -> StoreError {
    StoreError::Corrupt(format!("what is spent of a token's limits: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let time = Timestamp::from_micros;
        let backlog = |name: &str, units| Backlog {
            name: LimitName::parse(name).unwrap(),
            step: 300_000,
            drain: 2,
            units,
        };
        let rates = RateSpending {
            since: time(1),
            time: time(2),
            backlogs: vec![backlog("", 3), backlog("a.b", 0)],
        };
        let text = encode_rates(&rates);
        assert_eq!(text, "1 2 default 300000 2 3 a.b 300000 2 0");
        assert_eq!(decode_rates(text.as_bytes()), Ok(rates));
        let quota = QuotaSpending {
            since: time(1),
            time: time(2),
            limit: 10,
            left: 9,
        };
        assert_eq!(encode_quota(&quota), "1 2 10 9");
        assert_eq!(decode_quota(b"1 2 10 9"), Ok(quota));
    }

    #[test]
    fn batches_are_read_as_the_script_writes_them() {
        let time = Timestamp::from_micros;
        let batch = |id, uses, of_quota, end, settled| Batch {
            id: BatchId(id),
            uses,
            of_quota,
            end: time(end),
            settled,
        };
        let batches = Batches {
            rates_since: time(1),
            quota_since: time(2),
            list: vec![
                batch(u64::MAX, 3, true, 4, true),
                batch(5, 6, false, 7, false),
            ],
        };
        let text = b"1 2 18446744073709551615 3 1 4 1 5 6 0 7 0";
        assert_eq!(decode_batches(text), Ok(batches));
        assert_eq!(decode_batches(b"1 2").map(|none| none.list), Ok(Vec::new()));
        assert!(decode_batches(b"1 2 3 4 2 5 0").is_err());
    }

    proptest! {
        #[test]
        fn what_is_damaged_is_an_error_and_never_a_panic(text in "[ 0-9a-z\\PC]{0,40}") {
            let _ = decode_rates(text.as_bytes());
            let _ = decode_quota(text.as_bytes());
            let _ = decode_batches(text.as_bytes());
        }
    }
}

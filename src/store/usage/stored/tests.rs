//! What is written is read again, whatever it is, and what was folded adds up to what was not.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::name::Namespace;
use crate::domain::token::TokenId;
use crate::domain::usage::{Ended, Judged, Keeping, Outcome, TokenUse};
use crate::domain::verdict::Verdict;

/// One request: second, verdict, path, client, whether and how it ended.
type Drawn = (u64, usize, u8, u8, Option<(u16, u32)>);

fn gain_of(requests: &[Drawn]) -> Gain {
    let mut gain = Gain::default();
    for (second, verdict, path, client, end) in requests {
        let at = Timestamp::from_micros(second * 1_000_000);
        let verdict = Verdict::ALL[*verdict];
        let id = format!("v{second}");
        let path = format!("/{path}");
        let judged = Judged {
            at,
            verdict,
            cost: 2,
            secret_version: u32::from(*client),
            validation_id: &id,
            method: "GET",
            path: &path,
            client: Some(IpAddr::from([10, 0, 0, *client])),
            user_agent: "agent",
        };
        let mut own = TokenUse::of(Namespace::fallback());
        own.note(&judged);
        let mut ended = VecDeque::new();
        if let Some((status, micros)) = end {
            let outcome = Outcome {
                verdict: Some(verdict),
                status: Some(*status),
                latency: Some(Duration::from_micros(u64::from(*micros))),
                response_bytes: 7,
                ..Outcome::default()
            };
            own.used.note_end("GET", &path, &outcome);
            ended.push_back(Ended {
                at,
                validation_id: id.clone(),
                outcome,
            });
        }
        let token = TokenId::parse("0123456789ABCDEFGHIJKL").unwrap();
        let counts = own.used.counts.clone();
        let tokens = own.used.tokens.get_or_insert_default();
        tokens.of(&token, || token).add(counts);
        gain.add(Gain {
            hours: vec![(Hour::of(at), own.used)],
            recent: own.recent,
            ended,
        });
    }
    gain
}

fn requests() -> impl Strategy<Value = Vec<Drawn>> {
    let end = prop::option::of((100_u16..600, any::<u32>()));
    let request = (0_u64..20_000, 0..14_usize, 0_u8..90, 0_u8..40, end);
    prop::collection::vec(request, 0..30)
}

fn mark(process: u64, sequence: u64) -> Mark {
    Mark { process, sequence }
}

proptest! {
    #[test]
    fn a_ledger_reads_the_same_however_often_it_was_folded(
        gains in prop::collection::vec((requests(), 0_u64..3, any::<bool>()), 0..6),
    ) {
        let (mut plain, mut folded) = (Vec::new(), Vec::new());
        for (sequence, (requests, process, fold)) in gains.iter().enumerate() {
            let gain = encode_gain(mark(*process, sequence as u64), &gain_of(requests));
            plain.extend_from_slice(&gain);
            folded.extend_from_slice(&gain);
            if *fold {
                folded = encode_ledger(&decode_ledger(&folded).unwrap());
            }
        }
        prop_assert_eq!(decode_ledger(&plain).unwrap(), decode_ledger(&folded).unwrap());
    }

    #[test]
    fn a_gain_that_comes_again_counts_once(requests in requests(), fold in any::<bool>()) {
        let gain = encode_gain(mark(1, 7), &gain_of(&requests));
        let once = decode_ledger(&gain).unwrap();
        let before = if fold { encode_ledger(&once) } else { gain.clone() };
        prop_assert_eq!(decode_ledger(&[before, gain].concat()).unwrap(), once);
    }

    #[test]
    fn closed_hours_and_days_are_read_as_they_were_put_down(requests in requests()) {
        let mut ledger = Ledger::default();
        ledger.add(mark(1, 1), gain_of(&requests));
        let whole = ledger.clone();
        let closed = ledger.close(Hour::from_number(3), &Keeping::default());
        let frames: Vec<u8> = closed.iter().flat_map(|(hour, used)| encode_hour(*hour, used)).collect();
        prop_assert_eq!(&decode_hours(&frames).unwrap(), &closed);
        prop_assert!(closed.keys().all(|hour| hour.number() < 2));
        let sum = closed.len() + ledger.open.len();
        prop_assert_eq!(sum, whole.open.len());

        let mut days = BTreeMap::<Day, Counts>::new();
        for (hour, used) in closed {
            days.entry(hour.day()).or_default().add(used.counts.without_times());
        }
        prop_assert_eq!(decode_days(&encode_days(&days)).unwrap(), days);
    }

    #[test]
    fn no_bytes_that_are_no_ledger_bring_down_who_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_ledger(&bytes);
        let _ = decode_hours(&bytes);
        let _ = decode_days(&bytes);
    }
}

#[test]
fn last_requests_are_read_as_they_were_written_before() {
    let mut gain = gain_of(&[(1, 0, 1, 1, None), (2, 3, 2, 2, None)]);
    let stored = |recent: &Recent| StoredRecent {
        at: recent.at.micros(),
        verdict: recent.verdict.number().into(),
        validation_id: recent.validation_id().to_owned(),
        method: recent.method().to_owned(),
        path: recent.path().to_owned(),
        client: match recent.client {
            Some(IpAddr::V4(address)) => address.octets().to_vec(),
            _ => Vec::new(),
        },
        user_agent: recent.user_agent().to_owned(),
    };
    let frame = StoredFrame {
        process: 1,
        sequence: 1,
        recent: gain.recent.iter().map(stored).collect(),
        ..StoredFrame::default()
    };
    let ledger = decode_ledger(&frame.encode_length_delimited_to_vec()).unwrap();
    gain.hours.clear();
    assert_eq!(
        ledger,
        decode_ledger(&encode_gain(mark(1, 1), &gain)).unwrap()
    );
    assert_eq!(ledger.recent.len(), 2);
}

#[test]
fn an_empty_ledger_is_read_from_nothing() {
    assert_eq!(decode_ledger(&[]).unwrap(), Ledger::default());
    assert_eq!(
        decode_ledger(&encode_ledger(&Ledger::default())).unwrap(),
        Ledger::default()
    );
}

#[test]
fn what_is_cut_off_is_a_corrupt_ledger() {
    let gain = encode_gain(mark(1, 1), &gain_of(&[(1, 0, 1, 1, None)]));
    let cut = decode_ledger(&gain[..gain.len() - 1]);
    assert!(matches!(cut, Err(StoreError::Corrupt(_))), "{cut:?}");
}

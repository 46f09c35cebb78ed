//! What is told of use over a window, against a count that knows no store.

use std::collections::HashMap;
use std::time::Duration;

use token_authority::domain::time::Timestamp;
use token_authority::domain::usage::{Hour, Keeping, Subject, Window};
use token_authority::domain::verdict::Verdict;

use crate::fixture::Bench;
use crate::support::drafts::namespace;
use crate::support::numbers::Numbers;
use crate::usage::{DAY, HOUR, Request, add, flush, report, used_token};

/// What a subject's requests are, whoever keeps them.
fn expected(requests: &[Request], now: Timestamp, span: Duration) -> (Vec<u64>, HashMap<u64, u64>) {
    let keeping = Keeping::default();
    let window = Window::of(now, span).unwrap();
    let first = window.first_hour(&keeping);
    let mut hours = vec![0; (window.now.number() - first.number()) as usize + 1];
    let mut paths = HashMap::new();
    for one in requests {
        if let Some(at) = Hour::of(one.at).number().checked_sub(first.number()) {
            hours[at as usize] += 1;
            *paths.entry(one.path).or_default() += 1;
        }
    }
    (hours, paths)
}

pub(crate) async fn a_report_is_what_an_independent_count_says(mut bench: Bench) {
    let mut numbers = Numbers(0x75_7361_6765);
    let mut known = Vec::new();
    for _ in 0..4 {
        known.push((used_token(&bench).await.1, Vec::<Request>::new()));
    }
    known.push((Subject::Namespace(namespace("default")), Vec::new()));
    let mut sent = [0_u64; 3];
    for step in 0..300_u64 {
        let process = numbers.below(3);
        sent[process as usize] += 1;
        let mut gains = Vec::new();
        for (subject, requests) in &mut known {
            let mut some = Vec::new();
            for _ in 0..numbers.below(4) {
                // Some are told hours late.
                let late = numbers.below(4) * numbers.below(3) * 3_600_000_000;
                some.push(Request {
                    at: Timestamp::from_micros(bench.now().micros() - late + requests.len() as u64),
                    verdict: Verdict::ALL[numbers.below(14) as usize],
                    path: numbers.below(20),
                    client: numbers.below(9) as u8,
                    version: numbers.below(3) as u32,
                    status: (numbers.below(3) == 0).then_some(200),
                });
                requests.extend(some.last());
            }
            gains.push((subject.clone(), some));
        }
        let gains: Vec<(&Subject, &[Request])> = gains
            .iter()
            .map(|(subject, some)| (subject, &some[..]))
            .collect();
        let flush = flush(process + 1, sent[process as usize], &gains);
        for _ in 0..=numbers.below(2) {
            add(&bench, &flush).await;
        }
        if numbers.below(3) == 0 {
            bench.fold().await;
        }
        if numbers.below(40) == 0 {
            bench.store.close().await;
            bench.reopen().await;
        }
        bench.pass(Duration::from_secs(numbers.below(8 * 3600)));
        if step % 20 != 19 {
            continue;
        }
        for (subject, requests) in &known {
            for span in [HOUR * 3, DAY, DAY * 33] {
                let (hours, paths) = expected(requests, bench.now(), span);
                let told = report(&bench, subject, span).await;
                let counts = told.hourly.iter().map(|(_, counts)| counts.requests());
                assert_eq!(
                    counts.collect::<Vec<_>>(),
                    hours,
                    "{subject:?} over {span:?}"
                );
                assert_eq!(told.totals.requests(), hours.iter().sum::<u64>());
                let endpoints = told.endpoints.iter().map(|(endpoint, counts)| {
                    let path = endpoint.as_ref().expect("there are few").path();
                    (path[1..].parse().unwrap(), counts.requests())
                });
                assert_eq!(endpoints.collect::<HashMap<u64, u64>>(), paths);
            }
            // Of the hours that are not kept, the days are; whole ones.
            let all = report(&bench, subject, DAY * 300).await;
            assert_eq!(all.totals.requests(), requests.len() as u64);
            let ends = requests.iter().filter(|one| one.status.is_some()).count();
            let told = all.totals.completed().map_or(0, |ends| ends.requests);
            assert_eq!(told, ends as u64);
        }
    }
}

//! What is counted in parts adds up to what is counted at once, and nobody makes it large.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::endpoint::{Endpoints, Pattern};
use crate::domain::token::tests::at;

fn judged<'a>(second: u64, verdict: Verdict, path: &'a str) -> Judged<'a> {
    Judged {
        at: at(second),
        verdict,
        cost: 3,
        secret_version: 1,
        validation_id: "v",
        method: "GET",
        path,
        client: None,
        user_agent: "",
    }
}

fn blank() -> TokenUse {
    TokenUse::of(Namespace::fallback())
}

fn sum_of_endpoints(own: &TokenUse) -> u64 {
    let (rows, other) = own.used.endpoints.read();
    rows.map(|(_, counts)| counts.requests()).sum::<u64>() + other.requests()
}

#[test]
fn an_hour_holds_its_beginning_and_not_its_end() {
    assert_eq!(Hour::of(at(3599)), Hour::of(at(0)));
    assert_eq!(Hour::of(at(3600)).begin(), at(3600));
    assert_eq!(
        Hour::of(Timestamp::MAX).begin(),
        at(253_402_300_799 / 3600 * 3600)
    );
}

#[test]
fn a_text_is_cut_between_characters() {
    assert_eq!(beginning("a\u{e9}b", 2), "a");
    assert_eq!(beginning("a\u{e9}b", 3), "a\u{e9}");
    assert_eq!(beginning("ab", 9), "ab");
}

#[test]
fn only_what_passed_costs() {
    let mut own = blank();
    own.note(&judged(0, Verdict::Valid, "/"));
    own.note(&judged(0, Verdict::RateLimited, "/"));
    assert_eq!((own.used.counts.requests(), own.used.counts.cost()), (2, 3));
    assert_eq!(own.used.counts.of(Verdict::RateLimited), 1);
}

#[test]
fn a_thousand_paths_are_some_rows_and_one_for_the_rest() {
    let mut own = blank();
    for number in 0..1000 {
        own.note(&judged(0, Verdict::Valid, &format!("/{number}")));
    }
    let too_long = "/".repeat(ENDPOINT_BYTES_MAX + 1);
    own.note(&judged(0, Verdict::Valid, &too_long));
    let (rows, other) = own.used.endpoints.read();
    assert_eq!(rows.count(), ENDPOINTS_MAX);
    assert_eq!(other.requests(), 1001 - ENDPOINTS_MAX as u64);
    assert_eq!(own.recent.len(), RECENT_MAX);
    assert_eq!(own.recent[RECENT_MAX - 1].path().len(), ENDPOINT_BYTES_MAX);
}

#[test]
fn path_parameters_count_under_the_pattern_that_allows_them() {
    let pattern = |text| Pattern::parse(text).unwrap();
    let endpoints = Endpoints::new(vec![pattern("GET /orders/*/items"), pattern("/carts/**")]);
    let told = |method, raw| endpoint(endpoints.texts(), method, raw);
    assert_eq!(
        told(Some("GET"), Some("/orders/7/items?all")),
        "/orders/*/items"
    );
    assert_eq!(told(Some("PUT"), Some("/carts/7")), "/carts/**");
    assert_eq!(
        told(Some("PUT"), Some("/orders/7/items?all")),
        "/orders/7/items"
    );
    assert_eq!(told(None, None), "");
}

#[test]
fn what_is_kept_goes_in_the_hour_that_is_said() {
    const HOUR: Duration = Duration::from_secs(3600);
    let some = Keeping {
        hours: HOUR * 30,
        days: HOUR * 49,
    };
    for keeping in [Keeping::default(), some] {
        let day = Day::from_number(20_000);
        let gone = keeping.details_until(day);
        assert!(keeping.first_hour(gone.before(1)) <= day.begin());
        assert!(keeping.first_hour(gone) >= day.after(1).begin());
        let gone = keeping.sum_until(day);
        assert_eq!(keeping.first_day(gone.before(1)), day);
        assert_eq!(keeping.first_day(gone), day.after(1));
    }
}

proptest! {
    #[test]
    fn parts_add_up_to_the_whole(
        requests in prop::collection::vec((0u64..50, 0usize..4, 0usize..100, 0u8..40, 0u32..3), 0..300),
        border in 0usize..300,
    ) {
        let verdicts = [Verdict::Valid, Verdict::ScopeDenied, Verdict::Expired, Verdict::RateLimited];
        let paths: Vec<String> = (0..100).map(|number| format!("/{number}")).collect();
        let (mut whole, mut parts) = (blank(), [blank(), blank()]);
        for (number, (second, verdict, path, client, version)) in requests.iter().enumerate() {
            let judged = Judged {
                secret_version: *version,
                client: Some(IpAddr::from([192, 0, 2, *client])),
                ..judged(*second, verdicts[*verdict], &paths[*path])
            };
            whole.note(&judged);
            parts[usize::from(number >= border)].note(&judged);
        }
        let [mut sum, later] = parts;
        sum.add(later);
        prop_assert_eq!(&sum.used.counts, &whole.used.counts);
        prop_assert_eq!(&sum.used.versions, &whole.used.versions);
        prop_assert_eq!(sum_of_endpoints(&sum), requests.len() as u64);
        prop_assert_eq!(sum_of_endpoints(&whole), requests.len() as u64);
        let clients = |own: &TokenUse| {
            let (rows, other) = own.used.clients.read();
            rows.map(|(_, client)| client.requests).sum::<u64>() + other.requests
        };
        prop_assert_eq!(clients(&sum), requests.len() as u64);
        prop_assert!(sum.used.endpoints.read().0.count() <= ENDPOINTS_MAX);
        prop_assert!(sum.recent.len() <= RECENT_MAX);
        prop_assert!(sum.recent.iter().is_sorted_by_key(|recent| recent.at));
    }
}

#[test]
fn what_comes_again_and_again_keeps_its_row_in_a_flood_of_what_comes_once() {
    let mut own = blank();
    for number in 0..10_000 {
        own.note(&judged(0, Verdict::Valid, &format!("/{number}")));
        if number % 3 == 0 {
            own.note(&judged(0, Verdict::Valid, "/busy"));
        }
    }
    let (mut rows, _) = own.used.endpoints.read();
    let busy = rows.find(|(endpoint, _)| endpoint.path() == "/busy");
    let counted = busy.map(|(_, counts)| counts.requests());
    // It may lose its place while it has come only once.
    assert!(counted.is_some_and(|counted| counted > 3300), "{counted:?}");
    assert_eq!(sum_of_endpoints(&own), 10_000 + 3334);
}

#[test]
fn what_services_tell_of_an_end_decides_whether_a_request_succeeded() {
    let end = |verdict, status, grpc_status| Outcome {
        verdict,
        status,
        grpc_status,
        ..Outcome::default()
    };
    let mut counts = Counts::default();
    let valid = Some(Verdict::Valid);
    for (verdict, outcome) in [
        (Verdict::Valid, None),
        (Verdict::Valid, Some(end(valid, Some(200), None))),
        (Verdict::Valid, Some(end(valid, Some(503), None))),
        // gRPC's own status decides, in an answer that is 200 to HTTP.
        (Verdict::Valid, Some(end(valid, Some(200), Some(13)))),
        (Verdict::RateLimited, None),
        (
            Verdict::RateLimited,
            Some(end(Some(Verdict::RateLimited), Some(429), None)),
        ),
    ] {
        counts.note(verdict, 1);
        outcome.iter().for_each(|outcome| counts.note_end(outcome));
    }
    assert_eq!(
        (counts.requests(), counts.successful(), counts.failed()),
        (6, 2, 4)
    );
    counts.note_end(&end(None, Some(200), None));
    counts.note_end(&end(None, Some(500), None));
    assert_eq!(
        (counts.requests(), counts.successful(), counts.failed()),
        (6, 3, 5)
    );
    let ends = counts
        .completed()
        .map(|ends| (ends.requests, ends.unjudged, ends.classes));
    assert_eq!(ends, Some((6, 2, [0, 3, 0, 1, 2])));
}

//! Looking at a Redis from outside: how far its clock is from ours, and where it ends.

use std::time::{Duration, Instant};

use token_authority::clock::{Clock, ManualClock};
use token_authority::store::StoreError;
use token_authority::store::redis::{Insight, Reached, RedisOptions, inspect};

use crate::kit::{marked_server, system_time};

async fn insight(options: &RedisOptions, clock: &dyn Clock) -> Box<Insight> {
    let until = Instant::now() + Duration::from_secs(20);
    match inspect(options, clock, until).await {
        Reached::Whole(insight) => insight,
        other => panic!("not reached: {other:?}"),
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_here_is_measured_against_that_of_redis() {
    let (_server, options) = marked_server().await;
    let minute = Duration::from_secs(60);
    let early = system_time().micros() - 60_000_000;
    let early = token_authority::domain::time::Timestamp::from_micros(early);
    for (now, ahead) in [(system_time().saturating_add(minute), false), (early, true)] {
        let clock = ManualClock::at(now);
        let offset = insight(&options, &clock).await.clock.unwrap();
        assert_eq!(offset.ahead, ahead);
        // What passed meanwhile on a busy machine.
        assert!(
            offset.span.abs_diff(minute) < Duration::from_secs(20),
            "{offset:?}"
        );
    }
}

#[tokio::test]
async fn a_redis_that_stands_still_is_left_when_the_time_is_over() {
    let (server, options) = marked_server().await;
    server.signal("STOP");
    let until = Instant::now() + Duration::from_millis(300);
    let reached = inspect(&options, &ManualClock::at(system_time()), until).await;
    server.signal("CONT");
    let Reached::Unanswered(StoreError::Slow(_) | StoreError::Unreachable(_)) = reached else {
        panic!("{reached:?}")
    };
    assert!(until.elapsed() < Duration::from_secs(20));
}

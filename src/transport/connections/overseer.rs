//! Looks after all connections from time to time: none stays too long, idle, or with a call that
//! does not end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::Ended;

use super::Bounds;
use super::admission::Admission;
use super::connection::{Connection, Order};

/// How much later than the youngest the oldest age may be, so that connections which began
/// together do not all come back together: a tenth of the age each way, as in gRFC A9.
const SPREAD: f64 = 0.2;
/// Spreads consecutive numbers evenly over [0, 1): the fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
const LOOK_MIN: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Looks after connections until it is dropped.
pub(super) async fn oversee(admission: Arc<Admission>, bounds: Bounds) {
    let shortest = bounds.idle.min(bounds.age).min(bounds.stall);
    let mut look = tokio::time::interval((shortest / 4).clamp(LOOK_MIN, LOOK_MAX));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let overdue = bounds.call + bounds.stall;
    let mut next_span = Instant::now() + overdue;
    loop {
        look.tick().await;
        let now = Instant::now();
        let span_ends = now >= next_span;
        if span_ends {
            next_span = now + overdue;
        }
        admission.each(|number, connection| {
            if let Some((order, why)) = judge(connection, number, &bounds, now, span_ends) {
                connection.dismiss(order, why);
            }
        });
    }
}

/// What a connection is told now, and why.
fn judge(
    connection: &Connection,
    number: u64,
    bounds: &Bounds,
    now: Instant,
    span_ends: bool,
) -> Option<(Order, Ended)> {
    let overdue = span_ends && connection.calls.next_span();
    if let Some(leaving) = connection.leaving_since(now) {
        let late = leaving > bounds.call + bounds.stall;
        return late.then_some((Order::Cut, Ended::Stalled));
    }
    if overdue {
        // Not at once: other calls of the connection may be well.
        return Some((Order::Leave, Ended::Stalled));
    }
    if connection.idle(now) >= bounds.idle {
        return Some((Order::Leave, Ended::Idle));
    }
    let age = oldest(number, bounds.age);
    (now >= connection.until(age)).then_some((Order::Leave, Ended::Aged))
}

/// How old the connection of that number may become.
fn oldest(number: u64, age: Duration) -> Duration {
    let spread = (number as f64 * GOLDEN).fract() - 0.5;
    age.mul_f64(1.0 + SPREAD * spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 9,
        of_one_address: 9,
        handshake: Duration::from_secs(5),
        idle: Duration::from_secs(60),
        age: Duration::from_secs(1000),
        stall: Duration::from_secs(10),
        call: Duration::from_secs(10),
        calls_per_connection: 9,
    };

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn connections_that_began_together_do_not_end_together() {
        let mut ages: Vec<_> = (1..=100).map(|n| oldest(n, BOUNDS.age)).collect();
        ages.sort();
        let whole = Duration::from_secs(900)..=Duration::from_secs(1100);
        assert!(ages.iter().all(|age| whole.contains(age)));
        let gaps = ages.windows(2).map(|pair| pair[1] - pair[0]);
        let widest = gaps.max().expect("many");
        assert!(
            widest < Duration::from_secs(4),
            "a hundred over 200 s: {widest:?}"
        );
    }

    #[test]
    fn an_idle_connection_leaves_and_one_with_a_call_stays() {
        let connection = Connection::new(None, None);
        let judged = |seconds| judge(&connection, 1, &BOUNDS, after(seconds), false);
        assert_eq!(judged(59), None);
        assert_eq!(judged(61), Some((Order::Leave, Ended::Idle)));
        let call = connection.begin();
        assert_eq!(judged(61), None);
        drop(call);
        assert_eq!(judged(62), None, "it was active a moment ago");
        assert_eq!(judged(200), Some((Order::Leave, Ended::Idle)));
    }

    #[test]
    fn an_overdue_call_sends_its_connection_away_which_is_cut_if_it_stays() {
        let connection = Connection::new(None, None);
        let _call = connection.begin();
        let judged = |seconds, ends| judge(&connection, 1, &BOUNDS, after(seconds), ends);
        assert_eq!(judged(20, true), None, "it began in the span that ends");
        assert_eq!(judged(39, false), None);
        assert_eq!(judged(40, true), Some((Order::Leave, Ended::Stalled)));
        connection.dismiss(Order::Leave, Ended::Stalled);
        assert_eq!(judged(19, false), None);
        assert_eq!(judged(21, false), Some((Order::Cut, Ended::Stalled)));
        assert_eq!(connection.reason(), Some(Ended::Stalled));
    }
}

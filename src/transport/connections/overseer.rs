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
    let spread = (number as f64 * GOLDEN).fract() - 0.5;
    let age = bounds.age.mul_f64(1.0 + SPREAD * spread);
    (now >= connection.until(age)).then_some((Order::Leave, Ended::Aged))
}

//! Tests of when an end that comes near is told.

use super::*;

fn nearness_of(life: Duration, left: Duration) -> Nearness {
    let until = Timestamp::from_micros(0).saturating_add(life);
    let validity = Validity {
        from: Timestamp::from_micros(0),
        until,
    };
    let passed = life.saturating_sub(left);
    nearness(validity, Timestamp::from_micros(0).saturating_add(passed))
}

#[test]
fn an_end_is_near_by_days_or_by_the_certificates_own_life() {
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let year = 365 * DAY;
    for (life, left, expected) in [
        (year, 31 * DAY, Nearness::Far),
        (year, 29 * DAY, Nearness::Soon),
        (year, 6 * DAY, Nearness::Near),
        (90 * DAY, 30 * DAY, Nearness::Far),
        (90 * DAY, 22 * DAY, Nearness::Soon),
        (minutes(60), minutes(30), Nearness::Far),
        (minutes(60), minutes(14), Nearness::Soon),
        (minutes(60), minutes(4), Nearness::Near),
    ] {
        assert_eq!(nearness_of(life, left), expected, "{left:?} of {life:?}");
    }
    let ended = Validity {
        from: Timestamp::from_micros(0),
        until: Timestamp::from_micros(1),
    };
    assert_eq!(nearness(ended, Timestamp::from_micros(2)), Nearness::Over);
}

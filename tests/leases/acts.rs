//! What may happen to a pool: acts drawn at random, whose times often meet.

use proptest::option;
use proptest::prelude::*;

use crate::history::Micros;

pub(crate) const SECOND: Micros = 1_000_000;
/// How many may wait at once.
pub(crate) const WAITERS: usize = 4;

/// One act; tokens and leases are named by numbers, counted round.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Create(Option<u64>, Option<u64>),
    Acquire(u64),
    Wait(usize, u64),
    Leave(usize),
    Release(usize),
    Force(usize),
    KeepAlive(usize, Option<u64>),
    Beat(usize),
    Switch(usize, bool),
    Revoke(usize),
    MoveEnd(usize, Option<u64>),
    Span(usize, Option<u64>),
    Delete(usize),
    Pass(Micros),
    Away(u64),
    Reopen,
    Sweep,
}

/// Spans of seconds that often meet: ends of leases, of tokens and of lives fall on one instant.
fn spans() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1u64), Just(2), Just(5), Just(10)]
}

pub(crate) fn acts() -> impl Strategy<Value = Act> {
    let at = || 0..1000usize;
    let end = || option::weighted(0.6, prop_oneof![Just(0u64), Just(1), Just(5), Just(20)]);
    let span = || option::weighted(0.6, spans());
    let passing = prop_oneof![
        Just(1),
        Just(SECOND - 1),
        Just(SECOND),
        Just(2 * SECOND),
        Just(5 * SECOND),
        Just(10 * SECOND),
    ];
    prop_oneof![
        3 => (option::weighted(0.2, spans()), span()).prop_map(|(end, span)| Act::Create(end, span)),
        8 => spans().prop_map(Act::Acquire),
        5 => (0..WAITERS, spans()).prop_map(|(at, span)| Act::Wait(at, span)),
        1 => (0..WAITERS).prop_map(Act::Leave),
        5 => at().prop_map(Act::Release),
        1 => at().prop_map(Act::Force),
        4 => (at(), option::of(spans())).prop_map(|(at, span)| Act::KeepAlive(at, span)),
        2 => at().prop_map(Act::Beat),
        2 => (at(), any::<bool>()).prop_map(|(at, off)| Act::Switch(at, off)),
        1 => at().prop_map(Act::Revoke),
        1 => (at(), end()).prop_map(|(at, end)| Act::MoveEnd(at, end)),
        1 => (at(), span()).prop_map(|(at, span)| Act::Span(at, span)),
        1 => at().prop_map(Act::Delete),
        8 => passing.prop_map(Act::Pass),
        1 => prop_oneof![Just(6u64), Just(300), Just(3601)].prop_map(Act::Away),
        1 => Just(Act::Reopen),
        1 => Just(Act::Sweep),
    ]
}

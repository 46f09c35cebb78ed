//! How many tokens are in force, and which of them expire next.

use std::sync::Arc;
use std::time::Duration;

use token_authority::domain::name::Namespace;
use token_authority::domain::page::Filter;
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Draft, Expiration, Ruling, State, TokenId};
use token_authority::store::Rule;
use token_authority::store::usage::InForce;

use crate::fixture::{BEGIN, Bench, everything};
use crate::support::drafts::{
    draft, ending_after, ending_at, namespace, pooled, revoking, swept, willing, within,
};
use crate::support::numbers::Numbers;
use crate::usage::{DAY, HOUR};

/// A rule that switches a token off, or on.
fn switching(off: bool) -> Rule {
    Arc::new(move |token, now| {
        let mut changed = token.clone();
        changed.profile.disabled = off;
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

async fn standing(bench: &Bench, namespace: Option<&str>, span: Duration) -> InForce {
    let namespace = namespace.map(|name| Namespace::parse(name).unwrap());
    let until = bench.now().saturating_add(span);
    let answer = bench.store.standing(namespace.as_ref(), until, 3).await;
    answer.expect("the store answers")
}

async fn active(bench: &Bench) -> u64 {
    standing(bench, Some("default"), DAY).await.active
}

fn ids(standing: &InForce) -> Vec<TokenId> {
    standing.expiring.iter().map(|token| token.id).collect()
}

pub(crate) async fn all_but_those_that_are_not_in_force_are_counted(bench: Bench) {
    assert_eq!(standing(&bench, None, DAY).await, InForce::default());
    assert_eq!(active(&bench).await, 0);
    let id = bench.create(draft()).await.id;
    bench.create(pooled(draft(), "gpu")).await;
    let off = Draft {
        profile: token_authority::domain::profile::Profile {
            disabled: true,
            ..Default::default()
        },
        ..draft()
    };
    let off = bench.create(off).await.id;
    assert_eq!(active(&bench).await, 2);
    for (id, rule, expected) in [
        (off, switching(false), 3),
        (id, switching(true), 2),
        (id, switching(false), 3),
        (id, revoking(""), 2),
        (off, ending_at(Some(BEGIN.saturating_add(HOUR))), 2),
    ] {
        bench.store.change(id, rule).await.unwrap();
        assert_eq!(active(&bench).await, expected);
    }
    bench.pass(HOUR - Duration::from_micros(1));
    assert_eq!(active(&bench).await, 2);
    bench.pass(Duration::from_micros(1));
    assert_eq!(active(&bench).await, 1);
    bench.store.change(off, ending_at(None)).await.unwrap();
    assert_eq!(active(&bench).await, 2);
    bench.store.delete(id, willing()).await.unwrap();
    assert_eq!(active(&bench).await, 2);
    bench.store.delete(off, willing()).await.unwrap();
    assert_eq!(active(&bench).await, 1);
}

pub(crate) async fn namespaces_are_counted_alone_and_together(bench: Bench) {
    for (name, count) in [("shop", 3), ("shops", 2), ("default", 1)] {
        for _ in 0..count {
            bench.create(within(name)).await;
        }
    }
    let out = bench.create(within("shop")).await.id;
    bench.store.change(out, switching(true)).await.unwrap();
    for (name, expected) in [
        (Some("shop"), 3),
        (Some("shops"), 2),
        (Some("sho"), 0),
        (None, 6),
    ] {
        assert_eq!(
            standing(&bench, name, DAY).await.active,
            expected,
            "{name:?}"
        );
    }
}

pub(crate) async fn those_that_expire_next_come_first(bench: Bench) {
    let mut made = Vec::new();
    for (hours, name) in [(9, "a"), (3, "b"), (5, "a"), (30, "a"), (7, "b"), (8, "a")] {
        let draft = Draft {
            namespace: namespace(name),
            ..ending_after(HOUR * hours)
        };
        made.push(bench.create(draft).await.id);
    }
    bench.create(within("a")).await;
    let all = standing(&bench, None, DAY).await;
    assert_eq!(
        (all.active, ids(&all)),
        (7, vec![made[1], made[2], made[4]])
    );
    let one = standing(&bench, Some("a"), DAY).await;
    assert_eq!(
        (one.active, ids(&one)),
        (5, vec![made[2], made[5], made[0]])
    );
    bench.store.change(made[2], revoking("")).await.unwrap();
    bench.store.change(made[5], switching(true)).await.unwrap();
    let later = Some(BEGIN.saturating_add(HOUR * 24));
    bench.store.change(made[0], ending_at(later)).await.unwrap();
    let one = standing(&bench, Some("a"), DAY).await;
    assert_eq!((one.active, ids(&one)), (3, vec![made[0]]));
    assert_eq!(one.expiring[0].expire_time, later);
    let sooner = standing(&bench, Some("a"), HOUR * 23).await;
    assert_eq!((sooner.active, ids(&sooner)), (3, Vec::new()));
    bench.pass(HOUR * 3);
    let all = standing(&bench, None, DAY).await;
    assert_eq!((all.active, ids(&all)), (4, vec![made[4], made[0]]));
}

pub(crate) async fn a_count_follows_every_change(bench: Bench) {
    let mut numbers = Numbers(0x66_6f72_6365);
    let mut known: Vec<TokenId> = Vec::new();
    let in_force = Filter {
        states: [State::Active].into(),
        ..everything()
    };
    for step in 0..400 {
        let some = known.get(numbers.below(known.len().max(1) as u64) as usize);
        let span = Duration::from_secs(1 + numbers.below(36 * 3600));
        match (numbers.below(8), some) {
            (0 | 1, _) | (_, None) => known.push(bench.create(draft()).await.id),
            (2, _) => {
                let draft = Draft {
                    expiration: Expiration::After(span),
                    ..draft()
                };
                known.push(bench.create(draft).await.id);
            }
            (3, Some(id)) => {
                let off = switching(numbers.below(2) == 0);
                bench.store.change(*id, off).await.unwrap();
            }
            (4, Some(id)) => drop(bench.store.change(*id, revoking("")).await.unwrap()),
            (5, Some(id)) => {
                let end = (numbers.below(3) > 0).then(|| bench.now().saturating_add(span));
                bench.store.change(*id, ending_at(end)).await.unwrap();
            }
            (6, Some(id)) => drop(bench.store.delete(*id, willing()).await.unwrap()),
            _ => bench.pass(Duration::from_secs(numbers.below(12 * 3600))),
        }
        if step % 50 == 0 {
            swept(bench.store.as_ref()).await;
        }
        let listed = bench.walk(&in_force, 50).await;
        let told = standing(&bench, Some("default"), DAY * 2).await;
        assert_eq!(told.active, listed.len() as u64, "at step {step}");
        let mut soon: Vec<(Timestamp, TokenId)> = Vec::new();
        for id in listed {
            let end = bench.found(id).await.and_then(|token| token.expire_time);
            soon.extend(end.map(|end| (end, id)));
        }
        soon.sort();
        let soon = soon.into_iter().map(|(end, _)| end).take(3);
        let told = told.expiring.iter().filter_map(|token| token.expire_time);
        assert!(told.eq(soon), "at step {step}");
    }
}

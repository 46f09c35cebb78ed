//! Namespaces: which there are, in what order, and how many tokens each holds.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::domain::caller::Reach;
use token_authority::domain::name::Namespace;
use token_authority::domain::page::PageSize;
use token_authority::domain::token::{Draft, Expiration};
use token_authority::store::Creation;
use token_authority::store::census::Census;

use crate::fixture::{BEGIN, Bench};
use crate::support::drafts::{
    draft, namespace, owned, pooled, requested, revoking, willing, within,
};

async fn page(bench: &Bench, reach: &Reach, after: Option<&Namespace>, size: u32) -> Census {
    let page = bench
        .store
        .census(reach, after, PageSize::asked(size))
        .await;
    page.expect("the store answers")
}

/// The names and counts of all pages of `size`, in order.
async fn counted(bench: &Bench, reach: &Reach, size: u32) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let Census { populations, next } = page(bench, reach, after.as_ref(), size).await;
        assert!(populations.len() <= size as usize);
        let pairs = populations.into_iter();
        all.extend(pairs.map(|one| (one.namespace.to_string(), one.tokens)));
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    let pair = |(name, tokens): &(&str, u64)| ((*name).to_owned(), *tokens);
    expected.iter().map(pair).collect()
}

fn only(names: &[&str]) -> Reach {
    Reach::Only(names.iter().map(|name| namespace(name)).collect())
}

pub(crate) async fn a_new_store_has_no_namespaces(bench: Bench) {
    assert!(counted(&bench, &Reach::All, 50).await.is_empty());
    assert!(counted(&bench, &only(&["default"]), 50).await.is_empty());
}

pub(crate) async fn counts_follow_creations_and_deletions(bench: Bench) {
    let first = bench.create(within("shop")).await.id;
    bench.create(within("shop")).await;
    bench.create(pooled(owned("ann"), "gpu")).await;
    let expected = pairs(&[("default", 1), ("shop", 2)]);
    assert_eq!(counted(&bench, &Reach::All, 50).await, expected);
    bench.store.delete(first, willing()).await.unwrap();
    let expected = pairs(&[("default", 1), ("shop", 1)]);
    assert_eq!(counted(&bench, &Reach::All, 50).await, expected);
    bench.create(within("shop")).await;
    let expected = pairs(&[("default", 1), ("shop", 2)]);
    assert_eq!(counted(&bench, &Reach::All, 50).await, expected);
}

pub(crate) async fn an_ended_token_counts_until_it_is_deleted(bench: Bench) {
    let brief = Draft {
        expiration: Expiration::After(Duration::from_secs(1)),
        ..draft()
    };
    let brief = bench.create(brief).await.id;
    let revoked = bench.create(draft()).await.id;
    bench.store.change(revoked, revoking("")).await.unwrap();
    bench.pass(Duration::from_secs(2));
    for (id, left) in [(brief, 2), (revoked, 1)] {
        let expected = pairs(&[("default", left)]);
        assert_eq!(counted(&bench, &Reach::All, 50).await, expected);
        bench.store.delete(id, willing()).await.unwrap();
    }
    assert!(counted(&bench, &Reach::All, 50).await.is_empty());
}

pub(crate) async fn what_came_to_nothing_is_not_counted(bench: Bench) {
    let late = Draft {
        expiration: Expiration::At(BEGIN),
        ..within("late")
    };
    let refused = bench.store.create(late).await;
    assert!(matches!(refused, Ok(Creation::Refused(_))), "{refused:?}");
    bench.create(requested(1)).await;
    let again = bench.store.create(requested(1)).await;
    assert!(matches!(again, Ok(Creation::Taken(_))), "{again:?}");
    let expected = pairs(&[("default", 1)]);
    assert_eq!(counted(&bench, &Reach::All, 50).await, expected);
}

pub(crate) async fn namespaces_are_listed_by_name_whatever_the_page(bench: Bench) {
    // Created in another order than listed; one is the beginning of the next.
    let names = ["zoo", "a-1", "shop-2", "0", "shop", "a", "-a", "shop-10"];
    for (more, name) in names.iter().enumerate() {
        for _ in 0..=more % 3 {
            bench.create(within(name)).await;
        }
    }
    let mut expected: Vec<(String, u64)> = names
        .iter()
        .enumerate()
        .map(|(more, name)| ((*name).to_owned(), more as u64 % 3 + 1))
        .collect();
    expected.sort();
    for size in [1, 2, 7, 8, 9, 50] {
        let all = counted(&bench, &Reach::All, size).await;
        assert_eq!(all, expected, "pages of {size}");
    }
    let full = page(&bench, &Reach::All, None, 8).await;
    assert_eq!(full.next, None, "a full last page has no successor");
}

pub(crate) async fn more_namespaces_than_one_exchange_carries_are_all_counted(bench: Bench) {
    let mut expected = Vec::new();
    for n in 0..300 {
        let name = format!("n{n:03}");
        bench.create(within(&name)).await;
        expected.push((name, 1));
    }
    for size in [100, 1000] {
        assert_eq!(counted(&bench, &Reach::All, size).await, expected);
    }
}

pub(crate) async fn only_namespaces_in_reach_are_listed(bench: Bench) {
    for name in ["a", "b", "c", "d"] {
        bench.create(within(name)).await;
    }
    let some = only(&["b", "d", "unknown"]);
    for size in [1, 2, 50] {
        let expected = pairs(&[("b", 1), ("d", 1)]);
        assert_eq!(counted(&bench, &some, size).await, expected);
    }
    let none = Reach::Only(BTreeSet::new());
    assert!(counted(&bench, &none, 50).await.is_empty());
}

pub(crate) async fn an_emptied_namespace_vanishes_and_may_come_back(bench: Bench) {
    let mut ids = Vec::new();
    for name in ["a", "b", "b", "c"] {
        ids.push(bench.create(within(name)).await.id);
    }
    for id in &ids[1..3] {
        bench.store.delete(*id, willing()).await.unwrap();
    }
    let reaches = [Reach::All, only(&["a", "b", "c"])];
    for reach in &reaches {
        for size in [1, 50] {
            let expected = pairs(&[("a", 1), ("c", 1)]);
            assert_eq!(counted(&bench, reach, size).await, expected);
        }
    }
    bench.create(within("b")).await;
    for reach in &reaches {
        let expected = pairs(&[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(counted(&bench, reach, 50).await, expected);
    }
}

pub(crate) async fn namespaces_come_and_go_without_shifting_a_page(bench: Bench) {
    let first = bench.create(within("b")).await.id;
    bench.create(within("c")).await;
    bench.create(within("d")).await;
    let begun = page(&bench, &Reach::All, None, 1).await;
    bench.create(within("a")).await;
    bench.store.delete(first, willing()).await.unwrap();
    let rest = page(&bench, &Reach::All, begun.next.as_ref(), 50).await;
    let names = rest.populations.iter().map(|one| one.namespace.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["c", "d"]);
}

//! Lists: order, pages, filters, and their bounded cost.

use std::collections::BTreeSet;
use std::time::Duration;

use token_authority::domain::caller::Reach;
use token_authority::domain::name::{Namespace, Owner, PoolName};
use token_authority::domain::page::Filter;
use token_authority::domain::profile::Profile;
use token_authority::domain::token::{Draft, Expiration, State, Token, TokenId};
use token_authority::store::listing::EXAMINED_MAX;

use crate::fixture::{Bench, everything};
use crate::support::drafts::{draft, labels, owned, pooled, revoking, saying, willing, within};

/// Creates `count` tokens, a millisecond apart; the newest comes first in the answer.
async fn filled(bench: &Bench, count: usize) -> Vec<TokenId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(bench.create(draft()).await.id);
        bench.pass(Duration::from_millis(1));
    }
    ids.reverse();
    ids
}

fn states(states: &[State]) -> Filter {
    Filter {
        states: states.iter().copied().collect(),
        ..everything()
    }
}

pub(crate) async fn the_newest_token_comes_first(bench: Bench) {
    let ids = filled(&bench, 5).await;
    let page = bench.list(&everything(), None, 50).await;
    assert_eq!(
        page.tokens.iter().map(|token| token.id).collect::<Vec<_>>(),
        ids
    );
    assert_eq!((page.next, page.now), (None, bench.now()));
}

pub(crate) async fn pages_follow_each_other_without_gap_or_repeat(bench: Bench) {
    let ids = filled(&bench, 23).await;
    for size in [1, 2, 7, 22, 23, 24] {
        assert_eq!(
            bench.walk(&everything(), size).await,
            ids,
            "pages of {size}"
        );
    }
}

pub(crate) async fn a_full_last_page_has_no_successor(bench: Bench) {
    filled(&bench, 6).await;
    let first = bench.list(&everything(), None, 3).await;
    let second = bench.list(&everything(), first.next, 3).await;
    assert_eq!((second.tokens.len(), second.next), (3, None));
}

pub(crate) async fn an_unknown_owner_is_an_empty_page(bench: Bench) {
    filled(&bench, 2).await;
    let page = bench
        .list(
            &Filter {
                owner: Owner::parse("nobody").ok(),
                ..everything()
            },
            None,
            50,
        )
        .await;
    assert_eq!((page.tokens, page.next), (Vec::new(), None));
}

pub(crate) async fn owners_and_pools_are_filtered_alone_and_together(bench: Bench) {
    let plain = bench.create(draft()).await.id;
    let ann = bench.create(owned("ann")).await.id;
    let gpu = bench.create(pooled(draft(), "gpu")).await.id;
    let both = bench.create(pooled(owned("ann"), "gpu")).await.id;
    let bob = bench.create(pooled(owned("bob"), "gpu")).await.id;
    let (owner, pool) = (Owner::parse("ann").ok(), PoolName::parse("gpu").ok());
    let filter = |owner: &Option<Owner>, pool: &Option<PoolName>| Filter {
        owner: owner.clone(),
        pool: pool.clone(),
        ..everything()
    };
    for size in [1, 50] {
        assert_eq!(
            bench.walk(&filter(&None, &None), size).await,
            [bob, both, gpu, ann, plain]
        );
        assert_eq!(bench.walk(&filter(&owner, &None), size).await, [both, ann]);
        assert_eq!(
            bench.walk(&filter(&None, &pool), size).await,
            [bob, both, gpu]
        );
        assert_eq!(bench.walk(&filter(&owner, &pool), size).await, [both]);
    }
}

pub(crate) async fn states_are_filtered_as_of_the_stores_time(bench: Bench) {
    let active = bench.create(draft()).await.id;
    let disabled = saying(Profile {
        disabled: true,
        ..Profile::default()
    });
    let disabled = bench.create(disabled).await.id;
    let ends = Draft {
        expiration: Expiration::After(Duration::from_secs(60)),
        ..draft()
    };
    let expiring = bench.create(ends).await.id;
    let revoked = bench.create(draft()).await.id;
    bench.store.change(revoked, revoking("")).await.unwrap();
    assert_eq!(
        bench.walk(&everything(), 50).await,
        [expiring, disabled, active]
    );
    assert_eq!(bench.walk(&states(&[State::Revoked]), 50).await, [revoked]);
    assert!(bench.walk(&states(&[State::Expired]), 50).await.is_empty());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.walk(&everything(), 50).await, [disabled, active]);
    assert_eq!(bench.walk(&states(&[State::Expired]), 50).await, [expiring]);
    let ended = bench
        .walk(&states(&[State::Expired, State::Revoked]), 1)
        .await;
    assert_eq!(ended, [revoked, expiring]);
}

fn labelled(pairs: &[(&str, &str)]) -> Draft {
    saying(Profile {
        labels: labels(pairs),
        ..Profile::default()
    })
}

pub(crate) async fn labels_are_filtered(bench: Bench) {
    let one = bench.create(labelled(&[("env", "prod")])).await.id;
    let two = bench
        .create(labelled(&[("env", "prod"), ("team", "a")]))
        .await
        .id;
    bench.create(labelled(&[("env", "dev")])).await;
    let having = |pairs| Filter {
        labels: labels(pairs),
        ..everything()
    };
    assert_eq!(
        bench.walk(&having(&[("env", "prod")]), 50).await,
        [two, one]
    );
    assert_eq!(
        bench
            .walk(&having(&[("env", "prod"), ("team", "a")]), 50)
            .await,
        [two]
    );
    assert!(bench.walk(&having(&[("team", "b")]), 50).await.is_empty());
}

/// One token after the other in each of the namespaces, newest first.
async fn scattered(bench: &Bench, namespaces: &[&str], rounds: usize) -> Vec<Token> {
    let mut tokens = Vec::new();
    for _ in 0..rounds {
        for namespace in namespaces {
            tokens.push(bench.create(within(namespace)).await);
            bench.pass(Duration::from_millis(1));
        }
    }
    tokens.reverse();
    tokens
}

pub(crate) async fn all_namespaces_are_merged_newest_first(bench: Bench) {
    let tokens = scattered(&bench, &["a", "b", "c"], 4).await;
    let ids: Vec<TokenId> = tokens.iter().map(|token| token.id).collect();
    let all = Filter {
        reach: Reach::All,
        ..everything()
    };
    for size in [1, 5, 50] {
        assert_eq!(bench.walk(&all, size).await, ids, "pages of {size}");
    }
}

pub(crate) async fn some_namespaces_are_merged_newest_first(bench: Bench) {
    let tokens = scattered(&bench, &["a", "b", "c"], 4).await;
    let names: BTreeSet<Namespace> = ["a", "c", "unknown"]
        .map(|name| Namespace::parse(name).unwrap())
        .into();
    let ids: Vec<TokenId> = tokens
        .iter()
        .filter(|token| names.contains(&token.namespace))
        .map(|token| token.id)
        .collect();
    let some = Filter {
        reach: Reach::Only(names),
        ..everything()
    };
    for size in [1, 3, 50] {
        assert_eq!(bench.walk(&some, size).await, ids, "pages of {size}");
    }
}

pub(crate) async fn many_namespaces_are_paged_without_gap_or_repeat(bench: Bench) {
    let names: Vec<String> = (0..40).map(|n| format!("ns-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // All equally old: order and pages must hold by the id alone.
    let mut expected = Vec::new();
    for name in names {
        expected.push(bench.create(within(name)).await);
    }
    expected.sort_by_key(|token| std::cmp::Reverse((token.create_time, token.id)));
    let ids: Vec<TokenId> = expected.iter().map(|token| token.id).collect();
    let all = Filter {
        reach: Reach::All,
        ..everything()
    };
    assert_eq!(bench.walk(&all, 7).await, ids);
    let owned_everywhere = Filter {
        owner: Owner::parse("nobody").ok(),
        ..all
    };
    assert!(bench.walk(&owned_everywhere, 7).await.is_empty());
}

pub(crate) async fn tokens_created_meanwhile_do_not_shift_a_page(bench: Bench) {
    let ids = filled(&bench, 6).await;
    let first = bench.list(&everything(), None, 3).await;
    filled(&bench, 4).await;
    let second = bench.list(&everything(), first.next, 50).await;
    assert_eq!(
        second
            .tokens
            .iter()
            .map(|token| token.id)
            .collect::<Vec<_>>(),
        ids[3..]
    );
}

pub(crate) async fn tokens_deleted_meanwhile_do_not_shift_a_page(bench: Bench) {
    let ids = filled(&bench, 6).await;
    let first = bench.list(&everything(), None, 3).await;
    // The very token that the next page begins after, and one beyond.
    bench.store.delete(ids[2], willing()).await.unwrap();
    bench.store.delete(ids[4], willing()).await.unwrap();
    let second = bench.list(&everything(), first.next, 50).await;
    assert_eq!(
        second
            .tokens
            .iter()
            .map(|token| token.id)
            .collect::<Vec<_>>(),
        [ids[3], ids[5]]
    );
}

pub(crate) async fn a_page_examines_a_bounded_number_of_entries(bench: Bench) {
    let wanted = bench.create(labelled(&[("a", "b")])).await;
    filled(&bench, EXAMINED_MAX + 10).await;
    let filter = Filter {
        labels: labels(&[("a", "b")]),
        ..everything()
    };
    let first = bench.list(&filter, None, 5).await;
    assert!(
        first.tokens.is_empty() && first.next.is_some(),
        "short, and it goes on"
    );
    let second = bench.list(&filter, first.next, 5).await;
    assert_eq!((second.tokens, second.next), (vec![wanted], None));
}

pub(crate) async fn no_two_tokens_of_a_namespace_are_equally_old(bench: Bench) {
    let mut times = BTreeSet::new();
    for _ in 0..10 {
        // The clock stands still.
        times.insert(bench.create(draft()).await.create_time);
    }
    assert_eq!(times.len(), 10);
}

pub(crate) async fn a_pool_holds_the_tokens_of_its_namespace_only(bench: Bench) {
    let here = bench.create(pooled(draft(), "gpu")).await;
    bench.create(pooled(within("there"), "gpu")).await;
    let filter = Filter {
        pool: PoolName::parse("gpu").ok(),
        ..everything()
    };
    assert_eq!(bench.walk(&filter, 50).await, [here.id]);
}

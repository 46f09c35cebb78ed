//! Owners that change: whose lists a token stands in then.

use std::time::Duration;

use token_authority::domain::name::Owner;
use token_authority::domain::page::Filter;
use token_authority::domain::token::{Token, TokenId};
use token_authority::store::{Change, StoreError};

use crate::fixture::{Bench, everything};
use crate::support::drafts::{draft, giving_to, owned, pooled, willing};

pub(crate) fn of(owner: &str) -> Filter {
    Filter {
        owner: Owner::parse(owner).ok(),
        ..everything()
    }
}

async fn give(bench: &Bench, id: TokenId, owner: &str) -> Token {
    match bench.store.change(id, giving_to(owner)).await {
        Ok(Change::Changed(token)) => token,
        other => panic!("expected a change, got {other:?}"),
    }
}

pub(crate) async fn a_token_is_listed_by_its_new_owner_and_no_more_by_the_old(bench: Bench) {
    let token = bench.create(owned("ann")).await;
    bench.pass(Duration::from_secs(5));
    let given = give(&bench, token.id, "bob").await;
    assert_eq!(
        (given.create_time, given.owner_since),
        (token.create_time, bench.now())
    );
    assert!(bench.walk(&of("ann"), 50).await.is_empty());
    assert_eq!(bench.list(&of("bob"), None, 50).await.tokens, [given]);
    assert_eq!(bench.walk(&everything(), 50).await, [token.id]);
}

pub(crate) async fn an_owner_may_be_taken_away_and_come_back(bench: Bench) {
    // The clock stands still: no two stretches of ownership may be mistaken for each other.
    let id = bench.create(pooled(owned("ann"), "gpu")).await.id;
    for _ in 0..3 {
        give(&bench, id, "").await;
        assert!(bench.walk(&of("ann"), 50).await.is_empty());
        give(&bench, id, "bob").await;
        give(&bench, id, "ann").await;
        assert!(bench.walk(&of("bob"), 50).await.is_empty());
        for size in [1, 50] {
            assert_eq!(bench.walk(&of("ann"), size).await, [id], "pages of {size}");
        }
    }
    bench.store.delete(id, willing()).await.unwrap();
    assert!(bench.walk(&of("ann"), 50).await.is_empty());
}

pub(crate) async fn pages_of_an_owner_keep_their_order_when_owners_change(bench: Bench) {
    let mut ids = Vec::new();
    for n in 0..24 {
        let owner = ["ann", "bob", ""][n % 3];
        let made = if owner.is_empty() {
            draft()
        } else {
            owned(owner)
        };
        ids.push(bench.create(made).await.id);
        bench.pass(Duration::from_millis(1));
    }
    ids.reverse();
    // Given in another order than they were created in, some of them twice.
    for id in ids.iter().step_by(2) {
        bench.store.change(*id, giving_to("bob")).await.unwrap();
        bench.store.change(*id, giving_to("ann")).await.unwrap();
    }
    let mut anns = Vec::new();
    for id in &ids {
        let token = bench.found(*id).await.unwrap();
        if token.profile.owner_text() == "ann" {
            anns.push(*id);
        }
    }
    assert_eq!(
        anns.len(),
        16,
        "every second of 24, and a third of the others"
    );
    for size in [1, 2, 3, 15, 16, 17] {
        assert_eq!(bench.walk(&of("ann"), size).await, anns, "pages of {size}");
    }
    // A cursor holds while the token that it stands at moves away, and while another comes in.
    let first = bench.list(&of("ann"), None, 5).await;
    bench.store.change(anns[4], giving_to("bob")).await.unwrap();
    let second = bench.list(&of("ann"), first.next, 50).await;
    let rest: Vec<TokenId> = second.tokens.iter().map(|token| token.id).collect();
    assert_eq!(rest, anns[5..]);
}

pub(crate) async fn of_many_who_give_a_token_away_the_last_decides_who_lists_it(bench: Bench) {
    let owners = ["ann", "bob", "cid", ""];
    let id = bench.create(owned("ann")).await.id;
    for _ in 0..8 {
        let changes: Vec<_> = (0..8)
            .map(|n| {
                let (store, rule) = (bench.store.clone(), giving_to(owners[n % 4]));
                tokio::spawn(async move { store.change(id, rule).await })
            })
            .collect();
        for change in changes {
            match change.await.expect("no change panics") {
                Ok(Change::Changed(_) | Change::Kept(_)) | Err(StoreError::Contended(_)) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        let last = bench.found(id).await.unwrap().profile;
        for owner in &owners[..3] {
            let expected: &[TokenId] = if last.owner_text() == *owner {
                &[id]
            } else {
                &[]
            };
            assert_eq!(bench.walk(&of(owner), 1).await, expected, "{owner}");
        }
    }
}

//! Peppers: which one a store was used with, and what it answers to another.

use std::sync::Arc;

use token_authority::domain::caller::Reach;
use token_authority::domain::page::PageSize;
use token_authority::domain::pepper::PepperCheck;
use token_authority::domain::permits::Ahead;
use token_authority::domain::spending::Scope;
use token_authority::domain::token::Token;
use token_authority::store::{StoreError, Take};

use crate::fixture::{Bench, everything};
use crate::support::drafts::{draft, peppered, revoking, willing};

fn pepper(id: u32, byte: u8) -> PepperCheck {
    let value = [byte; 16];
    PepperCheck { id, value }
}

/// Asserts that every act is refused for the sake of pepper 1.
async fn every_act_is_refused(bench: &Bench, token: &Token) {
    let store = &bench.store;
    let id = token.id;
    let take = Take {
        token: Arc::new(token.clone()),
        until: None,
        cost: 1,
        scope: Scope::All,
        dry_run: false,
        ahead: Ahead::default(),
    };
    let page = store.list(&everything(), None, PageSize::asked(5)).await;
    let census = store.census(&Reach::All, None, PageSize::asked(5)).await;
    let spending = store.spending(std::slice::from_ref(&take.token)).await;
    let answers = [
        ("find", store.find(id).await.map(drop)),
        ("find", store.find(draft().id).await.map(drop)),
        ("unchanged", store.unchanged(&[(id, 0)]).await.map(drop)),
        ("find_again", store.find_again(&take.token).await.map(drop)),
        ("create", store.create(draft()).await.map(drop)),
        ("create", store.create(peppered(1)).await.map(drop)),
        ("change", store.change(id, revoking("")).await.map(drop)),
        ("delete", store.delete(id, willing()).await.map(drop)),
        ("list", page.map(drop)),
        ("census", census.map(drop)),
        ("take", store.take(&take).await.map(drop)),
        ("spending", spending.map(drop)),
        ("sweep", store.sweep().await.map(drop)),
        ("confirm", store.confirm().await),
        ("probe_read", store.probe_read().await),
        ("probe_write", store.probe_write().await),
    ];
    for (act, answer) in answers {
        let told = matches!(
            &answer,
            Err(StoreError::Unacceptable(why)) if why.starts_with("pepper 1 is not the one")
        );
        assert!(told, "{act}: {answer:?}");
    }
}

pub(crate) async fn a_store_knows_its_peppers_again(mut bench: Bench) {
    let (one, two) = (pepper(1, 1), pepper(2, 2));
    let mut tokens = vec![bench.create(draft()).await];
    for (peppers, id) in [
        (vec![one], 1),
        (vec![one], 1),
        (vec![two, one], 2),
        (vec![two], 2),
        (vec![one, two], 1),
        (vec![], 0),
    ] {
        bench.reopen_with(&peppers).await;
        assert_eq!(bench.store.probe_read().await, Ok(()));
        assert_eq!(bench.store.probe_write().await, Ok(()));
        tokens.push(bench.create(peppered(id)).await);
        for token in &tokens {
            assert_eq!(bench.found(token.id).await.as_ref(), Some(token));
        }
    }
}

pub(crate) async fn another_pepper_under_a_known_id_is_an_outage_to_every_act(mut bench: Bench) {
    bench.reopen_with(&[pepper(1, 1)]).await;
    let token = bench.create(peppered(1)).await;
    let id = bench.store.id();
    // In either place of the list.
    for peppers in [vec![pepper(1, 9)], vec![pepper(2, 2), pepper(1, 9)]] {
        bench.reopen_with(&peppers).await;
        every_act_is_refused(&bench, &token).await;
    }
    bench.reopen_with(&[pepper(1, 1)]).await;
    assert_eq!(bench.store.id(), id);
    assert_eq!(bench.found(token.id).await, Some(token));
    bench.create(peppered(1)).await;
}

pub(crate) async fn a_pepper_is_known_from_the_first_opening_on(mut bench: Bench) {
    let token = bench.create(draft()).await;
    bench.reopen_with(&[pepper(1, 1)]).await;
    bench.reopen_with(&[pepper(1, 9)]).await;
    every_act_is_refused(&bench, &token).await;
}

pub(crate) async fn a_refused_pepper_leaves_no_other_behind(mut bench: Bench) {
    bench.reopen_with(&[pepper(1, 1)]).await;
    let token = bench.create(peppered(1)).await;
    bench.reopen_with(&[pepper(2, 9), pepper(1, 9)]).await;
    every_act_is_refused(&bench, &token).await;
    // The id 2 is as free as before.
    bench.reopen_with(&[pepper(2, 2), pepper(1, 1)]).await;
    bench.create(peppered(2)).await;
}

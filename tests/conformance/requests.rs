//! Requests with an id: one token each, however often and with whatever arguments they come.

use std::time::Duration;

use token_authority::domain::token::{Draft, REPLAY_WINDOW, Token};
use token_authority::store::{Creation, Deletion};

use crate::fixture::{Bench, everything};
use crate::support::drafts::{pooled, requested, willing};

async fn repeated(bench: &Bench, first: Draft, second: Draft) -> Token {
    let token = bench.create(first).await;
    assert_eq!(
        bench.store.create(second).await,
        Ok(Creation::Taken(token.clone()))
    );
    assert_eq!(
        bench.walk(&everything(), 10).await,
        [token.id],
        "nothing else came to be"
    );
    token
}

pub(crate) async fn a_request_makes_one_token(bench: Bench) {
    repeated(&bench, requested(1), requested(1)).await;
}

pub(crate) async fn a_request_makes_one_pooled_token(bench: Bench) {
    repeated(
        &bench,
        pooled(requested(1), "gpu"),
        pooled(requested(1), "gpu"),
    )
    .await;
}

pub(crate) async fn a_request_makes_one_token_whatever_the_pool(bench: Bench) {
    let first = bench.create(requested(1)).await;
    let second = bench.create(pooled(requested(2), "a")).await;
    let create = |draft| bench.store.create(draft);
    assert_eq!(
        create(pooled(requested(1), "a")).await,
        Ok(Creation::Taken(first.clone()))
    );
    assert_eq!(
        create(requested(2)).await,
        Ok(Creation::Taken(second.clone()))
    );
    assert_eq!(
        create(pooled(requested(2), "b")).await,
        Ok(Creation::Taken(second.clone()))
    );
    assert_eq!(bench.walk(&everything(), 10).await, [second.id, first.id]);
}

pub(crate) async fn a_request_is_remembered_as_long_as_its_token(bench: Bench) {
    let first = bench.create(requested(1)).await;
    let second = bench.create(pooled(requested(2), "a")).await;
    bench.pass(Duration::from_secs(400 * 24 * 3600));
    assert_eq!(
        bench.store.create(requested(1)).await,
        Ok(Creation::Taken(first))
    );
    assert_eq!(
        bench.store.create(requested(2)).await,
        Ok(Creation::Taken(second))
    );
}

pub(crate) async fn the_request_of_a_deleted_token_is_gone_for_a_while_and_then_free(bench: Bench) {
    gone_then_free(bench, requested(1)).await;
}

pub(crate) async fn the_request_of_a_deleted_pooled_token_is_gone_for_a_while_and_then_free(
    bench: Bench,
) {
    gone_then_free(bench, pooled(requested(1), "gpu")).await;
}

async fn gone_then_free(bench: Bench, draft: Draft) {
    let token = bench.create(draft.clone()).await;
    assert_eq!(
        bench.store.delete(token.id, willing()).await,
        Ok(Deletion::Deleted)
    );
    bench.pass(REPLAY_WINDOW - Duration::from_millis(1));
    assert_eq!(bench.store.create(draft.clone()).await, Ok(Creation::Gone));
    bench.pass(Duration::from_millis(2));
    assert_eq!(bench.create(draft).await.id, token.id);
}

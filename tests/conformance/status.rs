//! What a store says about itself, and what it says when it is closed.

use crate::fixture::{Bench, everything, is_outage};
use crate::support::drafts::{draft, revoking, willing};
use token_authority::domain::caller::Reach;
use token_authority::domain::page::PageSize;

pub(crate) async fn a_sound_store_can_be_read_and_written(bench: Bench) {
    assert_eq!(bench.store.probe_read().await, Ok(()));
    assert_eq!(bench.store.probe_write().await, Ok(()));
    assert_eq!(bench.store.confirm().await, Ok(()));
    assert!(bench.store.id().is_ok());
    assert!(bench.store.durability().is_some());
}

pub(crate) async fn a_closed_store_answers_errors_and_no_absence(bench: Bench) {
    let id = bench.create(draft()).await.id;
    bench.store.close().await;
    assert!(is_outage(&bench.store.find(id).await));
    assert!(is_outage(&bench.store.create(draft()).await));
    assert!(is_outage(&bench.store.change(id, revoking("")).await));
    assert!(is_outage(&bench.store.delete(id, willing()).await));
    assert!(is_outage(
        &bench
            .store
            .list(&everything(), None, PageSize::asked(1))
            .await
    ));
    assert!(is_outage(
        &bench
            .store
            .census(&Reach::All, None, PageSize::asked(1))
            .await
    ));
    assert!(is_outage(&bench.store.confirm().await));
    assert!(is_outage(&bench.store.probe_read().await));
    assert!(is_outage(&bench.store.probe_write().await));
}

pub(crate) async fn what_is_closed_can_be_opened_again(mut bench: Bench) {
    let (token, id) = (bench.create(draft()).await, bench.store.id());
    bench.store.close().await;
    bench.reopen().await;
    assert_eq!(bench.store.id(), id);
    assert_eq!(bench.found(token.id).await, Some(token));
}

//! Databases that were emptied, removed, replaced, filled up or damaged while they are in use.

use super::*;

fn unacceptable<T>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unacceptable(_)))
}

fn corrupt<T>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Corrupt(_)))
}

#[tokio::test]
async fn an_emptied_or_removed_database_is_an_outage_and_no_absence() {
    let bench = Bench::new();
    let store = bench.open();
    let absent = fresh().id;
    assert!(store.find(absent).await.unwrap().token.is_none());
    bench.raw().execute("DELETE FROM meta", []).unwrap();
    assert!(unacceptable(store.find(absent).await));
    assert!(unacceptable(store.change(absent, keep()).await));
    assert!(unacceptable(store.create(fresh()).await));
    assert!(unacceptable(store.confirm().await));
    drop(store);

    let bench = Bench::new();
    let store = bench.open();
    let id = created(&store, fresh()).await.id;
    fs::remove_file(bench.path()).unwrap();
    for id in [id, absent] {
        assert!(unacceptable(store.find(id).await));
    }
    assert!(unacceptable(store.create(fresh()).await));
    assert!(unacceptable(store.probe_write().await));
}

#[tokio::test]
async fn a_full_database_refuses_writes_until_there_is_room() {
    let bench = Bench::new();
    let store = bench.open();
    let first = created(&store, fresh()).await;
    let limit = |pages: i64| {
        store.inner.writer.carry_out(move |acts| {
            acts.connection
                .pragma_update(None, "max_page_count", pages)?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let mut refused = Ok(());
    for _ in 0..200 {
        refused = store.create(fresh()).await.map(drop);
        if refused.is_err() {
            break;
        }
    }
    assert!(
        matches!(refused, Err(StoreError::ReadOnly(_))),
        "{refused:?}"
    );
    assert_eq!(token(&store, first.id).await, Some(first));
    limit(1_000_000).await.unwrap();
    created(&store, fresh()).await;
}

#[tokio::test]
async fn a_replaced_database_is_an_outage_also_for_what_it_held() {
    let bench = Bench::new();
    let store = bench.open();
    let id = created(&store, fresh()).await.id;
    let copy = bench.folder.path().join("copy.db");
    fs::copy(bench.path(), &copy).unwrap();
    fs::rename(copy, bench.path()).unwrap();
    assert!(unacceptable(store.find(id).await));
    let all = filter(Reach::All);
    assert!(unacceptable(
        store.list(&all, None, PageSize::asked(1)).await
    ));
}

#[tokio::test]
async fn a_file_cut_short_in_place_is_an_outage() {
    let bench = Bench::new();
    let id = created(&bench.open(), fresh()).await.id;
    let store = bench.open();
    fs::File::options()
        .write(true)
        .open(bench.path())
        .and_then(|file| file.set_len(0))
        .unwrap();
    for id in [id, fresh().id] {
        let found = store.find(id).await;
        assert!(unacceptable(found.clone()), "{found:?}");
        assert!(unacceptable(store.change(id, keep()).await));
    }
    let all = filter(Reach::All);
    assert!(unacceptable(
        store.list(&all, None, PageSize::asked(9)).await
    ));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_hides_no_other_and_is_no_absence() {
    let bench = Bench::new();
    let store = bench.open();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(created(&store, fresh()).await);
    }
    let (damaged, nameless) = (all.remove(3).id, all.remove(1).id);
    let raw = bench.raw();
    raw.execute(
        "UPDATE tokens SET record = x'ff' WHERE id = ?1",
        [damaged.as_str()],
    )
    .unwrap();
    raw.execute(
        "UPDATE tokens SET id = '?' WHERE id = ?1",
        [nameless.as_str()],
    )
    .unwrap();
    all.reverse();
    for reach in [Reach::All, only(&["default"])] {
        for size in [1, 2, 9] {
            assert_eq!(listed(&store, &filter(reach.clone()), size).await, all);
        }
    }
    assert!(corrupt(store.find(damaged).await));
    assert!(corrupt(store.change(damaged, keep()).await));
    assert!(corrupt(store.delete(damaged, keep()).await));
}

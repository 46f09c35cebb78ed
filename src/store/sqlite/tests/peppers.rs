//! A database that could not be written when it met a pepper for the first time.

use super::*;
use crate::domain::retention::Retention;
use crate::domain::secret::SecretDigest;

const PEPPER: PepperCheck = PepperCheck {
    id: 1,
    value: [1; 16],
};

fn under(key_id: u32) -> Draft {
    let bytes = [9; 32];
    Draft {
        digest: SecretDigest { key_id, bytes },
        ..fresh()
    }
}

/// The pepper as a connection knows it that could not write at first.
fn met_unwritably(connection: &mut Connection) -> Peppers {
    connection.pragma_update(None, "query_only", true).unwrap();
    let peppers = Peppers::settle(connection, vec![PEPPER]).unwrap();
    connection.pragma_update(None, "query_only", false).unwrap();
    assert_eq!(peppers.confirm(), Ok(()));
    assert_eq!(kept(connection), []);
    peppers
}

fn kept(connection: &Connection) -> Vec<(u32, Vec<u8>)> {
    let sql = "SELECT id, check_value FROM peppers";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_pepper_that_could_not_be_kept_at_the_start_is_kept_with_the_first_token_under_it() {
    let bench = Bench::new();
    let store = bench.open();
    let mut connection = bench.raw();
    let peppers = met_unwritably(&mut connection);
    let acts = Acts {
        connection: &connection,
        id: &store.inner.id,
        time: &store.inner.time,
        peppers: &peppers,
        seen: &store.inner.seen,
        queues: &store.inner.queues,
        log: &store.inner.log,
        unfolded: &store.inner.unfolded,
        retention: Retention::default(),
    };
    assert!(acts.find(fresh().id).unwrap().is_none());
    // What is under no pepper, or under one that is not in use, needs nothing.
    for key_id in [0, 7] {
        acts.create(&under(key_id)).unwrap();
        assert_eq!(kept(&connection), []);
    }
    for _ in 0..2 {
        acts.create(&under(1)).unwrap();
        assert_eq!(kept(&connection), [(1, vec![1; 16])]);
    }
}

#[tokio::test]
async fn a_change_that_adds_a_secret_keeps_its_pepper_too() {
    let bench = Bench::new();
    let store = bench.open();
    let token = created(&store, fresh()).await;
    let mut connection = bench.raw();
    let peppers = met_unwritably(&mut connection);
    let acts = Acts {
        connection: &connection,
        id: &store.inner.id,
        time: &store.inner.time,
        peppers: &peppers,
        seen: &store.inner.seen,
        queues: &store.inner.queues,
        log: &store.inner.log,
        unfolded: &store.inner.unfolded,
        retention: Retention::default(),
    };
    acts.change(token.id, &revoke()).unwrap();
    assert_eq!(kept(&connection), []);
    let adding: Rule = Arc::new(|token, _| {
        let mut changed = token.clone();
        changed.secrets.current.digests.push(under(1).digest);
        Ruling::Replace(Box::new(changed))
    });
    acts.change(token.id, &adding).unwrap();
    assert_eq!(kept(&connection), [(1, vec![1; 16])]);
}

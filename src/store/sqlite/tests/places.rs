//! The places of a pool under random acts: every token counted once, the free ones without a gap.

use proptest::prelude::*;

use super::leases::{asking, gpu, pooled};
use super::*;
use crate::domain::lease::LeaseId;
use crate::domain::pool::Standing;
use crate::store::LeaseStore;
use crate::store::leases::{Acquired, Beat, LeaseTarget};

/// One act of a test, on the so-manieth of its tokens.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create {
        span: Option<u64>,
        life: Option<u64>,
    },
    Acquire,
    Release(usize),
    Force(usize),
    Beat(usize),
    Extend(usize),
    Revoke(usize),
    Switch(usize),
    Move(usize),
    Delete(usize),
    Sweep,
    Pass(u64),
    Vanish(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let some = 0..12usize;
    let span = proptest::option::of(1..40u64);
    prop_oneof![
        4 => (span, proptest::option::of(1..60u64))
            .prop_map(|(span, life)| Act::Create { span, life }),
        6 => Just(Act::Acquire),
        2 => some.clone().prop_map(Act::Release),
        1 => some.clone().prop_map(Act::Force),
        1 => some.clone().prop_map(Act::Beat),
        1 => some.clone().prop_map(Act::Extend),
        1 => some.clone().prop_map(Act::Revoke),
        2 => some.clone().prop_map(Act::Switch),
        1 => some.clone().prop_map(Act::Move),
        1 => some.prop_map(Act::Delete),
        1 => Just(Act::Sweep),
        4 => (0..6u64).prop_map(Act::Pass),
        1 => (6..90u64).prop_map(Act::Vanish),
    ]
}

fn carry_out(acts: &Acts<'_>, clock: &ManualClock, ids: &mut Vec<TokenId>, act: Act) {
    let id = |at: usize| ids.get(at % ids.len().max(1)).copied();
    let lease = |at| {
        let kept = acts.find(id(at)?).unwrap()?;
        let token = kept.at(clock.now(), acts.seen).token;
        let mark = token.tenure?.leases.first()?.mark;
        let token = token.id;
        Some(LeaseTarget::Lease(LeaseId { token, mark }))
    };
    let beat = |target| Beat {
        target,
        duration: None,
        reach: Reach::All,
    };
    let change = |at, rule: Rule| id(at).map(|id| acts.change(id, &rule).unwrap());
    match act {
        Act::Create { span, life } => {
            let created = create(acts, span, life);
            ids.push(created);
        }
        Act::Acquire => acquire(acts),
        Act::Release(at) => {
            lease(at).map(|lease| acts.release(lease, &Reach::All).unwrap());
        }
        Act::Force(at) => {
            let target = id(at).map(LeaseTarget::Token);
            target.map(|target| acts.release(target, &Reach::All).unwrap());
        }
        Act::Beat(at) => {
            let target = id(at).map(LeaseTarget::Token);
            target.map(|target| acts.keep_alive(&beat(target)).unwrap());
        }
        Act::Extend(at) => {
            lease(at).map(|lease| acts.keep_alive(&beat(lease)).unwrap());
        }
        Act::Revoke(at) => drop(change(at, revoke())),
        Act::Switch(at) => drop(change(at, switch())),
        Act::Move(at) => drop(change(at, relocate())),
        Act::Delete(at) => {
            id(at).map(|id| acts.delete(id, &keep()).unwrap());
        }
        Act::Sweep => drop(acts.sweep().unwrap()),
        Act::Pass(seconds) => {
            clock.advance(Duration::from_secs(seconds));
            acts.seen.see(acts.time.now());
        }
        Act::Vanish(seconds) => clock.advance(Duration::from_secs(seconds)),
    }
}

fn create(acts: &Acts<'_>, span: Option<u64>, life: Option<u64>) -> TokenId {
    let expiration = life.map_or(Expiration::Never, |life| {
        Expiration::After(Duration::from_secs(life))
    });
    let draft = Draft {
        expiration,
        ..pooled(span.map(Duration::from_secs))
    };
    acts.create(&draft).unwrap();
    draft.id
}

fn acquire(acts: &Acts<'_>) {
    let mut asking = asking(None);
    asking.grant.duration = Duration::from_secs(7);
    let mut steps = std::iter::repeat_with(|| acts.acquire(&asking).unwrap()).take(100);
    let answer = steps.find_map(|answer| answer).expect("it never ended");
    if let Acquired::Granted { token, now, .. } = &answer {
        assert_eq!(token.state(*now), State::Active);
        assert!(!token.lapsed(*now));
    }
}

/// Switches a token off, or on again.
fn switch() -> Rule {
    Arc::new(|token, _| {
        let mut changed = token.clone();
        changed.profile.disabled = !changed.profile.disabled;
        Ruling::Replace(Box::new(changed))
    })
}

/// Moves a token to another pool, out of all, or into one.
fn relocate() -> Rule {
    Arc::new(|token, _| {
        let mut changed = token.clone();
        changed.profile.pool = match &token.profile.pool {
            Some(pool) if *pool == gpu().name => PoolName::parse("cpu").ok(),
            Some(_) => None,
            None => Some(gpu().name),
        };
        Ruling::Replace(Box::new(changed))
    })
}

/// What is on disk, counted anew; an error message where it contradicts itself.
fn contradiction(connection: &Connection) -> Option<String> {
    let wrong = [
        (
            "a count is wrong",
            "SELECT count(*) FROM pools AS p WHERE \
             free != (SELECT count(*) FROM tokens WHERE pool_id = p.id AND place = 0) OR \
             held != (SELECT count(*) FROM tokens WHERE pool_id = p.id AND place = 1) OR \
             out != (SELECT count(*) FROM tokens WHERE pool_id = p.id AND place = 2)",
        ),
        (
            "a pool without tokens has a row",
            "SELECT count(*) FROM pools WHERE free + held + out = 0",
        ),
        (
            "a place is in no pool",
            "SELECT count(*) FROM tokens WHERE (pool_id IS NULL) != (place IS NULL) OR \
             (place IS NOT NULL AND pool_id NOT IN (SELECT id FROM pools))",
        ),
        (
            "the free ones have a gap",
            "SELECT count(*) FROM tokens AS t WHERE \
             (position IS NOT NULL) != coalesce(place = 0, 0) OR \
             position >= (SELECT free FROM pools WHERE id = t.pool_id)",
        ),
    ];
    wrong.into_iter().find_map(|(what, sql)| {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        (count != 0).then(|| what.to_owned())
    })
}

/// How the tokens of the pool stand, judged one by one.
fn judged(acts: &Acts<'_>, ids: &[TokenId]) -> Standing {
    let now = acts.time.now();
    let mut standing = Standing::default();
    for id in ids {
        let entry = acts.present(acts.find(*id).unwrap(), now).unwrap();
        let Some(token) = entry.map(|entry| entry.token) else {
            continue;
        };
        if token.profile.pool != Some(gpu().name) {
            continue;
        }
        let tenure = token.tenure.as_ref().unwrap();
        match (token.state(now), tenure.live(now)) {
            (_, Some(_)) => standing.leased += 1,
            (State::Active, None) => standing.available += 1,
            _ => standing.unavailable += 1,
        }
    }
    standing
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_token_is_counted_once_and_the_free_ones_have_no_gap(
        acts in proptest::collection::vec(act(), 1..80),
    ) {
        let bench = Bench::new();
        let store = bench.open();
        let clock = Arc::clone(&bench.clock);
        let told = acts.clone();
        let checked = store.inner.writer.carry_out(move |door| {
            let mut ids = Vec::new();
            for (at, act) in acts.into_iter().enumerate() {
                carry_out(door, &clock, &mut ids, act);
                if let Some(why) = contradiction(door.connection) {
                    return Ok(Some(format!("after act {at}: {why}")));
                }
                if at % 8 == 7 {
                    let noticed = door.standing(&gpu())?;
                    if noticed != Some(judged(door, &ids)) {
                        return Ok(Some(format!("after act {at}: {noticed:?}")));
                    }
                }
            }
            Ok(None)
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_eq!(runtime.block_on(checked), Ok(None), "{:?}", told);
    }
}

#[tokio::test]
async fn tokens_of_the_first_schema_can_be_leased() {
    let bench = Bench::new();
    let store = bench.open();
    let old = created(&store, pooled(None)).await;
    created(&store, fresh()).await;
    store.close().await;
    let raw = bench.raw();
    raw.execute_batch(
        "DROP TABLE events; DROP TABLE alarms; DROP INDEX tokens_held; DROP INDEX tokens_expire; \
         ALTER TABLE tokens DROP COLUMN expire_time; \
         DROP INDEX tokens_position; DROP INDEX tokens_due; DROP TABLE pools; DROP TABLE acquired; \
         ALTER TABLE tokens DROP COLUMN pool_id; ALTER TABLE tokens DROP COLUMN place; \
         ALTER TABLE tokens DROP COLUMN position; ALTER TABLE tokens DROP COLUMN due; \
         ALTER TABLE tokens DROP COLUMN tenure; ALTER TABLE meta DROP COLUMN absences; \
         DROP TABLE usage_journal; DROP TRIGGER tokens_usage; DROP TABLE usage_ledgers; \
         DROP TABLE usage_hours; DROP INDEX tokens_inactive; \
         ALTER TABLE tokens DROP COLUMN inactive_from; \
         UPDATE meta SET schema = 1, min_reader = 1; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(raw);
    let store = bench.open();
    assert_eq!(token(&store, old.id).await, Some(old.clone()));
    let leased = store.acquire(&asking(None)).await.unwrap();
    assert!(matches!(leased, Acquired::Granted { token, .. } if token.id == old.id));
    assert_eq!(contradiction(&bench.raw()), None);
}

/// The plan of each query that an act on leases makes, by which its cost does not grow.
#[test]
fn every_query_of_a_pool_seeks_in_an_index() {
    use super::super::{acquire, pool_listing};
    let bench = Bench::new();
    drop(bench.open());
    let connection = bench.raw();
    let expected = [
        (
            acquire::DUE,
            "tokens USING COVERING INDEX tokens_due (pool_id=? AND place=? AND due<?)",
        ),
        (
            acquire::END,
            "tokens USING COVERING INDEX tokens_due (pool_id=? AND place=? AND due>?)",
        ),
        (
            acquire::DRAWN,
            "tokens USING INDEX tokens_position (pool_id=? AND position=?)",
        ),
        (
            pool_listing::EVERYWHERE,
            "pools USING COVERING INDEX pools_name ((namespace,name)>(?,?))",
        ),
        (
            pool_listing::WITHIN,
            "pools USING COVERING INDEX pools_name (namespace=? AND name>?)",
        ),
    ];
    for (sql, seek) in expected {
        let mut plan = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let values = vec![rusqlite::types::Null; plan.parameter_count()];
        let steps: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(steps, [format!("SEARCH {seek}")]);
    }
}

//! What replicas and changes say to a registry, and random acts on one beside the pure rule.

use token_authority::domain::coherence::registry::{
    Absent, Known, Member, News, Registry, Renewal, Renewed,
};
use token_authority::domain::coherence::{ANNOUNCED_MAX, Epoch, Invalidation, LOG_MAX, ReplicaId};
use token_authority::domain::token::TokenId;
use token_authority::entropy;
use token_authority::store::Store;

use super::numbers::Numbers;

pub(crate) fn replica() -> ReplicaId {
    entropy::replica_id().expect("random bytes")
}

pub(crate) fn change(revision: u64) -> Invalidation {
    Invalidation {
        token: entropy::token_id().expect("random bytes"),
        revision,
    }
}

pub(crate) fn changes(count: usize) -> Vec<Invalidation> {
    (1..=count as u64).map(change).collect()
}

/// What a replica says that knows nothing.
pub(crate) fn first(replica: ReplicaId) -> Renewal {
    let known = None;
    Renewal { replica, known }
}

/// What a replica says that has applied so much of an epoch which it knows for a short time.
pub(crate) fn having(replica: ReplicaId, epoch: Epoch, applied: u64) -> Renewal {
    let long = false;
    let known = Some(Known {
        epoch,
        applied,
        long,
    });
    Renewal { replica, known }
}

pub(crate) async fn renewed(store: &dyn Store, renewal: &Renewal) -> Renewed {
    store.renew(renewal).await.expect("the store answers").0
}

/// Lets a new replica become a member, and answers it with the epoch.
pub(crate) async fn member(store: &dyn Store) -> (ReplicaId, Epoch) {
    let replica = replica();
    let renewed = renewed(store, &first(replica)).await;
    assert_eq!(renewed.news, News::DropAll);
    (replica, renewed.epoch)
}

/// One that was waited for in vain.
pub(crate) fn absent(epoch: Epoch, replica: ReplicaId, renewal: u64) -> Absent {
    let members = vec![(replica, renewal)];
    Absent { epoch, members }
}

/// What is known of a member.
pub(crate) async fn standing(store: &dyn Store, replica: ReplicaId) -> Option<Member> {
    let attendance = store.attendance().await.expect("the store answers");
    attendance.members.get(&replica).copied()
}

/// Asks a registry without members or entries and the rule the same random questions, and demands the
/// same answers.
pub(crate) async fn walk(store: &dyn Store, settled: bool, seed: u64, steps: usize) {
    let epoch = store.attendance().await.expect("the store answers").epoch;
    let mut walk = Walk {
        numbers: Numbers(seed),
        rule: Registry::new(epoch, settled),
        epochs: [epoch, entropy::epoch().expect("random bytes")],
        replicas: [replica(), replica(), replica(), replica()],
        tokens: [(); 3].map(|()| entropy::token_id().expect("random bytes")),
        last: 0,
    };
    for _ in 0..steps {
        walk.step(store).await;
    }
}

struct Walk {
    numbers: Numbers,
    rule: Registry,
    /// That of the registry, and another one.
    epochs: [Epoch; 2],
    replicas: [ReplicaId; 4],
    tokens: [TokenId; 3],
    last: u64,
}

impl Walk {
    async fn step(&mut self, store: &dyn Store) {
        match self.numbers.below(20) {
            0..10 => {
                let renewal = self.renewal();
                let told = renewed(store, &renewal).await;
                assert_eq!(told, self.rule.renew(&renewal), "{renewal:?}");
            }
            10..16 => {
                let changes = self.changes();
                let told = store.announce(&changes).await;
                let expected = self.rule.announce(&changes);
                self.last = expected.last;
                assert_eq!(told, Ok(expected));
            }
            16..18 => {
                let absent = Absent {
                    epoch: self.epoch(),
                    members: vec![self.absent(), self.absent()],
                };
                store.strike(&absent).await.expect("the store answers");
                self.rule.strike(&absent);
            }
            18 => {
                let replica = self.replica();
                store.resign(replica).await.expect("the store answers");
                self.rule.resign(replica);
            }
            _ => assert_eq!(store.attendance().await, Ok(self.rule.attendance())),
        }
    }

    fn epoch(&mut self) -> Epoch {
        self.epochs[usize::from(self.numbers.below(10) == 0)]
    }

    fn replica(&mut self) -> ReplicaId {
        self.replicas[self.numbers.below(4) as usize]
    }

    fn renewal(&mut self) -> Renewal {
        let replica = self.replica();
        if self.numbers.below(20) == 0 {
            return first(replica);
        }
        // Close to the newest entry, to the oldest, or anywhere, and beyond them.
        let lacking = match self.numbers.below(3) {
            0 => self.numbers.below(4),
            1 => LOG_MAX as u64 + self.numbers.below(5) - 2,
            _ => self.numbers.below(self.last + 1),
        };
        let applied = match self.numbers.below(20) {
            0 => self.last + 1 + self.numbers.below(3),
            1 => u64::MAX,
            _ => self.last.saturating_sub(lacking),
        };
        let known = Some(Known {
            epoch: self.epoch(),
            applied,
            long: self.numbers.below(100) == 0,
        });
        Renewal { replica, known }
    }

    fn changes(&mut self) -> Vec<Invalidation> {
        let count = match self.numbers.below(4) {
            0 => ANNOUNCED_MAX as u64,
            _ => self.numbers.below(4),
        };
        let change = |_| Invalidation {
            token: self.tokens[self.numbers.below(3) as usize],
            revision: match self.numbers.below(4) {
                0 => u64::MAX,
                _ => self.numbers.below(1 << 30),
            },
        };
        (0..count).map(change).collect()
    }

    /// A member with its last renewal, or the one before.
    fn absent(&mut self) -> (ReplicaId, u64) {
        let replica = self.replica();
        let members = self.rule.attendance().members;
        let renewal = members.get(&replica).map_or(0, |member| member.renewal);
        (replica, renewal.saturating_sub(self.numbers.below(2)))
    }
}

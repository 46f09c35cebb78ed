//! Acts on leases whose answer a case takes for granted, and time that passes in sight of the store.

use std::time::Duration;

use token_authority::domain::caller::Reach;
use token_authority::domain::lease::{Lease, LeaseId, LeaseMark};
use token_authority::domain::page::PageSize;
use token_authority::domain::pool::{Pool, Standing};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{Ruling, Token, TokenId};
use token_authority::store::leases::{Acquired, Asking, Beat, KeptAlive, LeaseTarget, Released};
use token_authority::store::{Change, Rule, Store};

use crate::fixture::Bench;
use crate::support::leases::{asking, beat, lease_id, pool};

pub(crate) const MICRO: Duration = Duration::from_micros(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// The longest step in which time passes without an absence, and a little less.
const STEP: Duration = Duration::from_secs(4);

/// A lease as it was granted.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) lease: Lease,
}

impl Held {
    pub(crate) fn id(&self) -> LeaseId {
        lease_id(&self.token, &self.lease)
    }

    pub(crate) fn target(&self) -> LeaseTarget {
        LeaseTarget::Lease(self.id())
    }
}

pub(crate) fn gpu() -> Pool {
    pool("gpu")
}

/// Asks another process of the same store.
pub(crate) async fn ask(store: &dyn Store, asking: &Asking) -> Acquired {
    store.acquire(asking).await.expect("the store answers")
}

/// The lease that an answer grants now.
pub(crate) fn granted(answer: Acquired) -> Held {
    match answer {
        Acquired::Granted {
            token,
            lease,
            now: _,
            replayed: false,
        } => Held {
            token: *token,
            lease: *lease,
        },
        other => panic!("expected a lease, got {other:?}"),
    }
}

/// The turn that an answer names which grants nothing.
pub(crate) fn busy(answer: Acquired) -> Option<Timestamp> {
    match answer {
        Acquired::Busy { now: _, turn } => turn,
        other => panic!("expected that all are leased, got {other:?}"),
    }
}

impl Bench {
    pub(crate) async fn ask(&self, asking: &Asking) -> Acquired {
        ask(self.store.as_ref(), asking).await
    }

    pub(crate) async fn acquire(&self, asking: &Asking) -> Held {
        granted(self.ask(asking).await)
    }

    /// Leases some token of the pool `gpu` for a minute.
    pub(crate) async fn lease(&self) -> Held {
        self.acquire(&asking(&gpu())).await
    }

    /// The turn of a call to which nothing is granted.
    pub(crate) async fn refused(&self, asking: &Asking) -> Option<Timestamp> {
        busy(self.ask(asking).await)
    }

    pub(crate) async fn release(&self, target: LeaseTarget) -> Released {
        let released = self.store.release(target, &Reach::All).await;
        released.expect("the store answers")
    }

    /// Releases a lease in force; answers how it ended.
    pub(crate) async fn give_back(&self, held: &Held) -> Lease {
        self.ended(held.target(), false).await
    }

    /// Releases a lease that had ended before, or had not; answers how it ended.
    pub(crate) async fn ended(&self, target: LeaseTarget, earlier: bool) -> Lease {
        match self.release(target).await {
            Released::Ended {
                token: _,
                lease,
                now,
                before,
            } => {
                assert_eq!((now, before), (self.now(), earlier));
                *lease
            }
            other => panic!("expected the end of a lease, got {other:?}"),
        }
    }

    pub(crate) async fn keep_alive(&self, beat: &Beat) -> KeptAlive {
        let kept = self.store.keep_alive(beat).await;
        kept.expect("the store answers")
    }

    /// Keeps something alive; answers the token as it is then.
    pub(crate) async fn kept(&self, beat: &Beat) -> Token {
        match self.keep_alive(beat).await {
            KeptAlive::Kept { token, now } => {
                assert_eq!(now, self.now());
                *token
            }
            other => panic!("expected a beat, got {other:?}"),
        }
    }

    /// Whether a lease is in force, as the store judges keep-alives.
    pub(crate) async fn is_held(&self, held: &Held) -> bool {
        match self.keep_alive(&beat(held.id())).await {
            KeptAlive::Kept { .. } => true,
            KeptAlive::Over { .. } | KeptAlive::Absent => false,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The mark of the lease by which a token is held now.
    pub(crate) async fn holder(&self, id: TokenId) -> Option<LeaseMark> {
        let tenure = self.found(id).await?.tenure.expect("a pooled token");
        tenure.live(self.now()).map(|lease| lease.mark)
    }

    /// How the pool `gpu` stands: available, leased, unavailable, waiting; `None` where it has no
    /// token.
    pub(crate) async fn standing(&self) -> Option<[u64; 4]> {
        let pools = self
            .store
            .pools(&Reach::All, None, PageSize::asked(50))
            .await
            .expect("the store answers");
        let found = pools.pools.into_iter().find(|(pool, _)| *pool == gpu());
        found.map(|(_, standing)| {
            let Standing {
                available,
                leased,
                unavailable,
                waiting,
            } = standing;
            [available, leased, unavailable, waiting]
        })
    }

    /// Lets time pass in which the authority is seen.
    pub(crate) async fn pass_seen(&self, span: Duration) {
        let end = self.now().saturating_add(span);
        self.be_seen().await;
        while self.now() < end {
            self.pass(STEP.min(end.saturating_since(self.now())));
            self.be_seen().await;
        }
    }

    pub(crate) async fn be_seen(&self) {
        self.store.be_seen().await.expect("the store answers");
    }

    /// Changes a token by a rule that stores something.
    pub(crate) async fn change(&self, id: TokenId, rule: Rule) -> Token {
        match self.store.change(id, rule).await {
            Ok(Change::Changed(token)) => token,
            other => panic!("expected a change, got {other:?}"),
        }
    }
}

/// A rule that changes a token as `how` says.
pub(crate) fn changing(how: impl Fn(&mut Token) + Send + Sync + 'static) -> Rule {
    std::sync::Arc::new(move |token, now| {
        let mut changed = token.clone();
        how(&mut changed);
        changed.update_time = now;
        Ruling::Replace(Box::new(changed))
    })
}

/// A rule that switches a token off, or on.
pub(crate) fn switched(off: bool) -> Rule {
    changing(move |token| token.profile.disabled = off)
}

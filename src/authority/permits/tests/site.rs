//! A token whose limits are kept in memory, and what takes uses of it ahead.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::ManualSteady;
use crate::domain::limit::{LimitName, RateLimit, RateLimits};
use crate::domain::permits::Back;
use crate::domain::profile::Profile;
use crate::domain::spending::{Exceeded, Spending};
use crate::domain::token::Draft;
use crate::domain::token::tests::{at, draft};
use crate::store::{Found, StoreError, Taken};

pub(super) const BURST: u64 = 100_000;
/// Most uses of a batch of such a limit.
pub(super) const MOST: u64 = BURST / HELD_PART / 2;

/// The limits of one token, whose takes end when they are let.
pub(super) struct Ledger {
    books: Mutex<Books>,
    pub(super) let_end: Semaphore,
}

pub(super) struct Books {
    pub(super) token: Arc<Token>,
    pub(super) spent: u64,
    pub(super) batches: HashMap<u64, u64>,
    /// What was brought back, in its order.
    pub(super) returned: Vec<Back>,
    pub(super) takes: usize,
    pub(super) refuses: bool,
    pub(super) breaks: bool,
}

#[async_trait]
impl LimitStore for Ledger {
    async fn take(&self, take: &Take) -> Result<Taken, StoreError> {
        self.let_end.acquire().await.unwrap().forget();
        let mut books = self.books.lock().unwrap();
        books.takes += 1;
        if books.breaks {
            return Err(StoreError::Closed);
        }
        let now = at(1);
        if books.token.revision != take.token.revision {
            let token = Some(books.token.clone());
            return Ok(Taken::Moved(Found { now, token }));
        }
        if let Some(back) = take.ahead.back {
            books.returned.push(back);
            if books.batches.remove(&back.batch.0).is_some() {
                books.spent -= back.unused;
            }
        }
        if books.refuses {
            let left = left(&take.token, books.spent);
            return Ok(Taken::Refused(Exceeded::Rate, left));
        }
        books.spent += take.cost;
        let mut granted = 0;
        if let Some(wish) = take.ahead.wish {
            granted = wish.uses;
            books.spent += granted;
            books.batches.insert(wish.batch.0, granted);
        }
        Ok(Taken::Admitted(left(&take.token, books.spent), granted))
    }

    async fn spending(&self, _: &[Arc<Token>]) -> Result<Vec<Spending>, StoreError> {
        Err(StoreError::Closed)
    }
}

fn left(token: &Token, spent: u64) -> Left {
    let limits = token.profile.rate_limits.iter();
    Left {
        now: at(1),
        backlogs: limits.map(|limit| spent * limit.pace().step).collect(),
        quota: token.profile.quota.map(|quota| quota.limit() - spent),
    }
}

/// A process, a token, and what keeps its limits.
pub(super) struct Site {
    pub(super) clock: Arc<ManualSteady>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) permits: Arc<Permits>,
}

impl Site {
    /// A token that may be used so often at once, and hardly ever after that.
    pub(super) fn of(burst: u64) -> Self {
        let name = LimitName::parse("").unwrap();
        let year = Duration::from_secs(365 * 24 * 3600);
        let limit = RateLimit::new(name, burst, Some(year), 0).unwrap();
        Self::with(Profile {
            rate_limits: RateLimits::new(vec![limit]).unwrap(),
            ..Profile::default()
        })
    }

    pub(super) fn with(profile: Profile) -> Self {
        let id = entropy::token_id().unwrap();
        let token = Draft {
            id,
            profile,
            ..draft()
        };
        let books = Books {
            token: Arc::new(token.issue(at(0)).unwrap()),
            spent: 0,
            batches: HashMap::new(),
            returned: Vec::new(),
            takes: 0,
            refuses: false,
            breaks: false,
        };
        let ledger = Arc::new(Ledger {
            books: Mutex::new(books),
            let_end: Semaphore::new(Semaphore::MAX_PERMITS / 2),
        });
        let clock = Arc::new(ManualSteady::default());
        let metrics = Arc::new(Metrics::new([]));
        let permits = Permits::new(ledger.clone(), clock.clone(), metrics);
        Self {
            clock,
            ledger,
            permits: Arc::new(permits),
        }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.ledger.books.lock().unwrap()
    }

    pub(super) fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub(super) fn use_of(&self, cost: u64, scope: Scope) -> Take {
        Take {
            token: self.books().token.clone(),
            until: None,
            cost,
            scope,
            dry_run: false,
            ahead: Ahead::default(),
        }
    }

    pub(super) fn ask(&self, cost: u64) -> Asked {
        let take = self.use_of(cost, Scope::All);
        self.permits.ask(&take, at(1), self.clock.now(), true)
    }

    /// Uses the token once, whoever admits it; answers whether nobody was asked.
    pub(super) async fn use_it(&self) -> bool {
        match self.ask(1) {
            Asked::Spent(_) => return true,
            Asked::Alone => drop(self.alone().await),
            Asked::Ahead(wishing) => drop(self.permits.take(*wishing).await),
            Asked::Wait(_) => panic!("nobody else asks"),
        }
        false
    }

    pub(super) async fn alone(&self) -> Result<Taken, StoreError> {
        self.ledger.take(&self.use_of(1, Scope::All)).await
    }

    /// Has a batch of so many uses granted, and uses one more.
    pub(super) async fn granted(&self, uses: u64) {
        {
            let slots = Arc::new(Slots::begin(self.clock.now()));
            let id = self.books().token.id;
            let slots = self
                .permits
                .slots
                .get_or_insert_with(&id, || Ok::<_, Infallible>(slots));
            let mut state = slots.as_ref().unwrap().of(Scope::All).lock();
            state.meter.count(self.clock.now(), uses - 1);
        }
        let Asked::Ahead(wishing) = self.ask(1) else {
            panic!("it is not asked for");
        };
        self.permits.take(*wishing).await.unwrap();
        assert_eq!(self.permits.outstanding(), uses);
    }

    /// How many uses are held, and how many were brought back one by one.
    pub(super) async fn returned(&self) -> Vec<u64> {
        self.permits.nothing_under_way().await;
        assert_eq!(self.permits.outstanding(), 0);
        let returned = &self.books().returned;
        returned.iter().map(|back| back.unused).collect()
    }

    /// Writes the token anew; answers the change.
    pub(super) fn change(&self) -> Invalidation {
        let mut books = self.books();
        let mut changed = Token::clone(&books.token);
        changed.revision += 1;
        let change = Invalidation {
            token: changed.id,
            revision: changed.revision,
        };
        books.token = Arc::new(changed);
        change
    }
}

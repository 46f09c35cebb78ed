//! How tokens and namespaces were used, as far as it is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::domain::caller::{Namespaces, Reach};
use crate::domain::flaw::Violations;
use crate::domain::name::Namespace;
use crate::domain::page::PageSize;
use crate::domain::time::Timestamp;
use crate::domain::token::{Token, TokenId};
use crate::domain::usage::{Add, Counts, Report, Subject, Window};
use crate::store::usage::InForce;

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;

/// Namespaces that one Overview sums up, at most.
const NAMESPACES_MAX: usize = 1000;
/// How soon a token expires that an Overview names, and how many it names.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);
const SOON_MAX: usize = 50;
/// Tokens that an Overview names as the busiest.
const BUSIEST: usize = 10;

/// How the asked namespaces are used.
#[derive(Debug)]
pub struct Overlook {
    /// How many tokens are in force.
    pub active: u64,
    /// Those of them that expire soon, the soonest first.
    pub expiring: Vec<Token>,
    pub report: Report,
    /// The busiest tokens, with what each was used for.
    pub busiest: Vec<(Arc<Token>, Counts)>,
    /// There are more namespaces than were summed up.
    pub partial: bool,
}

impl Authority {
    /// Refuses what needs usage to be kept where it is not.
    pub fn needs_usage(&self) -> Result<(), Error> {
        self.usage.enabled.then_some(()).ok_or(Error::UsageOff)
    }

    /// How a token was used within `span` before now.
    pub async fn usage_of(
        &self,
        right: &mut Right<act::Usage>,
        id: TokenId,
        span: Duration,
    ) -> Result<Report, Error> {
        right.about(id);
        self.needs_usage()?;
        let found = self.store.find(id).await?;
        match found.token {
            Some(token) if right.reach().covers(&token.namespace) => {
                right.found_in(&token.namespace);
                let window = window(found.now, span)?;
                self.told(&Subject::Token(id), window).await
            }
            Some(_) => {
                // As dear as an absent token, so that the time tells nothing either.
                self.store.confirm().await?;
                Err(Error::TokenNotFound(id))
            }
            None => Err(Error::TokenNotFound(id)),
        }
    }

    /// How the asked namespaces were used within `span` before now, and how they stand.
    pub async fn overview(
        &self,
        right: &Right<act::Overview>,
        namespaces: &Namespaces,
        span: Duration,
    ) -> Result<Overlook, Error> {
        let reach = right.within(namespaces)?;
        self.needs_usage()?;
        let now = SystemClock.now();
        let window = window(now, span)?;
        let (asked, partial) = match &*reach {
            Reach::Only(asked) => (asked.clone(), false),
            Reach::All => self.all_namespaces().await?,
        };
        let one = match &*reach {
            Reach::Only(asked) => asked.first(),
            Reach::All => None,
        };
        let standing = self.store.standing(one, now.saturating_add(SOON), SOON_MAX);
        let InForce { active, expiring } = standing.await?;
        let mut report = Report::default();
        for namespace in asked {
            let told = self.told(&Subject::Namespace(namespace), window).await?;
            match report.hourly.is_empty() {
                true => report = told,
                false => report.add(told),
            }
        }
        let busiest = self.busiest(&reach, &report, window).await?;
        Ok(Overlook {
            active,
            expiring,
            report,
            busiest,
            partial,
        })
    }

    /// What is told of a subject over a window.
    async fn told(&self, subject: &Subject, window: Window) -> Result<Report, Error> {
        let keeping = &self.usage.keeping;
        let book = self
            .store
            .usage(subject, window.first_hour(keeping))
            .await?;
        Ok(Report::of(&book, window, keeping))
    }

    /// The namespaces that hold tokens, and the default one, where callers without a token are at home;
    /// and whether there are more.
    async fn all_namespaces(&self) -> Result<(BTreeSet<Namespace>, bool), Error> {
        let mut names = BTreeSet::from([Namespace::fallback()]);
        let (size, mut after) = (PageSize::asked(NAMESPACES_MAX as u32), None);
        loop {
            let page = self.store.census(&Reach::All, after.as_ref(), size).await?;
            for population in page.populations {
                if names.len() == NAMESPACES_MAX && !names.contains(&population.namespace) {
                    return Ok((names, true));
                }
                names.insert(population.namespace);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok((names, false)),
            }
        }
    }

    /// The busiest of the tokens that the rows of their namespaces name, each with its own numbers: a row
    /// lacks what came while it had no place. Tokens that have gone are left out.
    async fn busiest(
        &self,
        reach: &Reach,
        report: &Report,
        window: Window,
    ) -> Result<Vec<(Arc<Token>, Counts)>, Error> {
        let mut busiest = Vec::new();
        for (id, _) in &report.tokens {
            let found = self.store.find(*id).await?;
            let Some(token) = found.token.filter(|own| reach.covers(&own.namespace)) else {
                continue;
            };
            let totals = self.told(&Subject::Token(*id), window).await?.totals;
            if totals.weight() > 0 {
                busiest.push((token, totals));
            }
        }
        busiest.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.weight()));
        busiest.truncate(BUSIEST);
        Ok(busiest)
    }
}

fn window(now: Timestamp, span: Duration) -> Result<Window, Error> {
    Window::of(now, span).map_err(|flaw| Error::Invalid(Violations::one("window", flaw)))
}

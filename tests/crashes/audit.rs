//! Holds what callers know against what the authority answers once it is well again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use token_authority::transport::grpc::pb::{self, ListRequest, State};

use crate::callers::{Told, rotation};
use crate::harness::{Client, create, verdict};
use crate::kit::found;
use crate::ledger::{Change, Entry, Facts, Fate, Purse};

/// How many entries are looked at at the same time.
const EXAMINERS: usize = 8;

/// All that was acknowledged in all rounds.
pub(crate) struct Books {
    pub(crate) purses: Arc<Vec<Purse>>,
    entries: Vec<Entry>,
    /// Tokens that somebody else knows about.
    others: Vec<String>,
    /// Rounds that were settled: each ended with a kill.
    rounds: u64,
    /// Changes that were under way when their round ended.
    open: usize,
}

impl Books {
    /// Books of nothing but two tokens with a quota, one of them with a rate limit too.
    pub(crate) async fn open(client: &mut Client) -> Self {
        let mut purses = Vec::new();
        for rate_limits in [false, true] {
            let mark = format!("purse-{}", usize::from(rate_limits));
            purses.push(Purse::new(client, &mark, rate_limits).await);
        }
        Self {
            purses: Arc::new(purses),
            entries: Vec::new(),
            others: Vec::new(),
            rounds: 0,
            open: 0,
        }
    }

    /// Expects tokens in lists that no caller of a round made.
    pub(crate) fn expect_also(&mut self, token_ids: &[String]) {
        self.others.extend_from_slice(token_ids);
    }

    /// Settles a round: all that was acknowledged is there, and what was not answered is there
    /// whole, or not at all. Lists are asked of the first of `clients`, the rest of the last.
    pub(crate) async fn settle(&mut self, clients: &[Client], round: Vec<Told>) {
        let (mut lister, mut examiner) = (clients[0].clone(), clients[clients.len() - 1].clone());
        let left = Survey::take(&mut lister, "").await;
        let mut entries = Vec::new();
        for told in round {
            self.open += told.open();
            entries.extend(told.entries);
            if let Some(facts) = told.begun {
                entries.push(left.creation(&mut examiner, &facts).await);
            }
        }
        // Anew, since repeated creations have one more secret.
        let survey = Arc::new(Survey::take(&mut lister, "").await);
        let owners: BTreeSet<String> = entries
            .iter()
            .map(|entry| entry.facts.owner.clone())
            .collect();
        let entries = examined(&examiner, &survey, entries).await;
        for owner in owners {
            let owned = Survey::take(&mut lister, &owner).await;
            owned.agrees(&entries, &owner);
        }
        self.entries.extend(entries);
        self.rounds += 1;
        for purse in self.purses.iter() {
            purse.is_true(&mut examiner, self.rounds).await;
        }
        self.nothing_else_is_listed(&mut lister).await;
    }

    /// Looks at everything again that was settled in any round.
    pub(crate) async fn are_true(self, clients: &[Client]) {
        let (mut lister, examiner) = (clients[0].clone(), clients[clients.len() - 1].clone());
        let survey = Arc::new(Survey::take(&mut lister, "").await);
        let count = self.entries.len();
        assert!(
            count > 0 && self.open > 0,
            "{count} with {} open",
            self.open
        );
        examined(&examiner, &survey, self.entries).await;
    }

    async fn nothing_else_is_listed(&self, lister: &mut Client) {
        let survey = Survey::take(lister, "").await;
        let there = self.entries.iter().filter(|e| e.fate != Fate::Deleted);
        let known: BTreeSet<&str> = there
            .map(|entry| entry.token_id.as_str())
            .chain(self.purses.iter().map(|purse| purse.token_id.as_str()))
            .chain(self.others.iter().map(String::as_str))
            .collect();
        let listed: BTreeSet<&str> = survey.0.keys().map(String::as_str).collect();
        assert_eq!(listed, known);
    }
}

/// Everything that List answers, in any state, by id.
struct Survey(BTreeMap<String, pb::Token>);

impl Survey {
    async fn take(client: &mut Client, owner: &str) -> Self {
        let states = [
            State::Active,
            State::Disabled,
            State::Revoked,
            State::Expired,
        ];
        let mut request = ListRequest {
            owner: owner.to_owned(),
            states: states.map(i32::from).into(),
            page_size: 1000,
            ..ListRequest::default()
        };
        let mut tokens = BTreeMap::new();
        loop {
            let page = client.list(request.clone()).await.unwrap().into_inner();
            for token in page.tokens {
                let twice = tokens.insert(token.token_id.clone(), token);
                assert!(twice.is_none(), "listed twice: {twice:?}");
            }
            if page.next_page_token.is_empty() {
                return Self(tokens);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// A creation that was not answered: it made one whole token, or none, and repeating it answers
    /// the token with one more secret, or makes it.
    async fn creation(&self, client: &mut Client, facts: &Facts) -> Entry {
        let made: Vec<&pb::Token> = self
            .0
            .values()
            .filter(|token| token.name == facts.mark)
            .collect();
        assert!(made.len() <= 1, "one request made {made:?}");
        if let Some(made) = made.first() {
            let got = found(client, &made.token_id).await;
            assert_eq!(got.and_then(|got| got.token).as_ref(), Some(*made));
        }
        let (token, secret) = create(client, facts.creation()).await;
        assert_eq!(&Facts::of(&token), facts);
        if let Some(made) = made.first() {
            assert_eq!(&Facts::of(made), facts);
            assert_eq!(token.token_id, made.token_id);
            assert_eq!(token.create_time, made.create_time);
        }
        Entry::created(&token, secret)
    }

    /// Exactly those of `entries` are listed here that belong to `owner`.
    fn agrees(&self, entries: &[Entry], owner: &str) {
        let of_owner = |entry: &&Entry| entry.facts.owner == owner && entry.fate != Fate::Deleted;
        let known: BTreeSet<&str> = entries
            .iter()
            .filter(of_owner)
            .map(|entry| entry.token_id.as_str())
            .collect();
        let listed: BTreeSet<&str> = self.0.keys().map(String::as_str).collect();
        assert_eq!(listed, known, "of {owner:?}");
    }
}

/// Looks at all `entries`, several at a time, and answers them settled.
async fn examined(client: &Client, survey: &Arc<Survey>, entries: Vec<Entry>) -> Vec<Entry> {
    let mut shares: Vec<Vec<Entry>> = (0..EXAMINERS).map(|_| Vec::new()).collect();
    for (at, entry) in entries.into_iter().enumerate() {
        shares[at % EXAMINERS].push(entry);
    }
    let tasks: Vec<_> = shares
        .into_iter()
        .map(|share| {
            let (mut client, survey) = (client.clone(), Arc::clone(survey));
            tokio::spawn(async move {
                let mut settled = Vec::with_capacity(share.len());
                for entry in share {
                    settled.push(examine(&mut client, &survey, entry).await);
                }
                settled
            })
        })
        .collect();
    let mut settled = Vec::new();
    for task in tasks {
        settled.extend(task.await.unwrap());
    }
    settled
}

/// The token without what is told of its use, which may have been added between two looks.
fn without_use(mut token: pb::Token) -> pb::Token {
    token.last_used_time = None;
    for secret in &mut token.secrets {
        secret.last_used_time = None;
    }
    token
}

async fn examine(client: &mut Client, survey: &Survey, mut entry: Entry) -> Entry {
    let token = found(client, &entry.token_id).await;
    let token = token.and_then(|answer| answer.token);
    if let Some(listed) = survey.0.get(&entry.token_id) {
        let listed = Some(without_use(listed.clone()));
        let token = token.clone().map(without_use);
        assert_eq!(token, listed, "Get and List differ");
    }
    let Some(token) = token else {
        let asked = entry.asked.take();
        let deleted = entry.fate == Fate::Deleted || asked == Some(Change::Delete);
        assert!(deleted, "lost: {entry:?}");
        entry.fate = Fate::Deleted;
        return judged(client, entry).await;
    };
    assert_ne!(entry.fate, Fate::Deleted, "it came back: {entry:?}");
    match entry.asked.clone() {
        Some(Change::Update(facts)) if Facts::of(&token) == facts => entry.done(),
        Some(Change::Revoke(_)) if token.state() == State::Revoked => entry.done(),
        Some(Change::Rotate(request)) => return rotated(client, entry, &token, &request).await,
        _ => entry.asked = None,
    }
    is_as_known(&entry, &token);
    judged(client, entry).await
}

/// A rotation that was not answered: both secrets say the same about it, and repeating it answers a
/// secret of the version that it made, or makes it.
async fn rotated(
    client: &mut Client,
    mut entry: Entry,
    token: &pb::Token,
    request_id: &str,
) -> Entry {
    let (current, cut) = entry.verdicts();
    let done = token.secret_version == entry.version + 1;
    assert!(
        done || token.secret_version == entry.version,
        "{entry:?} {token:?}"
    );
    let expected = if done { cut } else { current };
    assert_eq!(verdict(client, &entry.secret).await, expected, "{entry:?}");
    let again = client.rotate(rotation(&entry.token_id, request_id)).await;
    let again = again.expect("one more secret").into_inner();
    let token = again.token.expect("a token");
    entry.rotated(&token, again.secret);
    is_as_known(&entry, &token);
    judged(client, entry).await
}

fn is_as_known(entry: &Entry, token: &pb::Token) {
    assert_eq!(Facts::of(token), entry.facts);
    let newest = token.secrets.first().map(|secret| secret.version);
    assert_eq!(
        (token.secret_version, newest, token.secrets.len()),
        (entry.version, Some(entry.version), entry.version as usize),
        "{entry:?}"
    );
    let reason = match &entry.fate {
        Fate::Revoked(reason) => reason.as_str(),
        Fate::InForce | Fate::Deleted => "",
    };
    assert_eq!(
        (token.state(), token.revoke_reason.as_str()),
        (entry.state(), reason),
        "{entry:?}"
    );
}

/// Validate says of both secrets what Get says of the token.
async fn judged(client: &mut Client, entry: Entry) -> Entry {
    let (current, cut) = entry.verdicts();
    assert_eq!(verdict(client, &entry.secret).await, current, "{entry:?}");
    if let Some(secret) = &entry.cut {
        assert_eq!(verdict(client, secret).await, cut, "{entry:?}");
    }
    entry
}

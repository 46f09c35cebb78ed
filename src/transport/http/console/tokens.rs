//! The list of tokens, and the way to one of them.

use askama::Template;

use crate::authority::act;
use crate::domain::caller::Permission;
use crate::domain::token::TokenId;
use crate::transport::grpc::{convert, pb};
use crate::transport::http::form::Form;

use super::flaws::Flaws;
use super::overview::namespace;
use super::page::Frame;
use super::problem::Problem;
use super::reply::Reply;
use super::shown::{When, count, encoded, state};
use super::visitor::Visitor;

/// Tokens on a page.
const PAGE: u32 = 50;
const STATES: [(&str, pb::State); 4] = [
    ("active", pb::State::Active),
    ("disabled", pb::State::Disabled),
    ("expired", pb::State::Expired),
    ("revoked", pb::State::Revoked),
];

/// A token in a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) owner: String,
    pub(super) hint: String,
    pub(super) state: &'static str,
    pub(super) created: When,
    pub(super) expires: When,
    pub(super) used: When,
    /// Requests of the last 24 hours; empty where no usage is kept.
    pub(super) requests: String,
    pub(super) lease: Option<pb::Lease>,
    pub(super) lease_end: When,
}

impl Row {
    pub(super) fn of(token: pb::Token) -> Self {
        let at = |time: &Option<prost_types::Timestamp>| When::of(time.as_ref());
        Self {
            state: state(token.state),
            created: at(&token.create_time),
            expires: at(&token.expire_time),
            used: at(&token.last_used_time),
            requests: token
                .usage
                .map(|usage| count(usage.requests_24h))
                .unwrap_or_default(),
            lease_end: When::of(
                token
                    .lease
                    .as_ref()
                    .and_then(|own| own.expire_time.as_ref()),
            ),
            id: token.token_id,
            name: token.name,
            namespace: token.namespace,
            owner: token.owner,
            hint: token.secret_hint,
            lease: token.lease,
        }
    }
}

struct StateChoice {
    name: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    namespace: String,
    owner: String,
    pool: String,
    label: String,
    states: Vec<StateChoice>,
    rows: Vec<Row>,
    may_revoke: bool,
    /// Where this page begins; empty for the newest.
    begun: bool,
    /// The query of the first page, and of the next one, if there is one.
    first: String,
    next: String,
}

pub(super) async fn page(visitor: &Visitor, query: &Form) -> Result<Reply, Problem> {
    let namespace = namespace(visitor, query);
    let (owner, pool, label) = (query.text("owner"), query.text("pool"), query.text("label"));
    let chosen: Vec<&str> = query.all("state").collect();
    let request = pb::ListRequest {
        namespace: namespace.clone(),
        owner: owner.to_owned(),
        pool: pool.to_owned(),
        states: states(&chosen)?,
        labels: labels(label)?,
        page_size: PAGE,
        page_token: query.text("page").to_owned(),
        with_usage: visitor.authority.needs_usage().is_ok(),
    };
    let listed = listed(visitor, request).await?;
    let mut first = format!("namespace={}", encoded(&namespace));
    let texts = [("owner", owner), ("pool", pool), ("label", label)];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    for (name, text) in texts.chain(chosen.iter().map(|state| ("state", *state))) {
        first.push_str(&format!("&{name}={}", encoded(text)));
    }
    let next = match listed.next_page_token.as_str() {
        "" => String::new(),
        next => format!("{first}&page={}", encoded(next)),
    };
    let choice = |(name, _)| StateChoice {
        name,
        chosen: chosen.contains(&name),
    };
    Ok(Reply::page(&TokensPage {
        frame: visitor.frame("Tokens"),
        states: STATES.into_iter().map(choice).collect(),
        owner: owner.to_owned(),
        pool: pool.to_owned(),
        label: label.to_owned(),
        rows: listed.tokens.into_iter().map(Row::of).collect(),
        may_revoke: visitor.may(Permission::Revoke),
        begun: !query.text("page").is_empty(),
        namespace,
        first,
        next,
    }))
}

/// What List answers.
pub(super) async fn listed(
    visitor: &Visitor,
    request: pb::ListRequest,
) -> Result<pb::ListResponse, Problem> {
    let right = visitor.permit::<act::List>()?;
    let result = match convert::list_query(request) {
        Ok(query) => visitor.authority.list(&right, query).await,
        Err(error) => Err(error),
    };
    Ok(convert::listed(right.conclude(result)?))
}

fn states(chosen: &[&str]) -> Result<Vec<i32>, Problem> {
    let number = |name: &&str| {
        let known = STATES.iter().find(|(own, _)| own == name);
        known.map(|(_, state)| i32::from(*state))
    };
    let numbers: Option<Vec<i32>> = chosen.iter().map(number).collect();
    numbers.ok_or_else(|| {
        let mut flaws = Flaws::default();
        flaws.add("state", "must be active, disabled, expired or revoked");
        Problem::invalid(flaws)
    })
}

/// A label that tokens must carry, as `key=value`.
fn labels(text: &str) -> Result<std::collections::BTreeMap<String, String>, Problem> {
    if text.is_empty() {
        return Ok(std::collections::BTreeMap::new());
    }
    let pair = text.split_once('=').ok_or_else(|| {
        let mut flaws = Flaws::default();
        flaws.add("label", "must be written as key=value");
        Problem::invalid(flaws)
    });
    pair.map(|(key, value)| [(key.to_owned(), value.to_owned())].into())
}

/// Leads to the token whose id, or secret, is given, and else to the tokens of an owner. It is posted,
/// so that a secret gets into no address and no history; and of that only the id goes on.
pub(super) fn search(visitor: &Visitor, form: &Form) -> Result<Reply, Problem> {
    let asked = form.text("q").trim();
    if let Some(id) = visitor.authority.named_by(asked) {
        return Ok(Reply::see(&format!("/tokens/{id}")));
    }
    if let Ok(id) = TokenId::parse(asked) {
        return Ok(Reply::see(&format!("/tokens/{id}")));
    }
    if asked.len() > 64 {
        let mut flaws = Flaws::default();
        flaws.add(
            "q",
            "is neither the id of a token, nor a secret of one, nor an owner",
        );
        return Err(Problem::invalid(flaws));
    }
    let namespace = encoded(&visitor.home(Permission::Read));
    let owner = encoded(asked);
    Ok(Reply::see(&format!(
        "/tokens?namespace={namespace}&owner={owner}"
    )))
}

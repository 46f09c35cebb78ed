//! The form that a token is made or changed by, as the texts that a person types; each text becomes a
//! part of the message that gRPC's clients send, and is judged by the same rules.

use std::collections::BTreeMap;

use prost_types::{FieldMask, Timestamp};

use crate::transport::grpc::pb::limit_spec::{self, rate_limit_text};
use crate::transport::grpc::pb::{self, create_request::Expiration, span};
use crate::transport::http::form::Form;

use super::flaws::Flaws;

/// What stands in the form's fields; lists have one entry on each line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenForm {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) owner: String,
    pub(super) pool: String,
    pub(super) scopes: String,
    pub(super) allowed_endpoints: String,
    pub(super) allowed_cidrs: String,
    pub(super) rate_limits: String,
    pub(super) quota: String,
    pub(super) labels: String,
    /// A span, an instant, `never`, or nothing.
    pub(super) expires: String,
    pub(super) keep_alive_ttl: String,
    pub(super) disabled: bool,
}

impl TokenForm {
    pub(super) fn read(form: &Form) -> Self {
        let text = |name| form.text(name).trim().replace("\r\n", "\n");
        Self {
            namespace: text("namespace"),
            name: text("name"),
            description: text("description"),
            owner: text("owner"),
            pool: text("pool"),
            scopes: text("scopes"),
            allowed_endpoints: text("allowed_endpoints"),
            allowed_cidrs: text("allowed_cidrs"),
            rate_limits: text("rate_limits"),
            quota: text("quota"),
            labels: text("labels"),
            expires: text("expires"),
            keep_alive_ttl: text("keep_alive_ttl"),
            disabled: !form.text("disabled").is_empty(),
        }
    }

    /// A token as it is.
    pub(super) fn of(token: &pb::Token) -> Self {
        let labels = token
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let quota = token.quota.as_ref().map(limit_spec::quota_text);
        let ttl = token.keep_alive_ttl.as_ref().map(span::exact);
        let form = Self {
            namespace: token.namespace.clone(),
            name: token.name.clone(),
            description: token.description.clone(),
            owner: token.owner.clone(),
            pool: token.pool.clone(),
            scopes: token.scopes.join("\n"),
            allowed_endpoints: token.allowed_endpoints.join("\n"),
            allowed_cidrs: token.allowed_cidrs.join("\n"),
            rate_limits: lines_of(token.rate_limits.iter().map(rate_limit_text)),
            quota: quota.unwrap_or_default(),
            labels: lines_of(labels),
            expires: token
                .expire_time
                .map_or("never".to_owned(), |at| at.to_string()),
            keep_alive_ttl: ttl.unwrap_or_default(),
            disabled: token.disabled,
        };
        // As a browser sends it back.
        Self {
            description: form.description.trim().replace("\r\n", "\n"),
            name: form.name.trim().to_owned(),
            ..form
        }
    }

    /// What Create is asked for.
    pub(super) fn create(&self) -> Result<pb::CreateRequest, Flaws> {
        let mut flaws = Flaws::default();
        let request = pb::CreateRequest {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            owner: self.owner.clone(),
            pool: self.pool.clone(),
            scopes: lines(&self.scopes),
            allowed_endpoints: lines(&self.allowed_endpoints),
            allowed_cidrs: lines(&self.allowed_cidrs),
            labels: self.labels(&mut flaws),
            disabled: self.disabled,
            request_id: String::new(),
            rate_limits: self.rate_limits(&mut flaws),
            quota: self.quota(&mut flaws),
            keep_alive_ttl: self.keep_alive_ttl(&mut flaws),
            expiration: self.expiration(&mut flaws),
        };
        sound(request, flaws)
    }

    /// What Update is asked for, to make a token that is as `before` says as this form says: what is the
    /// same is not named.
    pub(super) fn update(
        &self,
        before: &Self,
        id: &str,
        revision: u64,
    ) -> Result<pb::UpdateRequest, Flaws> {
        let mut flaws = Flaws::default();
        let v = &mut flaws;
        let differs = [
            ("name", self.name != before.name),
            ("description", self.description != before.description),
            ("owner", self.owner != before.owner),
            ("scopes", self.scopes != before.scopes),
            (
                "allowed_endpoints",
                self.allowed_endpoints != before.allowed_endpoints,
            ),
            ("allowed_cidrs", self.allowed_cidrs != before.allowed_cidrs),
            ("rate_limits", self.rate_limits != before.rate_limits),
            ("quota", self.quota != before.quota),
            ("labels", self.labels != before.labels),
            ("disabled", self.disabled != before.disabled),
            ("expire_time", self.expires != before.expires),
            (
                "keep_alive_ttl",
                self.keep_alive_ttl != before.keep_alive_ttl,
            ),
        ];
        let named = differs.iter().filter(|(_, differs)| *differs);
        let paths: Vec<String> = named.map(|(path, _)| (*path).to_owned()).collect();
        let expire_time = match self.expires != before.expires {
            true => self.expire_time(v),
            false => None,
        };
        let token = pb::Token {
            token_id: id.to_owned(),
            name: self.name.clone(),
            description: self.description.clone(),
            owner: self.owner.clone(),
            scopes: lines(&self.scopes),
            allowed_endpoints: lines(&self.allowed_endpoints),
            allowed_cidrs: lines(&self.allowed_cidrs),
            rate_limits: self.rate_limits(v),
            quota: self.quota(v),
            labels: self.labels(v),
            disabled: self.disabled,
            expire_time,
            keep_alive_ttl: self.keep_alive_ttl(v),
            ..pb::Token::default()
        };
        let request = pb::UpdateRequest {
            token: Some(token),
            update_mask: Some(FieldMask { paths }),
            revision: Some(revision),
        };
        sound(request, flaws)
    }

    fn rate_limits(&self, flaws: &mut Flaws) -> Vec<pb::RateLimit> {
        let mut limits = Vec::new();
        for (at, line) in lines(&self.rate_limits).iter().enumerate() {
            match limit_spec::rate_limit(line) {
                Ok(limit) => limits.push(limit),
                Err(why) => flaws.add(&format!("rate_limits[{at}]"), why),
            }
        }
        limits
    }

    fn quota(&self, flaws: &mut Flaws) -> Option<pb::Quota> {
        if self.quota.is_empty() {
            return None;
        }
        match limit_spec::quota(&self.quota) {
            Ok(spec) => Some(pb::Quota {
                limit: spec.limit,
                remaining: spec.left.unwrap_or_default(),
                period: spec.period,
            }),
            Err(why) => {
                flaws.add("quota", why);
                None
            }
        }
    }

    fn labels(&self, flaws: &mut Flaws) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (at, line) in lines(&self.labels).iter().enumerate() {
            match line.split_once('=') {
                Some((key, value)) => {
                    labels.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                None => flaws.add(&format!("labels[{at}]"), "must be written as key=value"),
            }
        }
        labels
    }

    fn keep_alive_ttl(&self, flaws: &mut Flaws) -> Option<prost_types::Duration> {
        spanned("keep_alive_ttl", &self.keep_alive_ttl, flaws)
    }

    fn expiration(&self, flaws: &mut Flaws) -> Option<Expiration> {
        let never = prost_types::Duration::default();
        match self.expires.as_str() {
            "" => None,
            "never" => Some(Expiration::Ttl(never)),
            text if is_instant(text) => instant(text, flaws).map(Expiration::ExpireTime),
            text => spanned("expires", text, flaws).map(Expiration::Ttl),
        }
    }

    /// When a token that there is ends; a span would have to count from some instant.
    fn expire_time(&self, flaws: &mut Flaws) -> Option<Timestamp> {
        match self.expires.as_str() {
            "" | "never" => None,
            text => instant(text, flaws),
        }
    }
}

fn is_instant(text: &str) -> bool {
    text.get(4..5) == Some("-")
}

/// Reads an instant of RFC 3339, or one without seconds, or without a zone, which is one of UTC.
fn instant(text: &str, flaws: &mut Flaws) -> Option<Timestamp> {
    let mut whole = text.replacen(' ', "T", 1);
    if whole.len() == "2030-01-31".len() {
        whole.push_str("T00:00");
    }
    if whole.len() == "2030-01-31T12:00".len() {
        whole.push_str(":00");
    }
    let zoned = whole
        .get(10..)
        .is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    if !zoned {
        whole.push('Z');
    }
    let read = whole.parse().ok();
    if read.is_none() {
        flaws.add(
            "expires",
            "must be never, or an instant such as 2030-01-31T12:00:00Z; of a new token also a span \
             such as 30d",
        );
    }
    read
}

fn spanned(field: &str, text: &str, flaws: &mut Flaws) -> Option<prost_types::Duration> {
    if text.is_empty() {
        return None;
    }
    let read = span::parse(text).map_err(|why| flaws.add(field, why));
    read.ok()
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

fn lines_of(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join("\n")
}

fn sound<T>(request: T, flaws: Flaws) -> Result<T, Flaws> {
    match flaws.is_empty() {
        true => Ok(request),
        false => Err(flaws),
    }
}

#[cfg(test)]
mod tests;

//! What is known about a token, in words for people.

use prost_types::Timestamp;

use crate::transport::grpc::pb;

use super::limit_spec::{quota_text, rate_limit_text};
use super::span::exact;

/// Names and values of everything that a token says about itself.
pub(super) fn facts(token: &pb::Token) -> Vec<(&'static str, String)> {
    let pb::Token {
        token_id,
        namespace,
        name,
        owner,
        pool,
        scopes,
        labels,
        expire_time,
        state: _,
        description,
        allowed_endpoints,
        allowed_cidrs,
        rate_limits,
        quota,
        // The state says it.
        disabled: _,
        create_time,
        update_time,
        revoke_time,
        revoke_reason,
        secret_hint,
        secrets,
        secret_version,
        revision,
        lease,
        keep_alive_ttl,
        keep_alive_deadline,
        last_lease,
        last_used_time,
        usage: _,
    } = token;
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let limits: Vec<String> = rate_limits.iter().map(rate_limit_text).collect();
    let told = |lease: Option<&pb::Lease>| lease.map(held).unwrap_or_default();
    let mut facts = vec![
        ("token_id", token_id.clone()),
        ("namespace", namespace.clone()),
        ("name", name.clone()),
        ("description", description.clone()),
        ("owner", owner.clone()),
        ("pool", pool.clone()),
        ("state", state(token)),
        ("scopes", scopes.join(" ")),
        ("endpoints", allowed_endpoints.join(", ")),
        ("cidrs", allowed_cidrs.join(", ")),
        ("rate_limits", limits.join(" ")),
        ("quota", quota.as_ref().map(quota_text).unwrap_or_default()),
        ("labels", labels.join(", ")),
        ("created", moment(create_time.as_ref())),
        ("updated", moment(update_time.as_ref())),
        ("expires", moment(expire_time.as_ref())),
        ("last_used", moment(last_used_time.as_ref())),
        ("keep_alive_ttl", span(keep_alive_ttl.as_ref())),
        ("alive_until", moment(keep_alive_deadline.as_ref())),
        ("lease", told(lease.as_ref())),
        ("last_lease", told(last_lease.as_ref())),
        ("revoked", moment(revoke_time.as_ref())),
        ("revoke_reason", revoke_reason.clone()),
        ("secret_hint", secret_hint.clone()),
        ("secret_version", number(u64::from(*secret_version))),
        ("revision", number(*revision)),
    ];
    // Of a single one all is said already.
    if secrets.len() > 1 {
        facts.extend(secrets.iter().map(|known| ("secret", secret(known))));
    }
    facts
}

/// A lease in one line.
fn held(lease: &pb::Lease) -> String {
    let pb::Lease {
        // Whoever knows it may release the lease.
        lease_id: _,
        holder,
        fence,
        acquire_time,
        expire_time,
        end_time,
        end_reason,
    } = lease;
    let holder = match holder.as_str() {
        "" => "unnamed",
        holder => holder,
    };
    let since = moment(acquire_time.as_ref());
    let end = match end_time {
        Some(end) => format!("{} at {}", reason_of_end(*end_reason), moment(Some(end))),
        None => format!("until {}", moment(expire_time.as_ref())),
    };
    format!("fence {fence}, holder {holder}, since {since}, {end}")
}

/// Names and values of a lease.
pub(super) fn lease_facts(lease: &pb::Lease) -> Vec<(&'static str, String)> {
    let pb::Lease {
        lease_id,
        holder,
        fence,
        acquire_time,
        expire_time,
        end_time,
        end_reason,
    } = lease;
    vec![
        ("lease_id", lease_id.clone()),
        ("holder", holder.clone()),
        ("fence", number(*fence)),
        ("acquired", moment(acquire_time.as_ref())),
        ("lease_expires", moment(expire_time.as_ref())),
        ("ended", moment(end_time.as_ref())),
        ("end_reason", reason_of_end(*end_reason)),
    ]
}

/// Why a lease ended, in lower case; empty where it did not.
fn reason_of_end(reason: i32) -> String {
    match pb::LeaseEnd::try_from(reason) {
        Ok(pb::LeaseEnd::Unspecified) => String::new(),
        Ok(reason) => word(reason.as_str_name(), "LEASE_END_").to_lowercase(),
        Err(_) => format!("unknown ({reason})"),
    }
}

/// A span as it is given; empty where there is none.
pub(super) fn span(span: Option<&prost_types::Duration>) -> String {
    span.map(exact).unwrap_or_default()
}

/// One version of the secret, in force or replaced.
fn secret(known: &pb::SecretInfo) -> String {
    let pb::SecretInfo {
        version,
        create_time,
        expire_time,
        last_used_time,
    } = known;
    let since = moment(create_time.as_ref());
    let until = match expire_time {
        Some(end) => format!("grace until {}", moment(Some(end))),
        None => "in force".to_owned(),
    };
    match last_used_time {
        Some(last) => {
            let last = moment(Some(last));
            format!("version {version}, created {since}, {until}, last used {last}")
        }
        None => format!("version {version}, created {since}, {until}"),
    }
}

/// The head of [`row`].
pub(super) const HEAD: [&str; 8] = [
    "TOKEN_ID",
    "NAME",
    "OWNER",
    "NAMESPACE",
    "STATE",
    "SCOPES",
    "CREATED",
    "EXPIRES",
];

/// A token as one line of a list.
pub(super) fn row(token: &pb::Token) -> [String; 8] {
    let expires = match &token.expire_time {
        Some(end) => second(end),
        None => "never".to_owned(),
    };
    [
        token.token_id.clone(),
        token.name.clone(),
        token.owner.clone(),
        token.namespace.clone(),
        state(token),
        token.scopes.join(" "),
        token.create_time.as_ref().map(second).unwrap_or_default(),
        expires,
    ]
}

/// The head of [`use_row`].
pub(super) const USE_HEAD: [&str; 8] = [
    "TOKEN_ID",
    "NAME",
    "OWNER",
    "STATE",
    "LAST USED",
    "24 H",
    "7 D",
    "TOTAL",
];

/// A token as one line of a list that tells how it was used.
pub(super) fn use_row(token: &pb::Token) -> [String; 8] {
    let pb::UsageCounts {
        requests_24h,
        requests_7d,
        requests_total,
    } = token.usage.unwrap_or_default();
    let last = token.last_used_time.as_ref();
    [
        token.token_id.clone(),
        token.name.clone(),
        token.owner.clone(),
        state(token),
        last.map_or_else(|| "never".to_owned(), second),
        requests_24h.to_string(),
        requests_7d.to_string(),
        requests_total.to_string(),
    ]
}

/// A number that is absent when zero.
pub(super) fn number(number: u64) -> String {
    match number {
        0 => String::new(),
        number => number.to_string(),
    }
}

/// An instant in UTC to the millisecond, as RFC 3339.
pub(super) fn moment(instant: Option<&Timestamp>) -> String {
    let cut = |instant: &Timestamp| Timestamp {
        seconds: instant.seconds,
        nanos: instant.nanos / 1_000_000 * 1_000_000,
    };
    instant.map_or_else(String::new, |instant| cut(instant).to_string())
}

fn second(instant: &Timestamp) -> String {
    let cut = Timestamp {
        seconds: instant.seconds,
        nanos: 0,
    };
    cut.to_string()
}

/// The state in lower case; absent where the server told none, as in a judgement.
fn state(token: &pb::Token) -> String {
    match pb::State::try_from(token.state) {
        Ok(pb::State::Unspecified) => String::new(),
        Ok(state) => word(state.as_str_name(), "STATE_").to_lowercase(),
        Err(_) => format!("unknown ({})", token.state),
    }
}

/// An enum value's name without its enum's.
pub(super) fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table;

    fn token() -> pb::Token {
        pb::Token {
            token_id: "7fUe0Vn3cK2rQhJx5mTzWa".to_owned(),
            namespace: "default".to_owned(),
            scopes: vec!["orders:read".to_owned(), "orders:write".to_owned()],
            labels: [("a".to_owned(), "1".to_owned())].into(),
            state: pb::State::Active.into(),
            create_time: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 123_456_789,
            }),
            ..pb::Token::default()
        }
    }

    #[test]
    fn facts_are_those_that_there_are() {
        assert_eq!(
            table::pairs(&facts(&token())),
            "token_id   7fUe0Vn3cK2rQhJx5mTzWa\n\
             namespace  default\n\
             state      active\n\
             scopes     orders:read orders:write\n\
             labels     a=1\n\
             created    2023-11-14T22:13:20.123Z\n"
        );
    }

    #[test]
    fn limits_are_told_as_they_are_given_and_secrets_where_one_was_replaced() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let secret = |version, create_time, expire_time| pb::SecretInfo {
            version,
            create_time,
            expire_time,
            last_used_time: if version == 1 { at(7) } else { None },
        };
        let limited = pb::Token {
            rate_limits: vec![
                crate::cli::limit_spec::rate_limit("100/1m").unwrap(),
                crate::cli::limit_spec::rate_limit("api=5/1s,burst=20").unwrap(),
            ],
            quota: Some(pb::Quota {
                limit: 500,
                remaining: 0,
                period: None,
            }),
            secrets: vec![secret(2, at(60), None), secret(1, at(0), at(3600))],
            secret_version: 2,
            ..pb::Token::default()
        };
        assert_eq!(
            table::pairs(&facts(&limited)),
            "rate_limits     100/1m api=5/1s,burst=20\n\
             quota           500,left=0\n\
             secret_version  2\n\
             secret          version 2, created 1970-01-01T00:01:00Z, in force\n\
             secret          version 1, created 1970-01-01T00:00:00Z, \
             grace until 1970-01-01T01:00:00Z, last used 1970-01-01T00:00:07Z\n"
        );
        let fresh = pb::Token {
            secrets: vec![secret(1, at(0), None)],
            ..pb::Token::default()
        };
        assert_eq!(table::pairs(&facts(&fresh)), "");
    }

    #[test]
    fn leases_are_told_with_their_ends_and_without_their_names() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let lease = |end_time, end_reason: pb::LeaseEnd| pb::Lease {
            lease_id: "canary".to_owned(),
            holder: "w1".to_owned(),
            fence: 7,
            acquire_time: at(0),
            expire_time: at(60),
            end_time,
            end_reason: end_reason.into(),
        };
        let pooled = pb::Token {
            pool: "gpu".to_owned(),
            keep_alive_ttl: Some(prost_types::Duration {
                seconds: 300,
                nanos: 0,
            }),
            keep_alive_deadline: at(360),
            lease: Some(lease(None, pb::LeaseEnd::Unspecified)),
            last_lease: Some(lease(at(1), pb::LeaseEnd::Forced)),
            ..pb::Token::default()
        };
        assert_eq!(
            table::pairs(&facts(&pooled)),
            "pool            gpu\n\
             keep_alive_ttl  5m\n\
             alive_until     1970-01-01T00:06:00Z\n\
             lease           fence 7, holder w1, since 1970-01-01T00:00:00Z, \
             until 1970-01-01T00:01:00Z\n\
             last_lease      fence 7, holder w1, since 1970-01-01T00:00:00Z, \
             forced at 1970-01-01T00:00:01Z\n"
        );
    }

    #[test]
    fn a_row_tells_times_to_the_second_and_never() {
        let row = row(&token());
        assert_eq!(row[6], "2023-11-14T22:13:20Z");
        assert_eq!(row[7], "never");
    }

    #[test]
    fn a_state_of_a_later_server_is_told_as_it_is() {
        let newer = pb::Token {
            state: 99,
            ..pb::Token::default()
        };
        assert_eq!(state(&newer), "unknown (99)");
        assert_eq!(state(&pb::Token::default()), "");
    }
}

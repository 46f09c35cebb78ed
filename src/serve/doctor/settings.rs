//! Settings that are allowed and may surprise: what protects, what is kept, what is told.

use std::time::Duration;

use crate::config::{Config, Listen, MetricsPlace, Sources, StoreUrl};
use crate::domain::caller::{Permission, Reach};
use crate::store::Durability;

use super::{Case, Finding, Findings};

/// Ended tokens that are kept for less are gone before somebody asks what became of them.
const KEPT_SHORT: Duration = Duration::from_secs(3600);

pub(super) fn check(case: &Case) -> Findings {
    let Case {
        config, sources, ..
    } = case;
    let mut findings = vec![layers(sources)];
    findings.extend(unread(sources));
    findings.extend(secret_flags(sources));
    findings.push(protection(config));
    findings.push(roots(config));
    findings.push(peppers(config));
    findings.extend(callers(config));
    findings.extend(store(config));
    findings.extend(retention(config));
    findings.extend(log(config));
    findings
}

fn layers(sources: &Sources) -> Finding {
    let file = match &sources.file {
        Some(path) => format!("{} ({} keys)", path.display(), sources.keys_of_file),
        None => "no file".to_owned(),
    };
    let (variables, flags) = (sources.variables, sources.flags);
    let found = format!("readable: defaults, {file}, {variables} variables, {flags} flags");
    Finding::ok("configuration", found)
}

fn unread(sources: &Sources) -> Option<Finding> {
    let names = sources.unread_variables.join(", ");
    (!names.is_empty()).then(|| {
        Finding::warn(
            "configuration",
            format!("nothing reads {names}"),
            "correct the name or remove it; config.default.toml says how variables are named",
        )
    })
}

fn secret_flags(sources: &Sources) -> Option<Finding> {
    let flags = sources.flags_with_secret.join(", ");
    (!flags.is_empty()).then(|| {
        Finding::warn(
            "configuration",
            format!("a secret stands in {flags}, which other processes of this machine can see"),
            "put it into a file, and name that file",
        )
    })
}

fn protection(config: &Config) -> Finding {
    const SUBJECT: &str = "protection";
    let beyond = |address: &&std::net::SocketAddr| !address.ip().is_loopback();
    let places = config.server.listen.iter();
    let mut places = places
        .chain(&config.forward_auth.listen)
        .chain(&config.console.listen);
    let grpc = places.find_map(|place| match place {
        Listen::Tcp(addresses) => addresses.iter().find(beyond),
        Listen::Unix(_) => None,
    });
    let metrics = match &config.server.metrics {
        MetricsPlace::Own(addresses) => addresses.iter().find(beyond),
        MetricsPlace::Beside | MetricsPlace::Off => None,
    };
    match (grpc, &config.tls, metrics) {
        (Some(address), None, _) => Finding::warn(
            SUBJECT,
            format!("secrets cross the network in plaintext to {address}"),
            "set tls.certificate_file and tls.key_file, unless something in front protects it",
        ),
        (_, _, Some(address)) => Finding::warn(
            SUBJECT,
            format!("metrics are read in plaintext on {address} by whoever reaches it"),
            "let server.metrics_listen name an address that only your Prometheus reaches",
        ),
        (_, Some(_), None) => Finding::ok(SUBJECT, "TLS"),
        (None, None, None) => Finding::ok(SUBJECT, "plaintext, on this machine only"),
    }
}

fn roots(config: &Config) -> Finding {
    const SUBJECT: &str = "root tokens";
    let names: Vec<&str> = config
        .root_tokens
        .iter()
        .map(|root| root.name.as_str())
        .collect();
    match names[..] {
        [] => Finding::ok(SUBJECT, "none is configured, so that one is generated"),
        [name] => Finding::ok(SUBJECT, format!("{name} is configured")),
        _ => Finding::warn(
            SUBJECT,
            format!("{} are configured: {}", names.len(), names.join(", ")),
            "once everybody has the new one, remove the old one",
        ),
    }
}

fn peppers(config: &Config) -> Finding {
    let ids: Vec<String> = config.keyring.ids().map(|id| id.to_string()).collect();
    let found = match ids.as_slice() {
        [] => "none: digests are SHA-256 of random secrets, which nobody can guess".to_owned(),
        [id] => format!("{id} is in use"),
        [present, earlier @ ..] => {
            format!(
                "{present} is in use, and {} still accepted",
                earlier.join(", ")
            )
        }
    };
    Finding::ok("peppers", found)
}

fn callers(config: &Config) -> impl Iterator<Item = Finding> + '_ {
    let everything = |grants: &crate::domain::caller::Grants| {
        grants
            .reach(Permission::Admin)
            .is_some_and(|reach| **reach == Reach::All)
    };
    let mighty = config
        .certificate_callers
        .iter()
        .filter(move |caller| everything(&caller.grants));
    mighty.map(|caller| {
        Finding::warn(
            "certificate callers",
            format!(
                "whoever has the certificate of {} may do everything",
                caller.name
            ),
            "give it the permissions that it needs; admin is for people and their root tokens",
        )
    })
}

fn store(config: &Config) -> Findings {
    const SUBJECT: &str = "demands on Redis";
    let StoreUrl::Redis(_) = config.store.url else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if config.store.min_durability == Durability::None {
        findings.push(Finding::warn(
            SUBJECT,
            "store.min_durability is \"none\": revocations may be lost when Redis ends",
            "set it to \"1s\", and appendonly yes in Redis",
        ));
    }
    if config.store.accept_eviction {
        findings.push(Finding::warn(
            SUBJECT,
            "store.accept_eviction is set: a full Redis may forget tokens, and what was spent",
            "set maxmemory-policy noeviction in Redis, and remove store.accept_eviction",
        ));
    }
    findings
}

fn retention(config: &Config) -> Option<Finding> {
    let kept = config.retention.retention;
    let shortest = kept.ended.min(kept.short_lived);
    (shortest < KEPT_SHORT).then(|| {
        Finding::warn(
            "retention",
            format!(
                "ended tokens vanish after {}; then nobody sees what became of them",
                humantime::format_duration(shortest)
            ),
            "raise retention.ended and retention.short_lived to an hour at least",
        )
    })
}

fn log(config: &Config) -> Option<Finding> {
    let off = |directive: &str| {
        let level = directive.trim().rsplit('=').next().unwrap_or_default();
        level.eq_ignore_ascii_case("off") || level == "0"
    };
    config.log.filter.split(',').all(off).then(|| {
        Finding::warn(
            "log",
            "log.filter is off: no error is told to anybody",
            "set log.filter to \"warn\" or \"info\"",
        )
    })
}

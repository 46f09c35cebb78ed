//! Certificates: whether a server would start with them, until when they hold, and whom they name.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::{Config, Listen, RedisTlsFiles, TlsConfig};
use crate::domain::time::Timestamp;
use crate::tls::{
    Certificate, Names, ServerFiles, ServerTls, TlsError, Validity, certificates, revocations,
};

use super::super::encryption::{Nearness, nearness};
use super::files::{self, Openness};
use super::{Case, Finding, Findings};

pub(super) fn check(case: &Case) -> Findings {
    let now = case.now();
    let mut findings = to_redis(&case.config.store.redis_tls, now);
    let Some(TlsConfig { files: named, .. }) = &case.config.tls else {
        return findings;
    };
    findings.extend(own(&case.config, named, now));
    findings.push(files::privacy("tls.key_file", &named.key, Openness::Secret));
    if let Some(clients) = &named.clients {
        findings.extend(of_authorities(
            "tls.client_ca_file",
            &clients.authorities,
            now,
        ));
        if let Some(path) = &clients.revoked {
            findings.extend(current(path, now));
        }
    }
    findings
}

/// What is shown to a Redis, and whom it must come from.
fn to_redis(files: &RedisTlsFiles, now: Timestamp) -> Findings {
    let mut findings = Vec::new();
    if let Some(path) = &files.authorities {
        findings.extend(of_authorities("store.redis_ca_file", path, now));
    }
    if let Some((certificate, key)) = &files.own {
        findings.extend(of_authorities(
            "store.redis_certificate_file",
            certificate,
            now,
        ));
        findings.push(files::privacy(
            "store.redis_key_file",
            key,
            Openness::Secret,
        ));
    }
    findings
}

/// The server's own certificate, and those between it and its authority.
fn own(config: &Config, named: &ServerFiles, now: Timestamp) -> Findings {
    const SUBJECT: &str = "tls.certificate_file";
    let mut findings = Vec::new();
    // What it finds wrong with a date is told below, too, in fewer words.
    let loaded = ServerTls::load(named.clone(), Arc::new(SystemClock));
    if let Err(error) = loaded {
        findings.push(unusable("tls", &error));
    }
    let Ok(chain) = certificates(&named.certificate) else {
        return findings;
    };
    for der in &chain {
        findings.push(match Certificate::read(der) {
            Ok(read) => age(SUBJECT, &named.certificate, &read, now),
            Err(why) => {
                let found = format!("{}: {why}", named.certificate.display());
                Finding::fail(SUBJECT, found, "let its authority issue another")
            }
        });
    }
    findings.extend(chain.first().map(|der| naming(config, &Names::of(der))));
    findings
}

fn unusable(subject: &str, error: &TlsError) -> Finding {
    let advice = match error {
        TlsError::Unreadable { .. } => "let the user who serves read it, or name another file",
        TlsError::Unusable { .. } => "put a certificate and its key there that hold now, in PEM",
    };
    Finding::fail(subject, error.to_string(), advice)
}

/// Judges when a certificate ends.
fn age(subject: &str, path: &Path, certificate: &Certificate, now: Timestamp) -> Finding {
    let Certificate {
        validity,
        subject: owner,
        ..
    } = certificate;
    let found = |when: String| format!("{}: {owner} {when}", path.display());
    let renew = "renew it; a running server takes the new files by itself";
    match left(*validity, now) {
        Left::Begins(span) => {
            let when = format!("holds only in {}", told(span));
            let advice = "wait, or set the clock right";
            Finding::fail(subject, found(when), advice)
        }
        Left::Ended(span) => {
            Finding::fail(subject, found(format!("ended {} ago", told(span))), renew)
        }
        Left::Holds(span) => {
            let ends = found(format!("ends in {}", told(span)));
            // As the log of a server judges it.
            match nearness(*validity, now) {
                Nearness::Near | Nearness::Over => Finding::fail(subject, ends, renew),
                Nearness::Soon => Finding::warn(subject, ends, renew),
                Nearness::Far => Finding::ok(subject, found(format!("holds for {}", told(span)))),
            }
        }
    }
}

/// In days, or hours where these are few.
fn told(span: Duration) -> String {
    let hours = span.as_secs() / 3600;
    match hours {
        0 => "less than an hour".to_owned(),
        1 => "1 hour".to_owned(),
        2..48 => format!("{hours} hours"),
        _ => format!("{} days", hours / 24),
    }
}

/// What is left of a certificate, or until it begins, or since it ended.
enum Left {
    Begins(Duration),
    Holds(Duration),
    Ended(Duration),
}

fn left(Validity { from, until }: Validity, now: Timestamp) -> Left {
    if now < from {
        return Left::Begins(from.saturating_since(now));
    }
    if now > until {
        return Left::Ended(now.saturating_since(until));
    }
    Left::Holds(until.saturating_since(now))
}

/// Judges whether clients can call the server by what its certificate names.
fn naming(config: &Config, names: &Names) -> Finding {
    const SUBJECT: &str = "tls names";
    let addresses = names.addresses.iter().map(ToString::to_string);
    let all: Vec<String> = names.dns.iter().cloned().chain(addresses).collect();
    if all.is_empty() {
        return Finding::warn(
            SUBJECT,
            "the certificate has no DNS name and no address as a subject alternative name",
            "let it be issued with the names that clients call; none of them looks anywhere else",
        );
    }
    let of_its_own = |address: &&SocketAddr| {
        let ip = address.ip();
        !ip.is_unspecified() && !ip.is_loopback()
    };
    let mut listened = config.server.listen.iter().filter_map(|place| match place {
        Listen::Tcp(addresses) => addresses.iter().find(of_its_own),
        Listen::Unix(_) => None,
    });
    let missed = listened.find(|address| !names.addresses.contains(&address.ip()));
    match missed.filter(|_| names.dns.is_empty()) {
        Some(address) => Finding::warn(
            SUBJECT,
            format!(
                "it names {}, not {}, which is listened on",
                all.join(", "),
                address.ip()
            ),
            "let it be issued with the address, or better with the name that clients call",
        ),
        None => Finding::ok(SUBJECT, format!("clients may call it {}", all.join(", "))),
    }
}

/// The certificates in a file.
fn of_authorities(subject: &str, path: &Path, now: Timestamp) -> Findings {
    let found = match certificates(path) {
        Ok(found) => found,
        Err(error) => return vec![unusable(subject, &error)],
    };
    let judged = found.iter().map(|der| match Certificate::read(der) {
        Ok(read) => age(subject, path, &read, now),
        Err(why) => {
            let found = format!("{}: {why}", path.display());
            Finding::fail(subject, found, "put a certificate there that can be read")
        }
    });
    judged.collect()
}

/// Judges whether revocation lists are current.
fn current(path: &Path, now: Timestamp) -> Findings {
    const SUBJECT: &str = "tls.client_crl_file";
    let lists = match revocations(path) {
        Ok(lists) => lists,
        Err(error) => return vec![unusable(SUBJECT, &error)],
    };
    let judged = lists.iter().map(|list| {
        let found = format!(
            "{}: {} revoked by {}",
            path.display(),
            list.count,
            list.issuer
        );
        match list.next {
            Some(next) if next < now => Finding::warn(
                SUBJECT,
                format!("{found}; its successor is overdue"),
                "fetch the list anew and regularly: what was revoked since is still accepted",
            ),
            _ => Finding::ok(SUBJECT, found),
        }
    });
    judged.collect()
}

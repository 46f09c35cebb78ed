//! A store on Redis: whether it is reached, is the right one, keeps what it got, and agrees on time.

use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::store::redis::{
    Flushing, Insight, Latency, Mark, Offset, Permissions, Reached, RedisOptions, Server, inspect,
};
use crate::store::{Durability, SCHEMA, StoreError};

use super::files::megabytes;
use super::{Case, Finding, Findings, peppers};

const SUBJECT: &str = "store";

/// Beyond it the lines of a log and of an audit no longer tell what came first on two machines.
const CLOCK_ODD: Duration = Duration::from_secs(1);

/// Beyond it an `expire_time` that a caller computes is wrong by more than callers allow for. The
/// store's clock decides, so that one of the two clocks is told to be wrong, not which.
const CLOCK_WRONG: Duration = Duration::from_secs(30);

pub(super) async fn check(case: &Case, options: RedisOptions) -> Findings {
    let place = match options.place() {
        Ok(place) => place,
        Err(error) => return vec![Finding::fail(SUBJECT, error.to_string(), "mend store.url")],
    };
    let insight = match inspect(&options, &SystemClock, case.until).await {
        Reached::Whole(insight) => insight,
        missed => return vec![unreached(&place, &missed)],
    };
    let mut findings = vec![Finding::ok(SUBJECT, format!("{place} answers"))];
    findings.extend(judged(&case.config, &insight));
    findings
}

fn unreached(place: &str, reached: &Reached) -> Finding {
    match reached {
        Reached::Unresolved(why) => Finding::fail(
            SUBJECT,
            format!("the host of {place} has no address: {why}"),
            "correct the name in store.url, or what resolves it",
        ),
        Reached::Unconnected(addresses, why) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let addresses = addresses.join(", ");
            Finding::fail(
                SUBJECT,
                format!("no connection to {place} ({addresses}): {why}"),
                "start Redis, or correct store.url or the firewall between",
            )
        }
        Reached::Unanswered(error) => Finding::fail(
            SUBJECT,
            format!("{place}: {error}"),
            entrance(place.starts_with("rediss:"), error),
        ),
        Reached::Whole(_) => Finding::ok(SUBJECT, place),
    }
}

/// What to do where Redis does not let one in, by the cause.
fn entrance(encrypted: bool, error: &StoreError) -> &'static str {
    let why = match error {
        StoreError::Unacceptable(_) => return "correct user and password in store.url",
        error => error.to_string().to_lowercase(),
    };
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if !encrypted {
        return match says(&[
            "reset",
            "broken pipe",
            "end of file",
            "closed",
            "terminated",
        ]) {
            true => "if this is a port for TLS, write rediss:// in store.url; else look at its log",
            false => "look at the load and the log of Redis",
        };
    }
    if says(&["unknownissuer"]) {
        return "name the authority of its certificate in store.redis_ca_file";
    }
    if says(&["certificaterequired", "certificate required"]) {
        return "it wants a certificate: set store.redis_certificate_file and store.redis_key_file";
    }
    if says(&["notvalidforname", "not valid for name"]) {
        return "write a name of its certificate in store.url, or let it be issued with this one";
    }
    if says(&["expired", "notvalidyet"]) {
        return "renew the certificate of Redis, or set the clock of this machine right";
    }
    match error {
        StoreError::Slow(_) => {
            "if this Redis does not speak TLS, write redis:// in store.url; else look at its load"
        }
        _ => "look at the log of Redis; if it does not speak TLS, write redis:// in store.url",
    }
}

fn judged(config: &Config, insight: &Insight) -> Findings {
    let Insight {
        server,
        durability,
        marker,
        foreign_keys,
        latency,
        clock,
        permissions,
    } = insight;
    let mut findings = vec![carried(config, marker, *foreign_keys)];
    if let Ok(Some(mark)) = marker {
        findings.extend(peppers::judged(
            &mark.unkept_peppers,
            mark.missing_peppers.as_deref(),
        ));
    }
    match server {
        Ok(server) => {
            findings.push(kind(server));
            findings.push(memory(config, server));
            findings.push(persistence(server));
            findings.push(clients(server));
            findings.extend(replicas(config, server));
        }
        Err(error) => findings.push(unanswered("redis", error)),
    }
    findings.push(match durability {
        Ok(found) => kept(config, found),
        Err(error) => unanswered("durability", error),
    });
    findings.push(match latency {
        Ok(found) => quickness(config, *found),
        Err(error) => unanswered("latency", error),
    });
    findings.push(match clock {
        Ok(found) => time(*found),
        Err(error) => unanswered("clock", error),
    });
    findings.push(allowed(permissions));
    findings
}

fn unanswered(subject: &str, error: &StoreError) -> Finding {
    let advice = "look at the load and the log of Redis, and at what its user may do";
    Finding::fail(subject, error.to_string(), advice)
}

fn carried(
    config: &Config,
    marker: &Result<Option<Mark>, StoreError>,
    foreign_keys: bool,
) -> Finding {
    const SUBJECT: &str = "marker";
    let prefix = &config.store.redis_prefix;
    match marker {
        Err(error) => unanswered(SUBJECT, error),
        Ok(None) if foreign_keys => Finding::fail(
            SUBJECT,
            format!("keys begin with \"{prefix}:\", but there is no store marker"),
            "another program uses the prefix: choose another store.redis_prefix; or a store lost \
             its marker: restore it",
        ),
        Ok(None) => Finding::fail(
            SUBJECT,
            "this Redis holds no store",
            "if it is new: token-authority init, with the configuration and the flags of the \
             server; if it should hold data, it was emptied: restore it",
        ),
        Ok(Some(mark)) if mark.min_reader > SCHEMA => Finding::fail(
            SUBJECT,
            format!(
                "the store needs a release that reads schema {}",
                mark.min_reader
            ),
            format!("run the newer release; this one reads schema {SCHEMA}"),
        ),
        Ok(Some(Mark { id, .. })) => match &config.store.id {
            Some(pinned) if pinned != id => Finding::fail(
                SUBJECT,
                format!("this Redis holds the store {id}, not {pinned}"),
                "correct store.url, or store.id if this is the right one",
            ),
            Some(_) => Finding::ok(SUBJECT, format!("the store {id}, as demanded")),
            None => Finding::ok(
                SUBJECT,
                format!("the store {id}; --store-id would demand it"),
            ),
        },
    }
}

fn kind(server: &Server) -> Finding {
    const SUBJECT: &str = "redis";
    // Whether it evicts is told apart.
    match server.acceptable(true) {
        Err(error) => Finding::fail(
            SUBJECT,
            error.to_string(),
            "change Redis accordingly, or name another one in store.url",
        ),
        Ok(()) => {
            let (version, replicas) = (server.get("redis_version"), server.get("connected_slaves"));
            let found = format!("version {version}, a standalone master with {replicas} replicas");
            Finding::ok(SUBJECT, found)
        }
    }
}

fn memory(config: &Config, server: &Server) -> Finding {
    const SUBJECT: &str = "redis memory";
    let used = server.number("used_memory").unwrap_or_default();
    let most = server.number("maxmemory").unwrap_or_default();
    let policy = server.get("maxmemory_policy");
    let evicted = server.number("evicted_keys").unwrap_or_default();
    let keep =
        "CONFIG SET maxmemory-policy noeviction, and write it into the configuration of Redis";
    if evicted > 0 {
        return Finding::fail(
            SUBJECT,
            format!("{evicted} keys were evicted since Redis started: tokens may be lost"),
            format!("{keep}; restore what was lost"),
        );
    }
    if most > 0 && policy != "noeviction" {
        let found = format!("when {} are full it evicts ({policy})", megabytes(most));
        return match config.store.accept_eviction {
            true => Finding::warn(SUBJECT, found, keep),
            false => Finding::fail(SUBJECT, found, keep),
        };
    }
    if most == 0 {
        let found = format!(
            "{} used, without a limit, so that nothing is evicted",
            megabytes(used)
        );
        return Finding::ok(SUBJECT, found);
    }
    let found = format!(
        "{} of {} used, none evicted",
        megabytes(used),
        megabytes(most)
    );
    let advice = "raise maxmemory: a full Redis refuses to create tokens";
    match used.saturating_mul(100) / most {
        95.. => Finding::fail(SUBJECT, found, advice),
        80.. => Finding::warn(SUBJECT, found, advice),
        _ => Finding::ok(SUBJECT, found),
    }
}

fn persistence(server: &Server) -> Finding {
    const SUBJECT: &str = "redis persistence";
    let failed = |name: &&str| !["", "ok"].contains(&server.get(name));
    let states = [
        "aof_last_write_status",
        "aof_last_bgrewrite_status",
        "rdb_last_bgsave_status",
    ];
    match states.iter().find(|name| failed(name)) {
        Some(name) => Finding::fail(
            SUBJECT,
            format!("{name} is {}", server.get(name)),
            "look at the log and the disk of Redis; it may refuse writes until that is mended",
        ),
        None => Finding::ok(SUBJECT, "its last writes to disk went well"),
    }
}

fn clients(server: &Server) -> Finding {
    const SUBJECT: &str = "redis connections";
    let connected = server.number("connected_clients").unwrap_or_default();
    let most = server.number("maxclients").unwrap_or_default();
    let rejected = server.number("rejected_connections").unwrap_or_default();
    let found = format!("{connected} of {most}, {rejected} rejected since Redis started");
    if rejected > 0 || (most > 0 && connected.saturating_mul(10) >= most.saturating_mul(9)) {
        let advice = "raise maxclients in Redis, or find who connects so often";
        return Finding::warn(SUBJECT, found, advice);
    }
    Finding::ok(SUBJECT, found)
}

/// Where changes wait for replicas: whether there are enough.
fn replicas(config: &Config, server: &Server) -> Option<Finding> {
    const SUBJECT: &str = "redis replicas";
    let (there, wanted) = (server.replicas(), config.store.replicas);
    if wanted == 0 {
        return None;
    }
    let found = format!("{there} follow; each change waits for {wanted} (store.replicas)");
    Some(match there < wanted {
        true => Finding::fail(
            SUBJECT,
            format!("{found}: changes are refused"),
            "start the replicas, or look at why they lag (INFO replication); or lower store.replicas",
        ),
        false => Finding::ok(SUBJECT, found),
    })
}

fn kept(config: &Config, found: &Flushing) -> Finding {
    const SUBJECT: &str = "durability";
    let demanded = config.store.min_durability;
    let seen = match (found.append_only, &found.appendfsync) {
        (false, _) => "appendonly no".to_owned(),
        (true, Some(policy)) => format!("appendonly yes, appendfsync {policy}"),
        (true, None) => "appendonly yes; appendfsync is not told, so the weakest is assumed".into(),
    };
    let told = format!("\"{}\" ({seen}); demanded is \"{demanded}\"", found.class);
    if !found.suffices {
        if found.append_only && found.appendfsync.is_none() {
            return Finding::fail(
                SUBJECT,
                told,
                "grant the user +config|get, so that the server sees appendfsync; or lower \
                 store.min_durability",
            );
        }
        if demanded == Durability::Replicated && config.store.replicas == 0 {
            return Finding::fail(
                SUBJECT,
                told,
                "set store.replicas to how many replicas must have each change, or lower \
                 store.min_durability",
            );
        }
        return Finding::fail(
            SUBJECT,
            told,
            "set appendonly yes and appendfsync everysec (or always) in Redis, or lower \
             store.min_durability",
        );
    }
    Finding::ok(SUBJECT, told)
}

fn quickness(config: &Config, Latency { median, longest }: Latency) -> Finding {
    const SUBJECT: &str = "latency";
    let limit = config.store.read_timeout;
    let found = format!("{median:.1?} in the middle of 20 pings, {longest:.1?} at most");
    let advice = "bring server and Redis closer together, or raise store.read_timeout; look for slow \
                  commands (SLOWLOG GET)";
    if median >= limit {
        return Finding::fail(SUBJECT, found, advice);
    }
    if longest >= limit || median >= limit / 2 {
        return Finding::warn(SUBJECT, found, advice);
    }
    Finding::ok(SUBJECT, found)
}

fn time(offset: Offset) -> Finding {
    const SUBJECT: &str = "clock";
    let Offset {
        span,
        ahead,
        uncertainty,
    } = offset;
    let direction = if ahead { "ahead of" } else { "behind" };
    let found =
        format!("that of Redis is {span:.1?} {direction} ours, give or take {uncertainty:.1?}");
    let advice =
        "set both clocks right (NTP); that of Redis decides what expires and when limits recover";
    match span.saturating_sub(uncertainty) {
        sure if sure > CLOCK_WRONG => Finding::fail(SUBJECT, found, advice),
        sure if sure > CLOCK_ODD => Finding::warn(SUBJECT, found, advice),
        _ => Finding::ok(SUBJECT, found),
    }
}

fn allowed(permissions: &Permissions) -> Finding {
    const SUBJECT: &str = "redis permissions";
    match permissions {
        Permissions::Enough(user) => Finding::ok(
            SUBJECT,
            format!("the user {user} may do all that is needed"),
        ),
        Permissions::NotTold => Finding::warn(
            SUBJECT,
            "not checked: the user may not ask what it may do",
            "grant it +acl|whoami +acl|dryrun, as deploy/redis/users.acl.example does; a right that \
             is missing shows only when a call needs it",
        ),
        Permissions::Missing { user, commands } => {
            let commands = commands.join(" ");
            Finding::fail(
                SUBJECT,
                format!("the user {user} may not use: {commands}"),
                format!("allow them on the keys of the store: ACL SETUSER {user} +COMMAND"),
            )
        }
    }
}

#[cfg(test)]
mod tests;

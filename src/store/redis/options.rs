//! How to reach a Redis, and what is demanded of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::{Manager, Pool};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo, ProtocolVersion, TlsCertificates,
};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::domain::event::Alarms;
use crate::domain::pepper::PepperCheck;
use crate::domain::retention::Retention;
use crate::domain::usage::Keeping;
use crate::store::events::EventBounds;
use crate::store::{Durability, StoreId};

/// Most replicas that a change can be asked to wait for.
const REPLICAS_MAX: usize = 5;

/// How a store on Redis is reached, and what is demanded of it.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS; user and password
    /// percent-encoded.
    pub url: String,
    /// How TLS is spoken, where the URL asks for it.
    pub tls: RedisTls,
    /// What all keys begin with, before a colon: 1 to 32 of `a-z`, `0-9`, `_`, `-`.
    pub prefix: String,
    /// The only store that is accepted; otherwise the first one that is seen.
    pub store_id: Option<StoreId>,
    /// A less durable Redis is refused.
    pub min_durability: Durability,
    /// How many replicas must have a change before it is answered: 0 to 5, 0 for none.
    pub replicas: usize,
    /// Accepts a Redis that may evict keys.
    pub accept_eviction: bool,
    /// Connections that share the load: 1 to 4.
    pub connections: usize,
    /// How long one answer to `find`, `confirm` and `probe` is waited for.
    pub read_timeout: Duration,
    /// How long one answer to every other act is waited for.
    pub write_timeout: Duration,
    /// The peppers in use, the present one first.
    pub peppers: Vec<PepperCheck>,
    /// The time of all rules; `None` takes the time of Redis, as it must be outside tests.
    pub clock: Option<Arc<dyn Clock>>,
    /// How long ended tokens are kept.
    pub retention: Retention,
    /// How long before the end of a token it is told that it comes.
    pub alarms: Alarms,
    /// How much of the log of events is kept.
    pub events: EventBounds,
    /// How long use is kept.
    pub keeping: Keeping,
}

/// What TLS to a Redis needs, as PEM. `Debug` shows nothing of it.
#[derive(Clone, Default)]
pub struct RedisTls {
    /// The authorities that the server's certificate may come from; `None` means the system's.
    pub authorities: Option<Vec<u8>>,
    /// What is shown to a Redis that asks for it.
    pub own: Option<OwnCertificate>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct OwnCertificate {
    pub certificate: Vec<u8>,
    pub key: Zeroizing<Vec<u8>>,
}

/// Options that cannot be used. Messages never hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("the URL of Redis {0}; expected redis[s]://[user:password@]host:port[/db]")]
    Url(&'static str),
    #[error("the certificates for Redis cannot be used: {0}")]
    Certificates(String),
    #[error("the prefix must be 1 to 32 of a-z, 0-9, '_', '-'")]
    Prefix,
    #[error("1 to 4 connections are possible; got {0}")]
    Connections(usize),
    #[error("0 to {REPLICAS_MAX} replicas can be waited for; got {0}")]
    Replicas(usize),
}

impl RedisOptions {
    /// The usual demands on the Redis at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls: RedisTls::default(),
            prefix: "ta".to_owned(),
            store_id: None,
            min_durability: Durability::OneSecond,
            replicas: 0,
            accept_eviction: false,
            connections: 2,
            read_timeout: Duration::from_millis(100),
            write_timeout: Duration::from_secs(1),
            peppers: Vec::new(),
            clock: None,
            retention: Retention::default(),
            alarms: Alarms::default(),
            events: EventBounds::default(),
            keeping: Keeping::default(),
        }
    }

    /// Where the Redis is, as a URL without user and password.
    pub fn place(&self) -> Result<String, OptionsError> {
        let info = self.parse()?;
        let db = info.redis_settings().db();
        let db = if db == 0 {
            String::new()
        } else {
            format!("/{db}")
        };
        let scheme = match info.addr() {
            ConnectionAddr::TcpTls { .. } => "rediss",
            _ => "redis",
        };
        Ok(format!("{scheme}://{}{db}", info.addr()))
    }

    /// The host and the port of the Redis.
    pub(super) fn host(&self) -> Result<(String, u16), OptionsError> {
        match self.parse()?.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Ok((host.clone(), *port))
            }
            _ => Err(OptionsError::Url("does not name a host")),
        }
    }

    /// The longest that any one answer is waited for.
    pub(super) fn longest_timeout(&self) -> Duration {
        self.read_timeout.max(self.write_timeout)
    }

    /// What makes connections that only listen.
    pub(super) fn client(&self) -> Result<Client, OptionsError> {
        let info = self.encrypted(self.parse()?)?;
        Client::open(info).map_err(|_| OptionsError::Url("cannot be used"))
    }

    /// Checks everything and answers what makes connections to this Redis.
    pub(super) fn pool(&self) -> Result<Pool, OptionsError> {
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(known) {
            return Err(OptionsError::Prefix);
        }
        if !(1..=4).contains(&self.connections) {
            return Err(OptionsError::Connections(self.connections));
        }
        if self.replicas > REPLICAS_MAX {
            return Err(OptionsError::Replicas(self.replicas));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.longest_timeout()))
            .set_response_timeout(Some(self.longest_timeout()))
            .set_pipeline_buffer_size(1024);
        let manager = Manager::new_with_config(self.encrypted(self.parse()?)?, config)
            .map_err(|_| OptionsError::Url("cannot be used"))?;
        // Connections are taken out of the pool for good, so that its size limits nothing but how
        // many are made at once.
        Pool::builder(manager)
            .max_size(self.connections)
            .build()
            .map_err(|_| OptionsError::Url("cannot be used"))
    }

    /// Adds the certificates, where TLS is asked for.
    fn encrypted(&self, info: ConnectionInfo) -> Result<ConnectionInfo, OptionsError> {
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return Ok(info);
        }
        let RedisTls { authorities, own } = &self.tls;
        let certificates = TlsCertificates {
            client_tls: own.as_ref().map(|own| ClientTlsConfig {
                client_cert: own.certificate.clone(),
                client_key: own.key.to_vec(),
            }),
            root_cert: authorities.clone(),
        };
        let client = Client::build_with_tls(info, certificates)
            .map_err(|error| OptionsError::Certificates(error.to_string()))?;
        Ok(client.get_connection_info().clone())
    }

    fn parse(&self) -> Result<ConnectionInfo, OptionsError> {
        if !self.url.starts_with("redis://") && !self.url.starts_with("rediss://") {
            return Err(OptionsError::Url(
                "does not begin with redis:// or rediss://",
            ));
        }
        // The driver's message is dropped: it may repeat a part of the URL.
        let info = self
            .url
            .as_str()
            .into_connection_info()
            .map_err(|_| OptionsError::Url("cannot be read"))?;
        match info.addr() {
            ConnectionAddr::Tcp(..)
            | ConnectionAddr::TcpTls {
                insecure: false, ..
            } => {}
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err(OptionsError::Url("asks for TLS that trusts anybody"));
            }
            _ => return Err(OptionsError::Url("does not name a host")),
        }
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5));
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive);
        let login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2);
        Ok(info.set_tcp_settings(tcp).set_redis_settings(login))
    }
}

/// Shows everything but user and password.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url: _,
            tls: _,
            prefix,
            store_id,
            min_durability,
            replicas,
            accept_eviction,
            connections,
            read_timeout,
            write_timeout,
            peppers,
            clock,
            retention,
            alarms,
            events,
            keeping,
        } = self;
        let peppers: Vec<u32> = peppers.iter().map(|check| check.id).collect();
        let place = self.place().unwrap_or_else(|_| "unreadable".to_owned());
        f.debug_struct("RedisOptions")
            .field("url", &place)
            .field("prefix", prefix)
            .field("store_id", store_id)
            .field("min_durability", min_durability)
            .field("replicas", replicas)
            .field("accept_eviction", accept_eviction)
            .field("connections", connections)
            .field("read_timeout", read_timeout)
            .field("write_timeout", write_timeout)
            .field("peppers", &peppers)
            .field("clock", &clock.as_ref().map(|_| "given"))
            .field("retention", retention)
            .field("alarms", alarms)
            .field("events", events)
            .field("keeping", keeping)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(options: &RedisOptions) -> OptionsError {
        options.pool().map(|_| ()).unwrap_err()
    }

    #[test]
    fn the_password_is_never_shown() {
        for url in [
            "redis://wilma:hunter2@localhost:6379/3",
            "rediss://wilma:hunter2@localhost:6379",
            "redis://wilma:hunter2@local host:99999",
            "redis://wilma:hunter2@localhost:6379/hunter2",
            "hunter2",
        ] {
            let options = RedisOptions::new(url);
            let shown = match options.pool() {
                Ok(_) => format!("{options:?}"),
                Err(error) => format!("{options:?} {error} {error:?}"),
            };
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains("wilma"), "{shown}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_user_and_password() {
        let place = |url: &str| RedisOptions::new(url).place();
        assert_eq!(
            place("redis://wilma:hunter2@localhost:6379/3").as_deref(),
            Ok("redis://localhost:6379/3")
        );
        assert_eq!(place("redis://host").as_deref(), Ok("redis://host:6379"));
        assert_eq!(
            place("rediss://:hunter2@host:6380").as_deref(),
            Ok("rediss://host:6380")
        );
    }

    #[test]
    fn certificates_that_cannot_be_read_are_refused() {
        let mut options = RedisOptions::new("rediss://localhost");
        assert!(options.pool().is_ok());
        options.tls.authorities = Some(b"-----BEGIN CERTIFICATE-----\nhunter2".to_vec());
        assert!(matches!(error(&options), OptionsError::Certificates(_)));
        assert!(!error(&options).to_string().contains("hunter2"));
    }

    #[test]
    fn options_that_cannot_be_used_are_refused() {
        for url in [
            "",
            "localhost:6379",
            "rediss://localhost/#insecure",
            "unix:///a",
            "redis://h/x",
        ] {
            let refused = error(&RedisOptions::new(url));
            assert!(matches!(refused, OptionsError::Url(_)), "{url}");
        }
        for prefix in ["", "Ta", "t a", "t{a}", "t:a", "t*", &"t".repeat(33)] {
            let mut options = RedisOptions::new("redis://localhost");
            options.prefix = prefix.to_owned();
            assert_eq!(error(&options), OptionsError::Prefix, "{prefix}");
        }
        for connections in [0, 5] {
            let mut options = RedisOptions::new("redis://localhost");
            options.connections = connections;
            assert_eq!(error(&options), OptionsError::Connections(connections));
        }
        let mut options = RedisOptions::new("redis://localhost");
        options.replicas = 6;
        assert_eq!(error(&options), OptionsError::Replicas(6));
    }
}

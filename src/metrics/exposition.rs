//! The text that a scraper reads: OpenMetrics, or the older Prometheus text made from it.

use std::fmt::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;

/// The form of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, which every scraper and many other readers know.
    Plain,
}

/// What runs.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub version: &'static str,
    pub store: &'static str,
}

/// What is not counted but looked at, when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub calls_in_hand: usize,
    pub validates: bool,
    pub manages: bool,
    /// What is remembered to answer from.
    pub cache: Remembered,
    /// Durability class of the store, once it is known.
    pub durability: Option<&'static str>,
}

/// What is remembered, and for how long it may be answered from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembered {
    pub records: usize,
    pub bytes: u64,
    pub lease_left: Duration,
    /// Uses that were taken ahead and not made yet.
    pub permits: u64,
}

/// All metrics of a process, ready to be read.
pub struct Exposition {
    about: About,
    look: Box<dyn Fn() -> Now + Send + Sync>,
    /// Held while the text is made, so that it tells of one look.
    pages: Mutex<Pages>,
}

struct Pages {
    registry: Registry,
    calls_in_hand: Gauge,
    ready: Family<Use, Gauge>,
    store: Family<StoreLabels, Gauge>,
    cache: CacheGauges,
}

/// What [`Remembered`] is shown in.
struct CacheGauges {
    records: Gauge,
    bytes: Gauge,
    lease_left: Gauge<f64, AtomicU64>,
    permits: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Use {
    r#use: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabels {
    kind: &'static str,
    durability: &'static str,
}

impl Exposition {
    /// `look` is called each time that somebody reads.
    pub fn new(
        metrics: &Metrics,
        about: About,
        look: impl Fn() -> Now + Send + Sync + 'static,
    ) -> Self {
        Self {
            about,
            look: Box::new(look),
            pages: Mutex::new(Pages::of(metrics, about)),
        }
    }

    pub fn text(&self, format: Format) -> Result<String, fmt::Error> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.show((self.look)(), self.about);
        let mut open = String::new();
        text::encode(&mut open, &pages.registry)?;
        match format {
            Format::OpenMetrics => Ok(open),
            Format::Plain => plain(&open),
        }
    }
}

impl Pages {
    fn of(metrics: &Metrics, about: About) -> Self {
        let mut registry = Registry::with_prefix("token_authority");
        let build = Family::<Build, Gauge>::default();
        let version = about.version;
        build.get_or_create(&Build { version }).set(1);
        registry.register("build_info", "What runs", build);
        let (calls_in_hand, ready, store) =
            (Gauge::default(), Family::default(), Family::default());
        registry.register_with_unit(
            "rpc_duration",
            "Time from a call's headers to its status, by method and gRPC code",
            Unit::Seconds,
            metrics.rpcs.family.clone(),
        );
        let help = "Verdicts of Validate";
        registry.register("verdicts", help, metrics.verdicts.clone());
        registry.register_with_unit(
            "store_duration",
            "Time that the store took, well or not, by operation",
            Unit::Seconds,
            metrics.store.durations.clone(),
        );
        let help = "Operations that the store could not carry out, by reason";
        registry.register("store_errors", help, metrics.store.failures.clone());
        let help = "Tokens that were created here";
        registry.register("tokens_created", help, metrics.tokens_created.clone());
        let help = "Tokens that were revoked here";
        registry.register("tokens_revoked", help, metrics.tokens_revoked.clone());
        let help = "Tokens that a caller deleted here";
        registry.register("tokens_deleted", help, metrics.tokens_deleted.clone());
        register_leases(&mut registry, metrics);
        register_parts(&mut registry, metrics);
        let cache = CacheGauges::register(&mut registry);
        let help = "Calls in hand, with changes that outlive their calls";
        registry.register("calls_in_hand", help, calls_in_hand.clone());
        let connections = &metrics.connections;
        let help = "Connections that are open";
        registry.register("connections", help, connections.open.clone());
        let help = "Connections that are open, by the thread that serves them";
        registry.register("worker_connections", help, connections.by_worker.clone());
        let help = "Connections that were refused or ended here, by reason";
        registry.register("connections_ended", help, connections.ended.clone());
        let help = "Whether Validate can answer, and whether changes can be kept";
        registry.register("ready", help, ready.clone());
        let help = "The store and its durability class";
        registry.register("store_info", help, store.clone());
        registry.register_with_unit(
            "certificate_end_timestamp",
            "When the server's certificate ends, since 1970; 0 without TLS",
            Unit::Seconds,
            metrics.certificate_end.clone(),
        );
        registry.register(
            "certificate_reloads_failed",
            "Readings of the certificates' files that found something wrong",
            metrics.certificate_reloads_failed.clone(),
        );
        register_unjudged(&mut registry, metrics);
        let help = "Audit lines that are not written yet";
        registry.register("audit_pending", help, metrics.audit_pending.clone());
        let help = "Audit lines of refusals that found no room while none could be written";
        registry.register("audit_lost", help, metrics.audit_lost.clone());
        Self {
            registry,
            calls_in_hand,
            ready,
            store,
            cache,
        }
    }

    fn show(&self, now: Now, about: About) {
        let calls = i64::try_from(now.calls_in_hand).unwrap_or(i64::MAX);
        self.calls_in_hand.set(calls);
        for (word, can) in [("validate", now.validates), ("manage", now.manages)] {
            let ready = self.ready.get_or_create(&Use { r#use: word });
            ready.set(i64::from(can));
        }
        self.cache.show(now.cache);
        // The class may change while the process runs; the old one does not stay.
        self.store.clear();
        let labels = StoreLabels {
            kind: about.store,
            durability: now.durability.unwrap_or("unknown"),
        };
        self.store.get_or_create(&labels).set(1);
    }
}

impl CacheGauges {
    fn register(registry: &mut Registry) -> Self {
        let lease_left = Gauge::<f64, AtomicU64>::default();
        let (records, bytes, permits) = (Gauge::default(), Gauge::default(), Gauge::default());
        let help = "Records that are remembered";
        registry.register("cache_records", help, records.clone());
        let help = "Memory that they take, as far as it is known";
        registry.register_with_unit("cache_size", help, Unit::Bytes, bytes.clone());
        let help = "For how long answers may come from memory, unless the lease is renewed";
        registry.register_with_unit("cache_lease_left", help, Unit::Seconds, lease_left.clone());
        let help = "Uses that were taken ahead and are neither made nor given back";
        registry.register("permits_outstanding", help, permits.clone());
        Self {
            records,
            bytes,
            lease_left,
            permits,
        }
    }

    fn show(&self, now: Remembered) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.records.set(number(now.records as u64));
        self.bytes.set(number(now.bytes));
        self.lease_left.set(now.lease_left.as_secs_f64());
        self.permits.set(number(now.permits));
    }
}

/// What registers itself.
fn register_parts(registry: &mut Registry, metrics: &Metrics) {
    metrics.cache.register(registry);
    metrics.usage.register(registry);
    metrics.tokens.register(registry);
    metrics.events.register(registry);
    metrics.permits.register(registry);
}

fn register_leases(registry: &mut Registry, metrics: &Metrics) {
    let help = "Leases that were granted here";
    registry.register("leases_granted", help, metrics.leases_granted.clone());
    let help = "Leases that a call ended here, by reason";
    registry.register("leases_ended", help, metrics.leases_ended.clone());
    let help = "Acquires that found no token available, however long they waited";
    registry.register("leases_refused", help, metrics.leases_refused.clone());
    let help = "Calls that wait for a lease here";
    registry.register("leases_waiting", help, metrics.leases_waiting.clone());
}

fn register_unjudged(registry: &mut Registry, metrics: &Metrics) {
    let help = "Secrets that could not be judged, as their pepper is not configured";
    registry.register("missing_pepper", help, metrics.missing_pepper.clone());
    let help = "Secrets that were not judged, as too many of the same client were not in force";
    registry.register("failures_shed", help, metrics.failures_shed.clone());
}

/// OpenMetrics as Prometheus text 0.0.4, where a counter's family is named as its series are.
fn plain(open: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, said] => help = Some((name, said)),
            ["#", "TYPE", name, kind] => {
                let end = if kind == "counter" { "_total" } else { "" };
                if let Some((_, said)) = help.take().filter(|(helped, _)| *helped == name) {
                    writeln!(text, "# HELP {name}{end} {said}")?;
                }
                writeln!(text, "# TYPE {name}{end} {kind}")?;
            }
            ["#", ..] => {}
            _ => writeln!(text, "{line}")?,
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    fn exposition(metrics: &Metrics) -> Exposition {
        let about = About {
            version: "1.2.3",
            store: "sqlite",
        };
        Exposition::new(metrics, about, || Now {
            calls_in_hand: 2,
            validates: true,
            manages: false,
            cache: Remembered::default(),
            durability: None,
        })
    }

    #[test]
    fn both_forms_tell_the_same_series() {
        let metrics = Metrics::new(["Create"]);
        metrics.tokens_created.inc();
        let create = metrics.rpcs.named(Some("Create"));
        metrics.rpcs.took(create, 0, Duration::from_micros(300));
        let exposition = exposition(&metrics);
        let open = exposition.text(Format::OpenMetrics).unwrap();
        let plain = exposition.text(Format::Plain).unwrap();
        let series = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(series(&open), series(&plain));
        for line in [
            "token_authority_build_info{version=\"1.2.3\"} 1",
            "token_authority_tokens_created_total 1",
            "token_authority_rpc_duration_seconds_bucket{le=\"0.0005\",method=\"Create\",code=\"OK\"} 1",
            "token_authority_ready{use=\"manage\"} 0",
            "token_authority_store_info{kind=\"sqlite\",durability=\"unknown\"} 1",
            "token_authority_calls_in_hand 2",
        ] {
            assert!(
                series(&open).iter().any(|has| has == line),
                "{line}\n{open}"
            );
        }
        assert!(open.contains("# TYPE token_authority_tokens_created counter\n"));
        assert!(open.ends_with("# EOF\n"));
        assert!(plain.contains("# TYPE token_authority_tokens_created_total counter\n"));
        assert!(!plain.contains("EOF") && !plain.contains("# UNIT"));
    }

    #[test]
    fn names_that_are_not_known_share_one_series() {
        let metrics = Metrics::new(["Create"]);
        for n in 0..100 {
            let rpc = metrics.rpcs.named(Some(&format!("Method{n}")));
            metrics.rpcs.took(rpc, 12, Duration::ZERO);
        }
        metrics
            .rpcs
            .took(metrics.rpcs.named(None), 12, Duration::ZERO);
        let text = exposition(&metrics).text(Format::Plain).unwrap();
        let counts: Vec<_> = text
            .lines()
            .filter(|line| line.contains("rpc_duration_seconds_count"))
            .collect();
        let one = "token_authority_rpc_duration_seconds_count{method=\"other\",code=\"UNIMPLEMENTED\"} 101";
        assert_eq!(counts, [one]);
    }
}

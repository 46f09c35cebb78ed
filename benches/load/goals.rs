//! The goals, and what was measured beside each: the one table that says whether a Validate is nearly free.

use crate::growth::Growth;
use crate::measured::{CALLS, Measured, P50, P99, SERVER_CPU, Value};
use crate::rows::{
    BUSY, CACHED, CEILING, CHANGES, CLIENTS, DEFAULT_CEILING, FEW_REVOKE, STREAM_CEILING, STREAMS,
    STRONG, UNCOUNTED,
};
use crate::sizes::Sizes;
use crate::table;

/// Changes in a second that are enough, however fast a disk is.
const CHANGES_ENOUGH: f64 = 10_000.0;
/// The share of 64 clients that a flush of the disk may serve on average.
const SHARED_FLUSHES: f64 = 0.5 * CLIENTS as f64;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Which side of a goal is the right one.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

use Goal::{AtLeast, AtMost};

/// Lines of the table: measure, goal, here, met.
struct Lines {
    lines: Vec<Vec<String>>,
}

/// What the goals are compared with.
pub(crate) struct Findings<'a> {
    pub(crate) measured: &'a Measured,
    /// Flushes of the disk in a second.
    pub(crate) flushes: Option<f64>,
    pub(crate) sizes: &'a [Sizes],
    pub(crate) growth: &'a [Growth],
    /// Bytes in memory after all tokens were asked about, on SQLite and on Redis.
    pub(crate) resident: [Option<u64>; 2],
    pub(crate) tokens: usize,
}

/// The table; what was not measured in this run is left out.
pub(crate) fn of(findings: &Findings<'_>) -> String {
    let head = ["measure", "goal", "here", "met"].map(str::to_owned);
    let mut lines = Lines {
        lines: vec![head.to_vec()],
    };
    lines.validations(findings.measured);
    lines.changes(findings);
    lines.sizes(findings);
    table::aligned(&lines.lines)
}

impl Lines {
    fn add(&mut self, measure: &str, goal: Option<Goal>, unit: &str, here: Option<f64>) {
        let Some(here) = here else { return };
        let (goal, met) = match goal {
            None => (String::new(), String::new()),
            Some(AtLeast(least)) => (format!("≥ {}", number(least, unit)), yes(here >= least)),
            Some(AtMost(most)) => (format!("≤ {}", number(most, unit)), yes(here <= most)),
        };
        self.lines
            .push(vec![measure.to_owned(), goal, number(here, unit), met]);
    }

    fn validations(&mut self, all: &Measured) {
        let to = |name: &str, ceiling: &str, value: Value| all.ratio(name, ceiling, value);
        for name in CACHED {
            let line = |what: &str| format!("{name}: {what}");
            let calls = to(name, CEILING, CALLS);
            self.add(&line("calls/s"), Some(AtLeast(0.90)), "×", calls);
            let cpu = to(name, CEILING, SERVER_CPU);
            self.add(&line("CPU/call"), Some(AtMost(1.25)), "×", cpu);
            self.add(&line("p50"), None, "×", to(name, CEILING, P50));
            self.add(&line("p99"), Some(AtMost(1.5)), "×", to(name, CEILING, P99));
            let default = to(name, DEFAULT_CEILING, CALLS);
            self.add(
                &line("calls/s, to tonic's default"),
                Some(AtLeast(1.2)),
                "×",
                default,
            );
        }
        for (name, least) in BUSY
            .map(|name| (name, 0.8))
            .into_iter()
            .chain([(STRONG, 0.4)])
        {
            let calls = to(name, CEILING, CALLS);
            self.add(
                &format!("{name}: calls/s"),
                Some(AtLeast(least)),
                "×",
                calls,
            );
        }
        for (counted, uncounted) in UNCOUNTED {
            let cpu = to(counted, uncounted, SERVER_CPU);
            let measure = format!("{counted}: CPU/call, use counted to not");
            self.add(&measure, Some(AtMost(1.03)), "×", cpu);
        }
        let looks = all.median(STRONG, |figures| figures.looks);
        self.add(
            &format!("{STRONG}: looks per call"),
            Some(AtMost(1.1)),
            "",
            looks,
        );
        for name in STREAMS {
            let verdicts = all.median(name, CALLS);
            self.add(
                &format!("{name}: verdicts/s"),
                Some(AtLeast(500_000.0)),
                "/s",
                verdicts,
            );
            let calls = to(name, STREAM_CEILING, CALLS);
            self.add(
                &format!("{name}: to the stream ceiling"),
                Some(AtLeast(0.5)),
                "×",
                calls,
            );
        }
    }

    fn changes(&mut self, findings: &Findings<'_>) {
        let all = findings.measured;
        let of_disk = findings.flushes.map(|flushes| SHARED_FLUSHES * flushes);
        self.add("flushes of the disk", None, "/s", findings.flushes);
        let enough = [
            of_disk.map(|most| most.min(CHANGES_ENOUGH)),
            Some(CHANGES_ENOUGH),
            Some(CHANGES_ENOUGH),
        ];
        for (names, least) in CHANGES.into_iter().zip(enough) {
            for name in names {
                let measure = format!("{name}, {CLIENTS} clients");
                self.add(&measure, least.map(AtLeast), "/s", all.median(name, CALLS));
            }
        }
        let few = all.median(FEW_REVOKE, |figures| Some(figures.p99 / 1e3));
        self.add(&format!("{FEW_REVOKE}: p99"), Some(AtMost(10.0)), "ms", few);
    }

    fn sizes(&mut self, findings: &Findings<'_>) {
        for sizes in findings.sizes {
            let Sizes { store, tokens, .. } = sizes;
            for (kind, bytes) in &sizes.bytes {
                let goal = (*kind == "plain").then_some(AtMost(500.0));
                self.add(
                    &format!("{store}, a token, {kind}"),
                    goal,
                    "bytes",
                    Some(*bytes),
                );
            }
            let at_rest = sizes.at_rest.map(|bytes| bytes as f64 / MEBIBYTE);
            self.add(
                &format!("{store}, process at rest"),
                Some(AtMost(30.0)),
                "MiB",
                at_rest,
            );
            let [empty, full] = sizes.start.map(|span| Some(span.as_secs_f64() * 1e3));
            let start = format!("{store}, start to SERVING");
            self.add(&start, Some(AtMost(200.0)), "ms", empty);
            self.add(
                &format!("{start}, {tokens} tokens"),
                Some(AtMost(200.0)),
                "ms",
                full,
            );
        }
        for growth in findings.growth {
            let Growth { store, tokens, .. } = growth;
            for (what, ratio) in [
                ("List page", growth.page),
                ("Acquire+Release", growth.lease),
            ] {
                let measure = format!("{store}, {what}: {tokens} tokens to 1000");
                self.add(&measure, Some(AtMost(2.0)), "×", Some(ratio));
            }
        }
        for (store, resident) in ["SQLite", "Redis"].into_iter().zip(findings.resident) {
            let measure = format!("{store}, process that knows {} tokens", findings.tokens);
            let resident = resident.map(|bytes| bytes as f64 / MEBIBYTE);
            self.add(&measure, None, "MiB", resident);
        }
    }
}

fn yes(met: bool) -> String {
    if met { "yes" } else { "no" }.to_owned()
}

fn number(value: f64, unit: &str) -> String {
    let text = match value {
        ..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    };
    match unit {
        "×" | "/s" | "" => text + unit,
        _ => format!("{text} {unit}"),
    }
}

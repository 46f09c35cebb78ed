//! The tables, in Markdown: each row's medians over the rounds, beside those of its ceiling.

use crate::measured::{CALLS, Measured, P50, P99, SERVER_CPU, Told};
use crate::rows::DEFAULT_CEILING;

pub(crate) use crate::measured::median;

/// A column: its title, how many decimals it has, and what stands in it.
struct Column {
    title: &'static str,
    decimals: usize,
    value: fn(&Measured, &Told) -> Option<f64>,
}

const COLUMNS: &[Column] = &[
    Column {
        title: "calls/s",
        decimals: 0,
        value: |all, row| all.median(row.name, CALLS),
    },
    Column {
        title: "to ceiling",
        decimals: 2,
        value: |all, row| all.ratio(row.name, row.ceiling, CALLS),
    },
    Column {
        title: "to default",
        decimals: 2,
        value: |all, row| all.ratio(row.name, DEFAULT_CEILING, CALLS),
    },
    Column {
        title: "spread %",
        decimals: 0,
        value: |all, row| Some(100.0 * all.spread(row.name, CALLS)?),
    },
    Column {
        title: "CPU µs/call",
        decimals: 1,
        value: |all, row| all.median(row.name, SERVER_CPU),
    },
    Column {
        title: "to ceiling",
        decimals: 2,
        value: |all, row| all.ratio(row.name, row.ceiling, SERVER_CPU),
    },
    Column {
        title: "looks/call",
        decimals: 2,
        value: |all, row| all.median(row.name, |figures| figures.looks),
    },
    Column {
        title: "Redis CPU µs",
        decimals: 1,
        value: |all, row| all.median(row.name, |figures| figures.redis_cpu),
    },
    Column {
        title: "driver CPU µs",
        decimals: 1,
        value: |all, row| all.median(row.name, |figures| figures.driver_cpu),
    },
    Column {
        title: "p50 µs",
        decimals: 0,
        value: |all, row| all.median(row.name, P50),
    },
    Column {
        title: "p99 µs",
        decimals: 0,
        value: |all, row| all.median(row.name, P99),
    },
    Column {
        title: "to ceiling",
        decimals: 2,
        value: |all, row| all.ratio(row.name, row.ceiling, P99),
    },
    Column {
        title: "p99.9 µs",
        decimals: 0,
        value: |all, row| all.median(row.name, |figures| Some(figures.p999)),
    },
];

/// The table of all rows, and what a reader must know beside it.
pub(crate) fn of(all: &Measured) -> String {
    let titles = COLUMNS.iter().map(|column| column.title.to_owned());
    let head = [String::new()].into_iter().chain(titles).collect();
    let mut lines: Vec<Vec<String>> = vec![head];
    for row in &all.0 {
        let cells = COLUMNS.iter().map(|column| {
            let decimals = column.decimals;
            let value = (column.value)(all, row);
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
        });
        lines.push([row.name.to_owned()].into_iter().chain(cells).collect());
    }
    let rounds = all.0.first().map_or(0, |row| row.rounds.len());
    format!(
        "{}\nMedians over the rounds, of which there are {rounds}; a ratio is to the ceiling of the same round. The\n\
         spread is that of calls/s over the rounds. A look asks the store about a token. A call of\n\
         Acquire+Release is both. Servers, Redis and driver share the cores.{}",
        aligned(&lines),
        failures(all)
    )
}

/// Which rows had calls that failed; nothing where none did.
fn failures(all: &Measured) -> String {
    let of = |row: &Told| row.rounds.iter().map(|figures| figures.failed).sum();
    let failed = all.0.iter().map(|row| (row.name, of(row)));
    let failed = failed.filter(|(_, count): &(_, usize)| *count > 0);
    failed
        .map(|(name, count)| format!("\n{name}: {count} calls failed, and count for nothing."))
        .collect()
}

/// Markdown: names to the left, numbers to the right.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = lines.iter().map(|line| line[at].chars().count());
        cells.max().unwrap_or_default().max(3)
    };
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate();
        for (at, (cell, width)) in cells {
            text += &match at {
                0 => format!("| {cell:<width$} "),
                _ => format!("| {cell:>width$} "),
            };
        }
        text += "|\n";
        if number == 0 {
            let rules = widths.iter().enumerate().map(|(at, width)| match at {
                0 => format!("|{:-<1$}", "", width + 2),
                _ => format!("|{:->1$}", ":", width + 2),
            });
            text += &rules.collect::<String>();
            text += "|\n";
        }
    }
    text
}

//! The one table: medians over the rounds, with the least and the most below them.

use crate::figures::Figures;

/// How a column comes from a row's figures and those of the ceiling in the same round.
struct Column {
    title: &'static str,
    decimals: usize,
    value: fn(&Figures, &Figures) -> Option<f64>,
}

const COLUMNS: [Column; 9] = [
    Column {
        title: "calls/s",
        decimals: 0,
        value: |own, _| Some(own.calls_per_second),
    },
    Column {
        title: "ratio",
        decimals: 2,
        value: |own, ceiling| Some(own.calls_per_second / ceiling.calls_per_second),
    },
    Column {
        title: "CPU µs/call",
        decimals: 1,
        value: |own, _| own.server_cpu,
    },
    Column {
        title: "ratio",
        decimals: 2,
        value: |own, ceiling| Some(own.server_cpu? / ceiling.server_cpu?),
    },
    Column {
        title: "Redis CPU µs/call",
        decimals: 1,
        value: |own, _| own.redis_cpu,
    },
    Column {
        title: "p50 µs",
        decimals: 0,
        value: |own, _| Some(own.p50),
    },
    Column {
        title: "p99 µs",
        decimals: 0,
        value: |own, _| Some(own.p99),
    },
    Column {
        title: "ratio",
        decimals: 2,
        value: |own, ceiling| Some(own.p99 / ceiling.p99),
    },
    Column {
        title: "p99.9 µs",
        decimals: 0,
        value: |own, _| Some(own.p999),
    },
];

/// The table in Markdown. Each round holds the figures of all rows, the ceiling's first.
pub(crate) fn of(names: impl Iterator<Item = &'static str>, rounds: &[Vec<Figures>]) -> String {
    let titles = COLUMNS.iter().map(|column| column.title.to_owned());
    let head = [String::new()].into_iter().chain(titles).collect();
    let mut lines: Vec<Vec<String>> = vec![head];
    for (at, name) in names.enumerate() {
        let mut medians = vec![name.to_owned()];
        let mut ranges = vec!["least to most".to_owned()];
        for column in &COLUMNS {
            let values = rounds
                .iter()
                .map(|round| (column.value)(&round[at], &round[0]));
            let (median, range) = cells(values.collect(), column.decimals);
            medians.push(median);
            ranges.push(range);
        }
        lines.push(medians);
        if rounds.len() > 1 {
            lines.push(ranges);
        }
    }
    aligned(&lines)
}

/// What a reader must know beside the table.
pub(crate) fn notes(rounds: &[Vec<Figures>]) -> String {
    let generator = rounds.iter().flatten().map(|figures| figures.generator_cpu);
    let generator = match generator.collect::<Option<Vec<f64>>>() {
        Some(all) => format!("{:.1} µs", median(all)),
        None => "an unknown amount".to_owned(),
    };
    format!(
        "Medians over the rounds, of which there are {}; a ratio is to the ceiling of the same round.\n\
         The load generator runs on the same cores and takes {generator} of CPU a call, which draws\n\
         the ratios of calls/s and of latency towards 1.",
        rounds.len()
    )
}

/// Median and range of the rounds; a dash where there is nothing to say.
fn cells(values: Option<Vec<f64>>, decimals: usize) -> (String, String) {
    let Some(values) = values else {
        return ("-".to_owned(), String::new());
    };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = format!("{least:.decimals$} to {most:.decimals$}");
    (format!("{:.decimals$}", median(values)), range)
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
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

//! Requests per hour as a drawing that the server makes, and the same as a table.

use crate::transport::grpc::pb;

use super::shown::{When, count};

/// The drawing's size in its own units; the page stretches it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;
/// Part of a bar's place that is left free.
const GAP: f64 = 0.15;

/// An hour, drawn: what went well stands below what failed.
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) good_y: String,
    pub(super) good_height: String,
    pub(super) bad_y: String,
    pub(super) bad_height: String,
}

/// An hour in which something was asked, for the table.
pub(super) struct Row {
    pub(super) hour: When,
    pub(super) requests: String,
    pub(super) failed: String,
}

pub(super) struct Chart {
    pub(super) bars: Vec<Bar>,
    pub(super) rows: Vec<Row>,
    /// Requests of the busiest hour.
    pub(super) most: String,
    pub(super) from: When,
    pub(super) to: When,
    pub(super) summary: String,
}

impl Chart {
    pub(super) fn of(hourly: &[pb::HourlyUsage]) -> Self {
        let numbers = |own: &pb::HourlyUsage| {
            let totals = own.totals.as_ref();
            totals.map_or((0, 0), |totals| (totals.requests, totals.failed))
        };
        let most = hourly.iter().map(|own| numbers(own).0).max().unwrap_or(0);
        let place = WIDTH / hourly.len().max(1) as f64;
        let tall = |requests: u64| HEIGHT * requests as f64 / most.max(1) as f64;
        let bars = hourly.iter().enumerate().map(|(at, own)| {
            let (requests, failed) = numbers(own);
            let (all, bad) = (tall(requests), tall(failed.min(requests)));
            Bar {
                x: fixed(place * (at as f64 + GAP / 2.0)),
                width: fixed(place * (1.0 - GAP)),
                good_y: fixed(HEIGHT - all + bad),
                good_height: fixed(all - bad),
                bad_y: fixed(HEIGHT - all),
                bad_height: fixed(bad),
            }
        });
        let busy = hourly.iter().rev().filter(|own| numbers(own).0 > 0);
        let rows = busy.map(|own| {
            let (requests, failed) = numbers(own);
            Row {
                hour: When::of(own.hour.as_ref()),
                requests: count(requests),
                failed: count(failed),
            }
        });
        let hour = |own: Option<&pb::HourlyUsage>| When::of(own.and_then(|own| own.hour.as_ref()));
        Self {
            bars: bars.collect(),
            rows: rows.collect(),
            summary: format!(
                "Requests per hour over {} hours; the busiest hour had {}.",
                hourly.len(),
                count(most)
            ),
            most: count(most),
            from: hour(hourly.first()),
            to: hour(hourly.last()),
        }
    }
}

fn fixed(number: f64) -> String {
    format!("{number:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(requests: u64, failed: u64) -> pb::HourlyUsage {
        pb::HourlyUsage {
            hour: None,
            totals: Some(pb::UsageTotals {
                requests,
                failed,
                ..pb::UsageTotals::default()
            }),
        }
    }

    #[test]
    fn the_busiest_hour_is_as_tall_as_the_drawing_and_failures_stand_on_top() {
        let chart = Chart::of(&[hour(0, 0), hour(5, 5), hour(10, 1)]);
        let tall = |bar: &Bar| (bar.good_height.clone(), bar.bad_height.clone());
        let expected = [("0.00", "0.00"), ("0.00", "60.00"), ("108.00", "12.00")];
        let expected = expected.map(|(good, bad)| (good.to_owned(), bad.to_owned()));
        assert_eq!(chart.bars.iter().map(tall).collect::<Vec<_>>(), expected);
        assert_eq!((chart.rows.len(), chart.most.as_str()), (2, "10"));
        assert!(Chart::of(&[]).bars.is_empty());
    }
}

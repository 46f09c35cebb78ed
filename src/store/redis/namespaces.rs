//! Reading the series of namespaces, however many there are.

use std::time::Duration;

use redis::cmd;

use super::Access;
use super::error::read;
use super::keys::{Keys, SeriesName};
use super::line::{Line, PIPELINE_MAX};
use super::series::Series;
use crate::domain::name::Namespace;
use crate::store::StoreError;

/// Reads the namespaces in batches. Their entries are only ever added at the end, so that a rank
/// names the same one from batch to batch; one that was added anew to a later bucket comes twice.
pub(super) struct Namespaces<'a> {
    keys: &'a Keys,
    line: &'a Line<'a>,
    limit: Duration,
    bucket: u64,
    last: u64,
    rank: usize,
}

impl<'a> Namespaces<'a> {
    pub(super) async fn open(
        access: &'a Access,
        series: &Series,
        line: &'a Line<'a>,
    ) -> Result<Self, StoreError> {
        let last = series
            .look_up(line, &SeriesName::namespaces(), None)
            .await?;
        Ok(Self {
            keys: &access.keys,
            line,
            limit: access.write_timeout,
            bucket: 0,
            last: last.number,
            rank: 0,
        })
    }

    /// The next at most [`PIPELINE_MAX`] namespaces; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Namespace>>, StoreError> {
        if self.bucket > self.last {
            return Ok(None);
        }
        let mut command = cmd("ZRANGE");
        command.arg(self.keys.entries(&SeriesName::namespaces(), self.bucket));
        command.arg(self.rank).arg(self.rank + PIPELINE_MAX - 1);
        let texts: Vec<Vec<u8>> = read(self.line.command(self.limit, &command).await?)?;
        self.rank += texts.len();
        if texts.len() < PIPELINE_MAX {
            self.bucket += 1;
            self.rank = 0;
        }
        let named = |text: &Vec<u8>| {
            let name = std::str::from_utf8(text).ok().map(Namespace::parse);
            if !matches!(name, Some(Ok(_))) {
                tracing::error!("an entry of the series of namespaces is none; it is passed over");
            }
            name?.ok()
        };
        Ok(Some(texts.iter().filter_map(named).collect()))
    }
}

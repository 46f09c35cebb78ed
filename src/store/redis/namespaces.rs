//! Reading the names of namespaces in their order, however many there are.

use std::time::Duration;

use redis::cmd;

use super::Access;
use super::error::read;
use super::keys::Keys;
use super::line::Line;
use crate::domain::name::Namespace;
use crate::store::StoreError;

/// Reads in batches, each from behind the last name of the one before.
pub(super) struct Namespaces<'a> {
    keys: &'a Keys,
    line: &'a Line<'a>,
    limit: Duration,
    /// Where the next batch begins, as Redis says it; `None` at the end.
    from: Option<Vec<u8>>,
}

impl<'a> Namespaces<'a> {
    /// Begins behind `after`, or at the first name.
    pub(super) fn after(access: &'a Access, line: &'a Line<'a>, after: Option<&Namespace>) -> Self {
        let behind = |name: &Namespace| behind(name.as_str().as_bytes());
        Self {
            keys: &access.keys,
            line,
            limit: access.write_timeout,
            from: Some(after.map_or(b"-".to_vec(), behind)),
        }
    }

    /// The next at most `count` namespaces; `None` at the end.
    pub(super) async fn next(
        &mut self,
        count: usize,
    ) -> Result<Option<Vec<Namespace>>, StoreError> {
        let Some(from) = self.from.take() else {
            return Ok(None);
        };
        let mut command = cmd("ZRANGE");
        command.arg(self.keys.namespaces()).arg(from).arg("+");
        command.arg("BYLEX").arg("LIMIT").arg(0).arg(count);
        let names: Vec<Vec<u8>> = read(self.line.command(self.limit, &command).await?)?;
        if names.len() == count {
            self.from = names.last().map(|last| behind(last));
        }
        Ok(Some(names.iter().filter_map(|name| parsed(name)).collect()))
    }
}

fn behind(name: &[u8]) -> Vec<u8> {
    [b"(", name].concat()
}

fn parsed(name: &[u8]) -> Option<Namespace> {
    let namespace = std::str::from_utf8(name).ok().map(Namespace::parse);
    if !matches!(namespace, Some(Ok(_))) {
        tracing::error!("an entry among the namespaces is none; it is passed over");
    }
    namespace?.ok()
}

//! Walking listing indexes newest first: several series as if they were one.

use std::collections::BinaryHeap;

use super::Access;
use super::keys::SeriesName;
use super::line::Line;
use super::series::{Series, read_directory};
use super::source::Source;
use crate::domain::page::Cursor;
use crate::store::StoreError;
use crate::store::listing::EXAMINED_MAX;

/// A walk through some series, however many: it remembers only those that one page can reach.
pub(super) struct Walk<'a> {
    access: &'a Access,
    series: &'a Series,
    line: &'a Line<'a>,
    after: Option<Cursor>,
    /// How many entries are wanted first.
    wanted: usize,
    /// The series that have something ready, that with the newest entry on top.
    sources: BinaryHeap<Source>,
    /// The one that was walked over as far as it is read.
    dry: Option<Source>,
    /// Whether series were left out that begin behind all that a page can reach.
    cut: bool,
}

impl<'a> Walk<'a> {
    /// Begins behind `after`, or at the newest entry, of no series yet.
    pub(super) fn new(
        access: &'a Access,
        series: &'a Series,
        line: &'a Line<'a>,
        after: Option<Cursor>,
        wanted: usize,
    ) -> Self {
        Self {
            access,
            series,
            line,
            after,
            wanted,
            sources: BinaryHeap::new(),
            dry: None,
            cut: false,
        }
    }

    /// Walks through some more series, none of them twice; all must be added before the first step.
    pub(super) async fn add(&mut self, names: Vec<SeriesName>) -> Result<(), StoreError> {
        let time = self.after.map(|after| after.create_time.micros());
        let asked = names
            .iter()
            .map(|name| self.series.ask_directory(name, time));
        let limit = self.access.write_timeout;
        let answers = self.line.commands(limit, asked.collect()).await?;
        let chunk = 2 * self.wanted / names.len().max(1);
        let mut sources = Vec::with_capacity(names.len());
        for (name, answer) in names.into_iter().zip(answers) {
            let bucket = read_directory(answer)?.number;
            sources.push(Source::new(
                name,
                bucket,
                self.after,
                chunk.min(self.wanted),
            ));
        }
        self.fill(&mut sources).await?;
        sources.retain(|source| !source.is_empty());
        self.sources.extend(sources);
        self.leave_out_what_no_page_reaches();
        Ok(())
    }

    /// A page examines [`EXAMINED_MAX`] entries. Where that many series begin with newer entries
    /// than another, it does not come to the other.
    fn leave_out_what_no_page_reaches(&mut self) {
        if self.sources.len() <= EXAMINED_MAX {
            return;
        }
        let mut sources = std::mem::take(&mut self.sources).into_vec();
        sources.select_nth_unstable_by(EXAMINED_MAX, |one, other| other.cmp(one));
        sources.truncate(EXAMINED_MAX);
        self.sources = sources.into();
        self.cut = true;
    }

    /// The next `count` entries, fewer at the end; and whether it is known that there are no more.
    pub(super) async fn next(&mut self, count: usize) -> Result<(Vec<Cursor>, bool), StoreError> {
        let mut entries = Vec::with_capacity(count);
        while entries.len() < count {
            if let Some(source) = self.dry.take() {
                let mut sources = [source];
                self.fill(&mut sources).await?;
                let filled = sources.into_iter().filter(|source| !source.is_empty());
                self.sources.extend(filled);
            }
            // Whatever is newest of what is ready is newest of all, unless a series runs dry.
            let Some(mut source) = self.sources.pop() else {
                break;
            };
            entries.extend(source.pop());
            if !source.is_empty() {
                self.sources.push(source);
            } else if !source.is_read() {
                self.dry = Some(source);
            }
        }
        let ended = self.sources.is_empty() && self.dry.is_none() && !self.cut;
        Ok((entries, ended))
    }

    /// Reads on in every one of `sources` that has nothing ready, until it has, or has ended.
    async fn fill(&self, sources: &mut [Source]) -> Result<(), StoreError> {
        loop {
            let mut commands = Vec::new();
            let mut asked = Vec::new();
            for (index, source) in sources.iter().enumerate() {
                let before = commands.len();
                source.ask(&self.access.keys, &mut commands);
                asked.push((index, commands.len() - before));
            }
            if commands.is_empty() {
                return Ok(());
            }
            let limit = self.access.write_timeout;
            let mut answers = self.line.commands(limit, commands).await?.into_iter();
            for (index, count) in asked {
                let answers: Vec<_> = answers.by_ref().take(count).collect();
                if !answers.is_empty() {
                    sources[index].take(answers)?;
                }
            }
        }
    }
}

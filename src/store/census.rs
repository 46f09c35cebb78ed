//! A census: how many tokens each namespace holds, page by page, filled by one rule in both stores.

use crate::domain::name::Namespace;
use crate::domain::page::PageSize;

use super::listing::EXAMINED_MAX;

/// A namespace, and how many tokens it holds: ended ones too, until they are deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Population {
    pub namespace: Namespace,
    pub tokens: u64,
}

/// A page of namespaces that hold tokens, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    pub populations: Vec<Population>,
    /// The name that the next page begins behind; `None` at the end of the list.
    pub next: Option<Namespace>,
}

/// Collects a page from namespaces offered in the order of their names.
pub struct CensusBuilder {
    size: usize,
    populations: Vec<Population>,
    examined: usize,
    last: Option<Namespace>,
}

impl CensusBuilder {
    pub fn new(size: PageSize) -> Self {
        Self {
            size: size.get(),
            populations: Vec::new(),
            examined: 0,
            last: None,
        }
    }

    /// Most further namespaces that the page may examine; 0 when it is done.
    ///
    /// One more than the page holds is looked for, so that a full last page is known to be the last.
    pub fn wants(&self) -> usize {
        let missing = (self.size + 1).saturating_sub(self.populations.len());
        missing.min(EXAMINED_MAX - self.examined)
    }

    /// Offers the next namespace; one without tokens is examined and left out.
    pub fn offer(&mut self, namespace: Namespace, tokens: u64) {
        if self.wants() == 0 {
            return;
        }
        self.examined += 1;
        self.last = Some(namespace.clone());
        if tokens > 0 {
            self.populations.push(Population { namespace, tokens });
        }
    }

    /// The page; `ended` says that there is no namespace behind those that were offered.
    pub fn finish(mut self, ended: bool) -> Census {
        let next = if self.populations.len() > self.size {
            self.populations.truncate(self.size);
            self.populations.last().map(|last| last.namespace.clone())
        } else if ended {
            None
        } else {
            self.last
        };
        Census {
            populations: self.populations,
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Namespace {
        Namespace::parse(&format!("n{number:05}")).unwrap()
    }

    fn builder(size: u32, offered: impl Iterator<Item = (usize, u64)>) -> CensusBuilder {
        let mut builder = CensusBuilder::new(PageSize::asked(size));
        offered.for_each(|(number, tokens)| builder.offer(name(number), tokens));
        builder
    }

    #[test]
    fn a_full_last_page_has_no_successor() {
        let page = builder(2, [(1, 5), (2, 0), (3, 7)].into_iter()).finish(true);
        let counts: Vec<u64> = page.populations.iter().map(|one| one.tokens).collect();
        assert_eq!((counts, page.next), (vec![5, 7], None));
    }

    #[test]
    fn a_page_goes_on_behind_its_last_namespace() {
        let full = builder(2, (1..5).map(|n| (n, 1)));
        assert_eq!(full.wants(), 0);
        let page = full.finish(false);
        assert_eq!((page.populations.len(), page.next), (2, Some(name(2))));
    }

    #[test]
    fn a_page_of_emptied_namespaces_gives_up_and_goes_on() {
        let page = builder(2, (0..EXAMINED_MAX + 10).map(|n| (n, 0))).finish(false);
        assert_eq!(page.populations, []);
        assert_eq!(page.next, Some(name(EXAMINED_MAX - 1)));
    }
}

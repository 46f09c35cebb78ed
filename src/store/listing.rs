//! How a page is filled: the one rule that both stores follow when they walk an index.

use crate::domain::page::{Cursor, Filter, PageSize};
use crate::domain::time::Timestamp;
use crate::domain::token::Token;

use super::Page;

/// Most index entries that one page examines.
pub const EXAMINED_MAX: usize = 2000;

/// About how large a page may become, in bytes: clients commonly accept answers of 4 MiB.
const BYTES_MAX: usize = 3 << 20;
/// What a token takes beside its profile.
const TOKEN_BYTES: usize = 256;

/// Collects a page from index entries offered newest first.
pub struct PageBuilder<'a> {
    filter: &'a Filter,
    now: Timestamp,
    size: usize,
    tokens: Vec<Token>,
    bytes: usize,
    examined: usize,
    last: Option<Cursor>,
    /// A token was turned away for want of room.
    full: bool,
}

impl<'a> PageBuilder<'a> {
    pub fn new(filter: &'a Filter, size: PageSize, now: Timestamp) -> Self {
        Self {
            filter,
            now,
            size: size.get(),
            tokens: Vec::new(),
            bytes: 0,
            examined: 0,
            last: None,
            full: false,
        }
    }

    /// Most further entries that the page may examine; 0 when it is done.
    ///
    /// One token more than the page holds is looked for, so that a full last page is known to be
    /// the last.
    pub fn wants(&self) -> usize {
        if self.full || self.tokens.len() > self.size {
            0
        } else {
            EXAMINED_MAX - self.examined
        }
    }

    /// Offers the next entry of the index; `token` is `None` where its record is gone.
    pub fn offer(&mut self, at: Cursor, token: Option<Token>) {
        if self.wants() == 0 {
            return;
        }
        if let Some(token) = token.filter(|token| self.filter.admits(token, self.now)) {
            self.bytes += token.profile.bytes() + TOKEN_BYTES;
            if self.bytes > BYTES_MAX && !self.tokens.is_empty() {
                self.full = true;
                return;
            }
            self.tokens.push(token);
        }
        self.examined += 1;
        self.last = Some(at);
    }

    /// The page; `ended` says that the index holds nothing older than what was offered.
    pub fn finish(mut self, ended: bool) -> Page {
        let next = if self.tokens.len() > self.size {
            self.tokens.truncate(self.size);
            self.tokens.last().map(Cursor::of)
        } else if ended && !self.full {
            None
        } else {
            self.last
        };
        Page {
            now: self.now,
            tokens: self.tokens,
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::Reach;
    use crate::domain::name::{Description, Labels};
    use crate::domain::profile::Profile;
    use crate::domain::scope::Scope;
    use crate::domain::token::Draft;
    use crate::domain::token::tests::{at, draft};

    fn all() -> Filter {
        let states = Filter::default_states();
        Filter {
            reach: Reach::All,
            owner: None,
            pool: None,
            states,
            labels: Labels::default(),
        }
    }

    fn offer(builder: &mut PageBuilder<'_>, seconds: u64, there: bool) {
        let token = draft().issue(at(seconds)).unwrap();
        builder.offer(Cursor::of(&token), there.then_some(token));
    }

    #[test]
    fn a_full_last_page_has_no_successor() {
        let filter = all();
        let mut builder = PageBuilder::new(&filter, PageSize::asked(2), at(9));
        (0..2).for_each(|n| offer(&mut builder, 5 - n, true));
        let page = builder.finish(true);
        assert_eq!((page.tokens.len(), page.next), (2, None));
    }

    #[test]
    fn a_page_goes_on_after_its_last_token() {
        let filter = all();
        let mut builder = PageBuilder::new(&filter, PageSize::asked(2), at(9));
        (0..5).for_each(|n| offer(&mut builder, 8 - n, true));
        let page = builder.finish(false);
        assert_eq!(page.tokens.len(), 2);
        assert_eq!(page.next, Some(Cursor::of(&page.tokens[1])));
    }

    #[test]
    fn a_page_gives_up_after_a_bounded_number_of_entries() {
        let filter = all();
        let mut builder = PageBuilder::new(&filter, PageSize::asked(2), at(9));
        (0..EXAMINED_MAX as u64 + 10).for_each(|n| offer(&mut builder, 10_000 - n, false));
        let page = builder.finish(false);
        assert!(page.tokens.is_empty());
        assert_eq!(
            page.next.map(|at| at.create_time),
            Some(at(10_001 - EXAMINED_MAX as u64))
        );
    }

    #[test]
    fn a_page_stays_within_what_clients_accept() {
        let filter = all();
        let mut builder = PageBuilder::new(&filter, PageSize::asked(1000), at(99_999));
        let description = Description::parse(&"d".repeat(1024)).unwrap();
        let scopes = (0..64)
            .map(|n| Scope::parse(&format!("{n:0>128}")).unwrap())
            .collect();
        let profile = Profile {
            description,
            scopes,
            ..Profile::default()
        };
        for n in 0..1000 {
            let draft = Draft {
                profile: profile.clone(),
                ..draft()
            };
            let token = draft.issue(at(9000 - n)).unwrap();
            builder.offer(Cursor::of(&token), Some(token));
        }
        let page = builder.finish(true);
        assert!(
            (300..350).contains(&page.tokens.len()),
            "{}",
            page.tokens.len()
        );
        assert_eq!(page.next, page.tokens.last().map(Cursor::of));
    }
}

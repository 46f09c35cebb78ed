//! Following the pages of a list until it ends, or until as much was answered as was asked for.

use clap::Args;

use super::failure::Failure;

/// Most entries that one page holds.
const PAGE_SIZE_MAX: u32 = 1000;

/// How much of a list to print.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Most entries to print
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub limit: u32,

    /// Print every entry
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

impl Extent {
    /// How many to ask for next, where `count` are there.
    pub(super) fn page_size(self, count: usize) -> u32 {
        if self.all {
            return PAGE_SIZE_MAX;
        }
        let missing = (self.limit as usize).saturating_sub(count);
        u32::try_from(missing)
            .unwrap_or(self.limit)
            .min(PAGE_SIZE_MAX)
    }

    /// Turns to the page of `next`, and answers whether to ask for it, where `count` are there. A
    /// page may be empty and have a successor, so only the token of the next page tells the end.
    pub(super) fn turn(
        self,
        page_token: &mut String,
        next: String,
        count: usize,
    ) -> Result<bool, Failure> {
        if !next.is_empty() && next == *page_token {
            let why = "the server answers the same page again and again";
            return Err(Failure::Broken(why.to_owned()));
        }
        *page_token = next;
        let enough = !self.all && count >= self.limit as usize;
        Ok(!enough && !page_token.is_empty())
    }
}

/// What people are told of a list that goes on.
pub(super) const MORE: &str = "There are more; say --limit N or --all.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_asked_for_than_is_missing() {
        let some = |limit| Extent { limit, all: false };
        assert_eq!(some(50).page_size(0), 50);
        assert_eq!(some(50).page_size(48), 2);
        assert_eq!(some(5000).page_size(0), 1000);
        let all = Extent {
            limit: 50,
            all: true,
        };
        assert_eq!(all.page_size(70), 1000);
    }

    #[test]
    fn pages_are_turned_until_there_is_enough_or_no_more() {
        let some = Extent {
            limit: 3,
            all: false,
        };
        let mut token = String::new();
        assert!(some.turn(&mut token, "a".to_owned(), 2).unwrap());
        assert!(!some.turn(&mut token, "b".to_owned(), 3).unwrap());
        assert!(some.turn(&mut token, "b".to_owned(), 2).is_err());
        let all = Extent { all: true, ..some };
        assert!(all.turn(&mut token, "c".to_owned(), 9).unwrap());
        assert!(!all.turn(&mut token, String::new(), 9).unwrap());
    }
}

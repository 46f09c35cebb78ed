//! Small charts of text: a row of columns, one for each of many numbers.

/// Columns of a chart at most: what fits a terminal of eighty beside its words.
const COLUMNS_MAX: usize = 72;

/// What the heights of columns are drawn with, the lowest first; nothing where there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Eighths of a block.
    Blocks,
    /// For terminals that know ASCII only.
    Plain,
}

impl Ink {
    /// What the locale of these variables can show.
    pub(super) fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
        let locale = given
            .filter_map(variable)
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_lowercase();
        match locale.contains("utf-8") || locale.contains("utf8") {
            true => Self::Blocks,
            false => Self::Plain,
        }
    }

    fn steps(self) -> &'static [char] {
        match self {
            Self::Blocks => &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Plain => &[' ', '.', ':', '-', '=', '+', '*', '#', '@'],
        }
    }
}

/// Draws numbers beside each other; where there are too many, sums of as many as come together in one
/// column. Answers the row, and how many numbers a column stands for.
pub(super) fn row(numbers: &[u64], ink: Ink) -> (String, usize) {
    let each = numbers.len().div_ceil(COLUMNS_MAX).max(1);
    // From the end on, so that the last column is a whole one.
    let first = numbers.len() % each;
    let (head, rest) = numbers.split_at(first);
    let sums: Vec<u64> = (!head.is_empty())
        .then_some(head)
        .into_iter()
        .chain(rest.chunks(each))
        .map(|part| part.iter().sum())
        .collect();
    let most = sums.iter().max().copied().unwrap_or_default();
    let steps = ink.steps();
    let step = |sum: &u64| {
        let height = u128::from(*sum) * (steps.len() as u128 - 1);
        let height = height.div_ceil(u128::from(most.max(1)));
        steps[usize::try_from(height).unwrap_or_default()]
    };
    (sums.iter().map(step).collect(), each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_more_than_nothing_is_seen_and_the_most_is_highest() {
        assert_eq!(row(&[0, 1, 500, 1000], Ink::Blocks).0, " ▁▄█");
        assert_eq!(row(&[0, 1, 500, 1000], Ink::Plain).0, " .=@");
        assert_eq!(row(&[0, 0], Ink::Blocks).0, "  ");
        assert_eq!(row(&[], Ink::Blocks), (String::new(), 1));
        assert_eq!(row(&[u64::MAX], Ink::Blocks).0, "█");
    }

    #[test]
    fn many_numbers_share_columns_and_none_is_left_out() {
        let hours = vec![1; 7 * 24 + 1];
        let (drawn, each) = row(&hours, Ink::Blocks);
        assert_eq!((drawn.chars().count(), each), (57, 3));
        assert!(drawn.starts_with('▃') && drawn.ends_with('█'), "{drawn}");
    }

    #[test]
    fn the_locale_says_what_can_be_shown() {
        let of = |pairs: &[(&str, &str)]| {
            let find = |name: &str| pairs.iter().find(|(key, _)| *key == name);
            Ink::of_locale(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[("LANG", "en_GB.UTF-8")]), Ink::Blocks);
        assert_eq!(of(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]), Ink::Plain);
        assert_eq!(of(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]), Ink::Blocks);
        assert_eq!(of(&[]), Ink::Plain);
    }
}

//! A list that mostly has one item, which then takes no memory of its own.

/// Items in the order in which they came.
#[derive(Clone, Debug)]
pub(super) struct Few<T> {
    first: Option<T>,
    /// Apart, since it is mostly not there, and what holds few items is moved about.
    rest: Option<Box<Rest<T>>>,
}

#[derive(Clone, Debug)]
struct Rest<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self {
            first: None,
            rest: None,
        }
    }
}

impl<T> Few<T> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest().len()
    }

    /// Adds an item, and answers its place.
    pub(super) fn push(&mut self, item: T) -> &mut T {
        match &mut self.first {
            Some(_) => {
                let Rest(rest) = &mut **self.rest.get_or_insert_with(|| Box::new(Rest(Vec::new())));
                let at = rest.len();
                rest.push(item);
                &mut rest[at]
            }
            first @ None => first.insert(item),
        }
    }

    /// The item that `is` finds, one place further forward than it was.
    pub(super) fn promoted(&mut self, is: impl Fn(&T) -> bool) -> Option<&mut T> {
        if self.first.as_ref().is_some_and(&is) {
            return self.first.as_mut();
        }
        let Rest(rest) = &mut **self.rest.as_mut()?;
        match rest.iter().position(is)? {
            0 => {
                if let Some(first) = &mut self.first {
                    std::mem::swap(first, &mut rest[0]);
                }
                self.first.as_mut()
            }
            at => {
                rest.swap(at - 1, at);
                rest.get_mut(at - 1)
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.rest())
    }

    pub(super) fn find_mut(&mut self, is: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut all = self.iter_mut();
        all.find(|item| is(item))
    }

    /// The item of the least weight; the last one of several, which was asked for least lately.
    pub(super) fn last_least(&mut self, weight: impl Fn(&T) -> u64) -> Option<&mut T> {
        let all = self.iter_mut();
        all.rev().min_by_key(|item| weight(item))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = T> {
        let rest = self.rest.map_or_else(Vec::new, |rest| rest.0);
        self.first.into_iter().chain(rest)
    }

    fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        let rest = self.rest.iter_mut().flat_map(|rest| &mut rest.0);
        self.first.iter_mut().chain(rest)
    }

    fn rest(&self) -> &[T] {
        self.rest.as_ref().map_or(&[], |rest| &rest.0)
    }
}

//! A table of few rows, which strangers cannot make many of.

use super::few::Few;

/// What adds up, in any order.
pub trait Add: Default {
    fn add(&mut self, other: Self);
}

impl Add for u64 {
    fn add(&mut self, other: Self) {
        *self = self.saturating_add(other);
    }
}

/// At most `MOST` rows under keys of their own, and one for all the rest.
#[derive(Clone, Debug)]
pub struct Rows<K, V, const MOST: usize> {
    /// A row that is asked for moves one place forward, so that busy ones are found soon.
    known: Few<(K, V)>,
    other: V,
}

impl<K, V: Default, const MOST: usize> Default for Rows<K, V, MOST> {
    fn default() -> Self {
        Self {
            known: Few::default(),
            other: V::default(),
        }
    }
}

impl<K: PartialEq, V: Add, const MOST: usize> Rows<K, V, MOST> {
    /// The row of `key`, or that of all others where there are too many.
    pub fn of(&mut self, key: &K, make: impl FnOnce() -> K) -> &mut V {
        self.by(|known| known == key, make)
    }

    /// The same of the key that `is` finds, and `make` makes.
    pub fn by(&mut self, is: impl Fn(&K) -> bool, make: impl FnOnce() -> K) -> &mut V {
        // Looked for twice, as long as the borrow checker does not see that one look is enough.
        if self.known.iter().any(|(key, _)| is(key)) {
            return match self.known.promoted(|(key, _)| is(key)) {
                Some((_, value)) => value,
                None => &mut self.other,
            };
        }
        match self.known.len() < MOST {
            true => &mut self.known.push((make(), V::default())).1,
            false => &mut self.other,
        }
    }

    /// The row of all that have none of their own.
    pub fn other(&mut self) -> &mut V {
        &mut self.other
    }

    /// The rows, in no order, and that of all others.
    pub fn read(&self) -> (impl Iterator<Item = &(K, V)>, &V) {
        (self.known.iter(), &self.other)
    }

    /// Adds the rows of another table.
    pub fn add(&mut self, other: Self) {
        for (key, value) in other.known.into_iter() {
            let room = self.known.len() < MOST;
            match self.known.find_mut(|(known, _)| *known == key) {
                Some((_, own)) => own.add(value),
                None if room => {
                    self.known.push((key, value));
                }
                None => self.other.add(value),
            }
        }
        self.other.add(other.other);
    }
}

/// Whatever the order of the rows.
impl<K: PartialEq, V: PartialEq, const MOST: usize> PartialEq for Rows<K, V, MOST> {
    fn eq(&self, other: &Self) -> bool {
        self.other == other.other
            && self.known.len() == other.known.len()
            && self
                .known
                .iter()
                .all(|row| other.known.iter().any(|other| other == row))
    }
}

impl<K: Eq, V: Eq, const MOST: usize> Eq for Rows<K, V, MOST> {}

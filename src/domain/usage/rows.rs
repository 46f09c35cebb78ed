//! A table of few rows, which strangers cannot make many of.

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
    known: Vec<(K, V)>,
    other: V,
}

impl<K, V: Default, const MOST: usize> Default for Rows<K, V, MOST> {
    fn default() -> Self {
        Self {
            known: Vec::new(),
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
        let at = match self.known.iter().position(|(key, _)| is(key)) {
            Some(0) => 0,
            Some(at) => {
                self.known.swap(at - 1, at);
                at - 1
            }
            None if self.known.len() < MOST => {
                self.known.push((make(), V::default()));
                self.known.len() - 1
            }
            None => return &mut self.other,
        };
        &mut self.known[at].1
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
        for (key, value) in other.known {
            let at = self.known.iter().position(|(known, _)| *known == key);
            match at {
                Some(at) => self.known[at].1.add(value),
                None if self.known.len() < MOST => self.known.push((key, value)),
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
            && self.known.iter().all(|row| other.known.contains(row))
    }
}

impl<K: Eq, V: Eq, const MOST: usize> Eq for Rows<K, V, MOST> {}

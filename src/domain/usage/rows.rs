//! A table of few rows, which strangers cannot make many of.

use super::few::Few;

/// What adds up, in any order.
pub trait Add: Default {
    fn add(&mut self, other: Self);

    /// How much it stands for: of rows that find no room, the lightest lose their own.
    fn weight(&self) -> u64;
}

impl Add for u64 {
    fn add(&mut self, other: Self) {
        *self = self.saturating_add(other);
    }

    fn weight(&self) -> u64 {
        *self
    }
}

/// At most `MOST` rows under keys of their own, and one for all the rest.
///
/// Where there are too many, the lightest row is counted with the rest: so a flood of keys that come
/// once each does not push out those that come again and again. The sum over all rows is exact; a row
/// may lack what came while it had no place.
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
    /// Of rows with keys of their own, and that of all others.
    pub fn of_parts(rows: impl IntoIterator<Item = (K, V)>, other: V) -> Self {
        let mut table = Self {
            known: Few::default(),
            other,
        };
        rows.into_iter().for_each(|row| table.place(row));
        table
    }

    /// The row of `key`, in the place of the lightest where there are too many.
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
        if self.known.len() < MOST {
            return &mut self.known.push((make(), V::default())).1;
        }
        let Self { known, other } = self;
        match known.last_least(|(_, value)| value.weight()) {
            Some(lightest) => {
                let (_, value) = std::mem::replace(lightest, (make(), V::default()));
                other.add(value);
                &mut lightest.1
            }
            None => other,
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

    pub fn into_parts(self) -> (Vec<(K, V)>, V) {
        (self.known.into_iter().collect(), self.other)
    }

    pub fn is_empty(&self) -> bool {
        self.known.len() == 0 && self.other.weight() == 0
    }

    /// Adds the rows of another table.
    pub fn add(&mut self, other: Self) {
        for (key, value) in other.known.into_iter() {
            match self.known.find_mut(|(known, _)| *known == key) {
                Some((_, own)) => own.add(value),
                None => self.place((key, value)),
            }
        }
        self.other.add(other.other);
    }

    /// Gives a new row a place, or, where it is lighter than all, adds it to the rest.
    fn place(&mut self, row: (K, V)) {
        if self.known.len() < MOST {
            self.known.push(row);
            return;
        }
        let weight = row.1.weight();
        let lightest = self.known.last_least(|(_, value)| value.weight());
        let lighter = match lightest {
            Some(lightest) if lightest.1.weight() < weight => std::mem::replace(lightest, row),
            _ => row,
        };
        self.other.add(lighter.1);
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

//! Who may connect: so many at once in all, and so many from one address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::address::subscriber;
use crate::metrics::Ended;

use super::connection::{Connection, Order};

/// Every connection there is, and how many more there may be.
pub(super) struct Admission {
    most: usize,
    most_of_one: usize,
    standing: Mutex<Standing>,
    left: Notify,
}

#[derive(Default)]
struct Standing {
    last: u64,
    /// By number, so the oldest come first.
    connections: BTreeMap<u64, Arc<Connection>>,
    /// What each address has; also one without connections, while calls of it are in hand. All
    /// that come over Unix sockets, which have none, stand together.
    of_one: HashMap<Option<IpAddr>, (usize, Arc<Neighbours>)>,
}

/// What the connections of one address have in hand together.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    pub(crate) calls: AtomicUsize,
    pub(crate) streams: AtomicUsize,
    pub(crate) asides: AtomicUsize,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Address,
}

/// A connection's place among the others, given up when this is dropped.
pub(super) struct Place {
    admission: Arc<Admission>,
    number: u64,
}

impl Admission {
    pub(super) fn new(most: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            standing: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Takes a connection in. Where there are too many in all, the oldest of those that never asked
    /// for anything makes room, so that silence cannot keep others out; else the oldest without a
    /// call in hand of whichever address has the most, so that a few addresses cannot, either.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<(Arc<Connection>, Place), Full> {
        let mut standing = self.standing();
        let of_one = address.map(subscriber);
        if of_one.is_some() && standing.count(of_one) >= self.most_of_one {
            return Err(Full::Address);
        }
        if standing.connections.len() >= self.most {
            let number = standing.silent().or_else(|| standing.hoarded(of_one));
            let oldest = number.and_then(|number| standing.remove(number));
            oldest.ok_or(Full::All)?.dismiss(Order::Cut, Ended::Full);
        }
        standing.last += 1;
        let number = standing.last;
        let (count, neighbours) = standing.of_one.entry(of_one).or_default();
        *count += 1;
        let neighbours = of_one.map(|_| neighbours.clone());
        let connection = Connection::new(address, neighbours);
        standing.connections.insert(number, connection.clone());
        let place = Place {
            admission: self.clone(),
            number,
        };
        Ok((connection, place))
    }

    /// Waits until there is no connection.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.standing().connections.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Does something with each connection and its number, which later ones have higher.
    pub(super) fn each(&self, mut act: impl FnMut(u64, &Connection)) {
        let all = {
            let mut standing = self.standing();
            standing.forget_absent();
            // A copy, so that connections may come and go meanwhile.
            standing.connections.clone()
        };
        all.iter()
            .for_each(|(number, connection)| act(*number, connection));
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn count(&self, of_one: Option<IpAddr>) -> usize {
        self.of_one.get(&of_one).map_or(0, |(count, _)| *count)
    }

    /// The oldest connection that never asked for anything.
    fn silent(&self) -> Option<u64> {
        self.oldest(|connection| !connection.has_called())
    }

    /// The oldest connection without a call in hand of the address that has the most, if that stays
    /// ahead of `newcomer`: else two addresses would take the last place from each other for ever.
    fn hoarded(&self, newcomer: Option<IpAddr>) -> Option<u64> {
        let counts = self.of_one.iter();
        let (most, (count, _)) = counts.max_by_key(|(_, (count, _))| *count)?;
        if *count <= self.count(newcomer) + 1 {
            return None;
        }
        self.oldest(|connection| {
            connection.address.map(subscriber) == *most && !connection.calls.any_soon_over()
        })
    }

    fn oldest(&self, which: impl Fn(&Connection) -> bool) -> Option<u64> {
        let mut connections = self.connections.iter();
        let found = connections.find(|(_, connection)| which(connection));
        found.map(|(number, _)| *number)
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&number)?;
        let of_one = connection.address.map(subscriber);
        if let Some((count, _)) = self.of_one.get_mut(&of_one) {
            *count -= 1;
        }
        Some(connection)
    }

    /// Forgets addresses that have neither connections nor calls that outlived theirs: whoever
    /// connects again and again would else have its calls counted from nothing each time.
    fn forget_absent(&mut self) {
        let present = |(count, neighbours): &mut (usize, Arc<Neighbours>)| {
            *count > 0 || Arc::strong_count(neighbours) > 1
        };
        self.of_one.retain(|_, one| present(one));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.standing().remove(self.number);
        self.admission.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn one_address_has_so_many_and_another_its_own() {
        let admission = Admission::new(9, 2);
        let (first, place) = admission.admit(address(1)).ok().unwrap();
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        let (second, _second) = admission.admit(Some(mapped)).ok().unwrap();
        let neighbours = |c: &Connection| c.neighbours.clone().unwrap();
        assert!(Arc::ptr_eq(&neighbours(&first), &neighbours(&second)));
        assert_eq!(admission.admit(address(1)).err(), Some(Full::Address));
        let _other = admission.admit(address(2)).ok().unwrap();
        drop(place);
        assert!(admission.admit(address(1)).is_ok());
    }

    #[test]
    fn unix_sockets_are_bounded_in_all_only() {
        let admission = Admission::new(3, 1);
        let places: Vec<_> = (0..3).map(|_| admission.admit(None)).collect();
        assert!(places.iter().all(Result::is_ok));
        places.iter().flatten().for_each(|(c, _)| c.begin().end());
        assert_eq!(admission.admit(None).err(), Some(Full::All));
        let (_, _place) = admission.admit(address(1)).ok().unwrap();
        let there = |(c, _): &(Arc<Connection>, Place)| !c.is_cut();
        assert_eq!(places.iter().flatten().filter(|one| there(one)).count(), 2);
    }

    #[test]
    fn an_address_that_hoards_makes_room_for_one_that_does_not() {
        let admission = Admission::new(5, 4);
        let admit = |last| {
            let (connection, place) = admission.admit(address(last))?;
            connection.begin().end();
            Ok::<_, Full>((connection, place))
        };
        let hoarded = [(); 4].map(|()| admit(1).ok().unwrap());
        let other = admit(2).ok().unwrap();
        // The oldest is busy; the next one only watches.
        let _call = hoarded[0].0.begin();
        let watching = hoarded[1].0.begin();
        watching.endless();
        let newcomers = [3, 4].map(|last| admit(last).ok().unwrap());
        let cut = hoarded
            .each_ref()
            .map(|(connection, _)| connection.is_cut());
        assert_eq!(cut, [false, true, true, false]);
        assert_eq!(hoarded[1].0.reason(), Some(Ended::Full));
        assert_eq!(
            admit(2).err(),
            Some(Full::All),
            "it would only be turned about"
        );
        assert!(newcomers.iter().all(|(connection, _)| !connection.is_cut()));
        assert!(!other.0.is_cut());
    }

    #[test]
    fn the_oldest_that_never_called_makes_room_and_those_that_did_stay() {
        let admission = Admission::new(3, 9);
        let admit = |last| admission.admit(address(last)).ok().unwrap();
        let admitted = [1, 2, 3].map(admit);
        admitted[0].0.begin().end();
        let (late, _late) = admit(4);
        let cut = admitted
            .each_ref()
            .map(|(connection, _)| connection.is_cut());
        assert_eq!(cut, [false, true, false]);
        assert_eq!(admitted[1].0.reason(), Some(Ended::Full));
        let len = || admission.standing().connections.len();
        assert_eq!(len(), 3);
        admitted[2].0.begin().end();
        late.begin().end();
        assert_eq!(admission.admit(address(5)).err(), Some(Full::All));
        drop(admitted);
        assert_eq!(len(), 1, "each leaves once");
    }

    #[test]
    fn calls_that_outlive_their_connections_still_count_for_their_address() {
        let admission = Admission::new(9, 9);
        let (connection, place) = admission.admit(address(1)).ok().unwrap();
        let outliving = connection.neighbours.clone().unwrap();
        drop((connection, place));
        admission.each(|_, _| {});
        let (again, place) = admission.admit(address(1)).ok().unwrap();
        assert!(Arc::ptr_eq(again.neighbours.as_ref().unwrap(), &outliving));
        drop((again, place, outliving));
        admission.each(|_, _| {});
        assert!(admission.standing().of_one.is_empty());
    }
}

//! Who may connect: so many at once in all, and so many from one address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::address::subscriber;

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
    /// What each address has. Unix sockets have none.
    of_one: HashMap<IpAddr, (usize, Arc<Neighbours>)>,
}

/// What the connections of one address have in hand together.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    pub(crate) calls: AtomicUsize,
    pub(crate) streams: AtomicUsize,
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

    /// Takes a connection in. Where there are too many in all, the oldest of those that have not
    /// said anything sound yet makes room, so that silence cannot keep others out.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<(Arc<Connection>, Place), Full> {
        let mut standing = self.standing();
        let of_one = address.map(subscriber);
        if of_one.is_some_and(|of_one| standing.count(of_one) >= self.most_of_one) {
            return Err(Full::Address);
        }
        if standing.connections.len() >= self.most {
            let silent = |(_, other): &(&u64, &Arc<Connection>)| !other.has_greeted();
            let number = standing.connections.iter().find(silent).map(|(n, _)| *n);
            let oldest = number.and_then(|number| standing.remove(number));
            oldest.ok_or(Full::All)?.order(Order::Cut);
        }
        standing.last += 1;
        let number = standing.last;
        let neighbours = of_one.map(|of_one| {
            let (count, neighbours) = standing.of_one.entry(of_one).or_default();
            *count += 1;
            neighbours.clone()
        });
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
        // A copy, so that connections may come and go meanwhile.
        let all = self.standing().connections.clone();
        all.iter()
            .for_each(|(number, connection)| act(*number, connection));
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn count(&self, of_one: IpAddr) -> usize {
        self.of_one.get(&of_one).map_or(0, |(count, _)| *count)
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&number)?;
        if let Some(of_one) = connection.address.map(subscriber) {
            let count = self.of_one.get_mut(&of_one).map(|(count, _)| {
                *count -= 1;
                *count
            });
            if count == Some(0) {
                self.of_one.remove(&of_one);
            }
        }
        Some(connection)
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
    use crate::transport::connections::connection::Greeting;

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
        places
            .iter()
            .flatten()
            .for_each(|(c, _)| c.greeted(Greeting::default()));
        assert_eq!(admission.admit(None).err(), Some(Full::All));
    }

    #[test]
    fn the_oldest_silent_one_makes_room_and_those_that_spoke_stay() {
        let admission = Admission::new(3, 9);
        let admit = |last| admission.admit(address(last)).ok().unwrap();
        let admitted = [1, 2, 3].map(admit);
        admitted[0].0.greeted(Greeting::default());
        let (late, _late) = admit(4);
        let cut = admitted
            .each_ref()
            .map(|(connection, _)| connection.is_cut());
        assert_eq!(cut, [false, true, false]);
        let len = || admission.standing().connections.len();
        assert_eq!(len(), 3);
        admitted[2].0.greeted(Greeting::default());
        late.greeted(Greeting::default());
        assert_eq!(admission.admit(address(5)).err(), Some(Full::All));
        drop(admitted);
        assert_eq!(len(), 1, "each leaves once");
    }
}

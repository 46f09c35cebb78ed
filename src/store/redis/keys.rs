//! Every key format, and where in a cluster each key lives.
//!
//! What stands in `{}` decides the slot; a script may touch the keys of one slot only.
//!
//! | key | holds |
//! |---|---|
//! | `ta:store` | the identity marker, with the check values of peppers |
//! | `ta:{TAG}:t:REST` | the record of the token `TAG` `REST` |
//! | `ta:{TAG}:l:REST` | what is spent of the rate limits of the token `TAG` `REST` |
//! | `ta:{TAG}:q:REST` | what is spent of its quota |
//! | `ta:{TAG}:g:REST` | the batches of uses that were granted of it ahead; it goes by itself |
//! | `ta:{TAG}:u:REST` | the ledger of its use: frames, appended |
//! | `ta:{TAG}:u:REST:DAY` | what is kept of the closed hours of a day, counted since 1970; it goes by itself |
//! | `ta:{TAG}:y:REST` | the sums of the days of its use |
//! | `ta:{TAG}:v:REST` | the record of a token that vanished, until its index entries are removed |
//! | `ta:{TAG}:c:REST` | a claim: which token the request key made whose own id is `TAG` `REST` |
//! | `ta:{TAG}:h:REST` | the tenure of the pooled token `TAG` `REST` |
//! | `ta:{TAG}:f:NAMESPACE:POOL` | the free tokens of a pool: REST by when they may not be any more |
//! | `ta:{TAG}:b:NAMESPACE:POOL` | those that are held: REST by the end of the lease |
//! | `ta:{TAG}:o:NAMESPACE:POOL` | those that are out (disabled, revoked, expired): REST by when to look again |
//! | `ta:{TAG}:w:NAMESPACE:POOL` | the calls that wait for one, by arrival |
//! | `ta:{TAG}:p:WAITER` | until when a call that waits is taken to be there |
//! | `ta:{TAG}:a:KEY` | which token a request acquired: REST, when, and the hash of its arguments |
//! | `ta:{TAG}:e:NAMESPACE:POOL` | what happened to the pool's tokens and is not in the log of events yet, oldest first |
//! | `ta:{TAG}:m:NAMESPACE:POOL` | who moves that to the log just now |
//! | `ta:{SERIES:N}:i` | the entries of bucket N of a series: ids, each before the time since when it belongs there, by creation time |
//! | `ta:{SERIES:N}:s` | the seal of bucket N |
//! | `ta:{SERIES}:d` | the directory of a series: bucket numbers from 1 on, by the start of each |
//! | `ta:{u:NAMESPACE}:u` | the ledger of the use of a namespace |
//! | `ta:{u:NAMESPACE}:u:DAY` | what is kept of the closed hours of a day of that; it goes by itself |
//! | `ta:{u:NAMESPACE}:y` | the sums of its days |
//! | `ta:{x:NAMESPACE}` | the tokens of a namespace that are, or will be, out of force: ids by since when |
//! | `ta:{s}:n` | the namespaces that ever held a token, by name: all scores are 0 |
//! | `ta:{s}:p` | the pools that ever held a token, as `NAMESPACE POOL`: all scores are 0 |
//! | `ta:{s}:a` | when the authority was seen last, and its absences |
//! | `ta:{r}:h` | the registry: its head, and how far each replica has come that answers from memory |
//! | `ta:{r}:l` | its log: the newest changes, each a token's id and a revision of 8 bytes |
//! | `ta:{due:NN}` | ids of tokens by when a sweep looks at them, in shards of 00 to 63 |
//! | `ta:{due:NN}:a` | ids of tokens by when the next event of them is due by time alone |
//! | `ta:{e}:l` | the log of events: a stream |
//! | `ta:{e}:d` | the place of the last event that was dropped from it |
//! | `ta:{e}:m` | the marks of changes of tokens in no pool that may not be told yet: all scores are 0 |
//! | `ta:{e}:t` | whose turn it is to tell what is due |
//!
//! All tokens of a pool have one TAG, so that all keys of a pool share a slot; scripts put them together
//! from `ta:{TAG}:`, in `scripts/tenure.lua` alone. Two of them are looked at from outside as well. All times in them are microseconds since 1970.
//!
//! All keys go with the tokens that they are about, but for the marker, the namespaces with their use, the
//! pools, the registry with its log of some 130 kB, the log of events, and the seal and the directory's entry
//! of each bucket that was full once: some 3 kB for each million of tokens. Queues, presences, requests, turns
//! and who moves something go by themselves.
//!
//! The head of the registry and its replicas stand in one key, so that none is lost without the other:
//! who is not there is not waited for.
//!
//! Beside the keys there are channels: `ta:wake`, who waits and should ask again, and `ta:news`, what was
//! added to the log.
//!
//! User text comes into a key only where its alphabet knows no braces, colons or glob characters
//! (namespaces, pools), else as a hash (owners).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::domain::alphabet;
use crate::domain::name::{Namespace, Owner, PoolName};
use crate::domain::token::TokenId;
use crate::domain::usage::{Day, Subject};

/// Builds the keys under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

/// The name of one listing index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesName(String);

impl SeriesName {
    pub(super) fn namespace(namespace: &Namespace) -> Self {
        Self(format!("n:{namespace}"))
    }

    pub(super) fn owner(namespace: &Namespace, owner: &Owner) -> Self {
        let hash: [u8; 32] = Sha256::digest(owner.as_str().as_bytes()).into();
        let value = hash[..16]
            .iter()
            .fold(0u128, |value, byte| value << 8 | u128::from(*byte));
        Self(format!("o:{namespace}:{}", alphabet::encode(value, 22)))
    }

    pub(super) fn pool(namespace: &Namespace, pool: &PoolName) -> Self {
        Self(format!("p:{namespace}:{}", pool.as_str()))
    }
}

impl fmt::Display for SeriesName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of the index of what is due: in a cluster, no slot has to hold all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DueShard(u8);

/// Whose look a time is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A sweep's: the token may vanish then.
    End,
    /// Something is to be told of it by time alone.
    Alarm,
}

impl DueShard {
    /// For ever: an entry in another shard than is looked for would never be found.
    pub(super) const COUNT: u8 = 64;
    /// Last digits of an id that decide; random in every id, also of a pool.
    const DIGITS: usize = 4;

    pub(super) fn of(id: TokenId) -> Self {
        let digits = &id.as_str()[TokenId::DIGITS - Self::DIGITS..];
        let value = alphabet::decode(digits).unwrap_or_default();
        // Less than `COUNT`.
        Self((value % u128::from(Self::COUNT)) as u8)
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its place among all.
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }
}

impl Keys {
    /// `prefix` was validated: 1 to 32 of `a-z`, `0-9`, `_`, `-`.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// What matches all keys of the store, for `SCAN`.
    pub(super) fn pattern(&self) -> String {
        format!("{}:*", self.prefix)
    }

    pub(super) fn marker(&self) -> String {
        format!("{}:store", self.prefix)
    }

    pub(super) fn record(&self, id: TokenId) -> String {
        self.of_token("t", id)
    }

    /// What is spent of the rate limits of a token.
    pub(super) fn rates(&self, id: TokenId) -> String {
        self.of_token("l", id)
    }

    /// What is spent of the quota of a token.
    pub(super) fn quota(&self, id: TokenId) -> String {
        self.of_token("q", id)
    }

    /// The batches of uses that were granted of a token ahead.
    pub(super) fn batches(&self, id: TokenId) -> String {
        self.of_token("g", id)
    }

    /// The ledger of a subject's use.
    pub(super) fn ledger(&self, subject: &Subject) -> String {
        self.of_subject("u", subject)
    }

    /// The closed hours of a day of a subject's use; they share the slot of the ledger.
    pub(super) fn hours(&self, subject: &Subject, day: Day) -> String {
        format!("{}:{}", self.ledger(subject), day.number())
    }

    /// The sums of the days of a subject's use; they share the slot of the ledger.
    pub(super) fn days(&self, subject: &Subject) -> String {
        self.of_subject("y", subject)
    }

    fn of_subject(&self, kind: &str, subject: &Subject) -> String {
        match subject {
            Subject::Token(id) => self.of_token(kind, *id),
            Subject::Namespace(namespace) => format!("{}:{{u:{namespace}}}:{kind}", self.prefix),
        }
    }

    /// The tokens of a namespace that are out of force, or will be.
    pub(super) fn out_of_force(&self, namespace: &Namespace) -> String {
        format!("{}:{{x:{namespace}}}", self.prefix)
    }

    /// The claim of the request whose own id is `root`; it shares the slot of that id's record.
    pub(super) fn claim(&self, root: TokenId) -> String {
        self.of_token("c", root)
    }

    /// How a pooled token is held.
    pub(super) fn tenure(&self, id: TokenId) -> String {
        self.of_token("h", id)
    }

    /// What all keys of a pool begin with, by the id of any of its tokens.
    pub(super) fn base(&self, id: TokenId) -> String {
        format!("{}:{{{}}}:", self.prefix, id.tag())
    }

    /// The tokens of a pool that are held, by its base and its place.
    pub(super) fn held(base: &str, place: &str) -> String {
        format!("{base}b:{place}")
    }

    /// What happened to the tokens of a pool and is not in the log yet, by its base and its place.
    pub(super) fn outbox(base: &str, place: &str) -> String {
        format!("{base}e:{place}")
    }

    fn of_token(&self, kind: &str, id: TokenId) -> String {
        format!("{}:{{{}}}:{kind}:{}", self.prefix, id.tag(), id.after_tag())
    }

    /// What remains of a token that vanished; it shares the slot of its record.
    pub(super) fn remains(&self, id: TokenId) -> String {
        format!("{}:{{{}}}:v:{}", self.prefix, id.tag(), id.after_tag())
    }

    pub(super) fn due(&self, shard: DueShard) -> String {
        format!("{}:{{due:{:02}}}", self.prefix, shard.0)
    }

    /// When something of a token is to be told by time alone; it shares the slot of its shard.
    pub(super) fn alarms(&self, shard: DueShard) -> String {
        format!("{}:a", self.due(shard))
    }

    /// The log of events.
    pub(super) fn events(&self) -> String {
        format!("{}:{{e}}:l", self.prefix)
    }

    /// The last event that was dropped; it shares the slot of the log.
    pub(super) fn dropped(&self) -> String {
        format!("{}:{{e}}:d", self.prefix)
    }

    /// The marks of changes; they share the slot of the log.
    pub(super) fn marks(&self) -> String {
        format!("{}:{{e}}:m", self.prefix)
    }

    /// Whose turn it is to tell what is due.
    pub(super) fn turn(&self) -> String {
        format!("{}:{{e}}:t", self.prefix)
    }

    pub(super) fn entries(&self, series: &SeriesName, bucket: u64) -> String {
        format!("{}:{{{series}:{bucket}}}:i", self.prefix)
    }

    pub(super) fn seal(&self, series: &SeriesName, bucket: u64) -> String {
        format!("{}:{{{series}:{bucket}}}:s", self.prefix)
    }

    pub(super) fn directory(&self, series: &SeriesName) -> String {
        format!("{}:{{{series}}}:d", self.prefix)
    }

    pub(super) fn namespaces(&self) -> String {
        format!("{}:{{s}}:n", self.prefix)
    }

    pub(super) fn pools(&self) -> String {
        format!("{}:{{s}}:p", self.prefix)
    }

    pub(super) fn absences(&self) -> String {
        format!("{}:{{s}}:a", self.prefix)
    }

    pub(super) fn registry(&self) -> String {
        format!("{}:{{r}}:h", self.prefix)
    }

    /// The log of the registry; it shares its slot.
    pub(super) fn log(&self) -> String {
        format!("{}:{{r}}:l", self.prefix)
    }

    /// The channel of what was added to the log.
    pub(super) fn news_channel(&self) -> String {
        format!("{}:news", self.prefix)
    }

    /// The channel that names who should ask again.
    pub(super) fn wake_channel(&self) -> String {
        format!("{}:wake", self.prefix)
    }

    /// The channel of notes that are for replicas, and that nobody reads.
    pub(super) fn note_channel(&self) -> String {
        format!("{}:note", self.prefix)
    }
}

/// What Redis hashes to find the slot of a key.
pub(super) fn slot_text(key: &str) -> &str {
    let tagged = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    tagged.map_or(key, |(tag, _)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("ta")
    }

    fn space() -> Namespace {
        Namespace::parse("shop").unwrap()
    }

    #[test]
    fn the_keys_of_one_token_share_a_slot() {
        let id = TokenId::parse("0123456789ABCDEFGHIJKL").unwrap();
        assert_eq!(keys().record(id), "ta:{01234567}:t:89ABCDEFGHIJKL");
        let others = [
            keys().claim(id),
            keys().rates(id),
            keys().quota(id),
            keys().batches(id),
            keys().remains(id),
            keys().tenure(id),
            keys().base(id),
            keys().ledger(&Subject::Token(id)),
            keys().hours(&Subject::Token(id), Day::from_number(7)),
            keys().days(&Subject::Token(id)),
        ];
        for other in others {
            assert_eq!(slot_text(&keys().record(id)), slot_text(&other));
            assert_ne!(keys().record(id), other);
        }
    }

    #[test]
    fn the_use_of_a_namespace_shares_a_slot_of_its_own() {
        let subject = Subject::Namespace(space());
        let (ledger, day) = (keys().ledger(&subject), Day::from_number(7));
        assert_eq!(ledger, "ta:{u:shop}:u");
        assert_eq!(keys().hours(&subject, day), "ta:{u:shop}:u:7");
        assert_eq!(slot_text(&ledger), slot_text(&keys().days(&subject)));
        assert_ne!(
            slot_text(&ledger),
            slot_text(&keys().out_of_force(&space()))
        );
    }

    #[test]
    fn the_registry_and_its_log_share_a_slot() {
        assert_eq!(keys().registry(), "ta:{r}:h");
        assert_eq!(slot_text(&keys().registry()), slot_text(&keys().log()));
        assert_ne!(keys().registry(), keys().log());
    }

    #[test]
    fn all_keys_that_events_of_changes_need_share_a_slot() {
        let all = [keys().events(), keys().dropped(), keys().marks()];
        assert_eq!(all, ["ta:{e}:l", "ta:{e}:d", "ta:{e}:m"]);
        assert!(all.iter().all(|key| slot_text(key) == "e"));
    }

    #[test]
    fn what_is_due_is_spread_over_the_shards_by_the_end_of_the_id() {
        let shard = |end: &str| {
            let id = format!("{}{end}", "0".repeat(22 - end.len()));
            DueShard::of(TokenId::parse(&id).unwrap())
        };
        assert_eq!(keys().due(shard("")), "ta:{due:00}");
        assert_eq!(keys().due(shard("z")), "ta:{due:61}");
        assert_eq!(keys().due(shard("10")), "ta:{due:62}");
        assert_eq!(keys().due(shard("13")), "ta:{due:01}");
        assert_eq!(DueShard::all().count(), 64);
        let first = DueShard::all().next().unwrap();
        let (due, alarms) = (keys().due(first), keys().alarms(first));
        assert_eq!(slot_text(&due), slot_text(&alarms));
        assert_eq!(alarms, "ta:{due:00}:a");
    }

    #[test]
    fn the_keys_of_one_bucket_share_a_slot_and_buckets_do_not() {
        let series = SeriesName::namespace(&space());
        let slot = |bucket| slot_text(&keys().entries(&series, bucket)).to_owned();
        assert_eq!(keys().entries(&series, 3), "ta:{n:shop:3}:i");
        assert_eq!(slot(3), slot_text(&keys().seal(&series, 3)));
        assert_ne!(slot(3), slot(4));
        assert_ne!(slot(3), slot_text(&keys().directory(&series)));
    }

    #[test]
    fn an_owner_cannot_inject_a_hash_tag() {
        for owner in ["{a}", "}:i", "a:b", "*", "{"] {
            let series = SeriesName::owner(&space(), &Owner::parse(owner).unwrap());
            let key = keys().entries(&series, 0);
            assert_eq!((key.matches('{').count(), key.matches('}').count()), (1, 1));
            let hash = series.to_string().rsplit(':').next().unwrap().to_owned();
            assert!(hash.len() == 22 && alphabet::is_base62(&hash), "{hash}");
        }
    }

    #[test]
    fn every_series_has_its_own_name() {
        let (owner, pool) = (Owner::parse("a").unwrap(), PoolName::parse("a").unwrap());
        let names = std::collections::HashSet::from([
            SeriesName::namespace(&space()),
            SeriesName::owner(&space(), &owner),
            SeriesName::pool(&space(), &pool),
        ]);
        assert_eq!(names.len(), 3);
    }
}

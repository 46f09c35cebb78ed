//! How much a peer may say on an HTTP/2 connection without asking anything (RFC 9113, section 10.5).

use std::time::{Duration, Instant};

/// Frames that ask nothing, at once; and, once these are spent, how many more each second.
pub const BURST: u32 = 10_000;
const EACH_SECOND: f64 = 1000.0;
/// What a request, and a frame with a part of a message, are worth in frames that ask nothing: those
/// go with them, to open windows, to measure the connection, to cancel.
const REQUEST: u32 = 8;
const PART: u32 = 1;
/// So many bytes of answers are worth one, too: their reader opens windows and measures. What
/// answers a ping (17 bytes) or settings (9) is worth much less than these cost.
const ANSWERED_BYTES: usize = 64;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PADDED: u8 = 8;

/// A call that its client resets within so long, or half of it, was hardly meant.
const HASTY: Duration = Duration::from_millis(100);

/// Follows the frames that a peer sends, from its preface on, and counts them.
#[derive(Debug)]
pub struct FrameBudget {
    left: u32,
    refilled: Instant,
    /// Bytes of answers that were not counted yet.
    answered: usize,
    /// Bytes of the present frame, or of the preface, that are still to come.
    skip: usize,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    opened: Opened,
}

/// Which streams the peer opened lately. Their numbers only ever grow, so one number parts those of
/// the present span from all others. Spans begin with what is read: however late this side gets to
/// what was sent together, it counts as sent together.
#[derive(Debug)]
struct Opened {
    last: u32,
    before_span: u32,
    span: Instant,
}

/// What a peer sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Requests, by their heads.
    pub requests: usize,
    /// Resets of streams that were only just opened.
    pub hasty_resets: usize,
}

/// The peer said too much that asks nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent;

impl FrameBudget {
    pub fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
            answered: 0,
            skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            opened: Opened {
                last: 0,
                before_span: 0,
                span: now,
            },
        }
    }

    /// Counts what the peer sent, however it is cut into pieces; answers what it was.
    pub fn read(&mut self, mut bytes: &[u8], now: Instant) -> Result<Sent, Spent> {
        let mut sent = Sent::default();
        self.opened.go_on(now);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == HEAD_BYTES {
                self.head_bytes = 0;
                let [a, b, c, kind, flags, stream @ ..] = self.head;
                let stream = u32::from_be_bytes(stream);
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = usize::try_from(length).unwrap_or(usize::MAX);
                self.count(kind, flags, length, now)?;
                match kind {
                    HEADERS => {
                        sent.requests += 1;
                        self.opened.last = self.opened.last.max(stream);
                    }
                    RST_STREAM => sent.hasty_resets += usize::from(self.opened.is_new(stream)),
                    _ => {}
                }
            }
        }
        Ok(sent)
    }

    /// How many frames that ask nothing may come now; more do as time passes.
    pub fn left(&self) -> u32 {
        self.left
    }

    fn count(&mut self, kind: u8, flags: u8, length: u32, now: Instant) -> Result<(), Spent> {
        let earned = match kind {
            HEADERS => REQUEST,
            // No client pads; padding would make a part of nothing.
            DATA if length > 0 && flags & PADDED == 0 => PART,
            _ => return self.spend(now),
        };
        self.earn(earned);
        Ok(())
    }

    /// Notes what was written to the peer.
    pub fn wrote(&mut self, bytes: usize) {
        self.answered += bytes;
        let earned = self.answered / ANSWERED_BYTES;
        self.answered %= ANSWERED_BYTES;
        self.earn(u32::try_from(earned).unwrap_or(BURST));
    }

    fn earn(&mut self, earned: u32) {
        self.left = self.left.saturating_add(earned).min(BURST);
    }

    fn spend(&mut self, now: Instant) -> Result<(), Spent> {
        if self.left == 0 {
            let since = now.saturating_duration_since(self.refilled);
            let earned = since.as_secs_f64() * EACH_SECOND;
            if earned < 1.0 {
                return Err(Spent);
            }
            let whole = earned.min(f64::from(BURST)).floor();
            // Between one and the burst.
            self.left = whole as u32;
            self.refilled = now - Duration::from_secs_f64((earned - whole).min(1.0) / EACH_SECOND);
        }
        self.left -= 1;
        Ok(())
    }
}

impl std::ops::Add for Sent {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            requests: self.requests + more.requests,
            hasty_resets: self.hasty_resets + more.hasty_resets,
        }
    }
}

impl Opened {
    fn go_on(&mut self, now: Instant) {
        if now.saturating_duration_since(self.span) >= HASTY {
            self.before_span = self.last;
            self.span = now;
        }
    }

    fn is_new(&self, stream: u32) -> bool {
        stream > self.before_span && stream <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: u8 = 6;
    const END_STREAM: u8 = 1;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + payload, 0xff);
        frame
    }

    fn after_preface(now: Instant) -> FrameBudget {
        let mut budget = FrameBudget::new(now);
        assert_eq!(budget.read(&[0; PREFACE_BYTES], now), Ok(Sent::default()));
        budget
    }

    #[test]
    fn a_flood_of_pings_is_cut_off_and_a_slow_stream_of_them_never() {
        let now = Instant::now();
        let ping = frame(PING, 0, 8);
        let mut flooded = after_preface(now);
        let passed = (0..)
            .take_while(|_| flooded.read(&ping, now).is_ok())
            .count();
        assert_eq!(passed, BURST as usize);
        let mut patient = after_preface(now);
        let at = |n: u32| now + Duration::from_millis(2) * n;
        assert!((0..3 * BURST).all(|n| patient.read(&ping, at(n)).is_ok()));
    }

    #[test]
    fn whoever_asks_may_also_cancel_and_open_windows() {
        let now = Instant::now();
        let mut budget = after_preface(now);
        let call = [
            frame(HEADERS, 4, 40),
            frame(DATA, END_STREAM, 60),
            frame(DATA, END_STREAM, 0),
            frame(8, 0, 4),
            frame(PING, 1, 8),
            frame(RST_STREAM, 0, 4),
        ]
        .concat();
        assert!((0..2 * BURST).all(|_| budget.read(&call, now).is_ok()));
    }

    #[test]
    fn a_reset_is_hasty_only_soon_after_its_call_began() {
        let now = Instant::now();
        let mut budget = after_preface(now);
        let of = |kind, stream: u8| [&frame(kind, 4, 0)[..8], &[stream]].concat();
        let hasty = |budget: &mut FrameBudget, frames: &[Vec<u8>], at| {
            budget
                .read(&frames.concat(), at)
                .map(|sent| sent.hasty_resets)
        };
        let breath = [of(HEADERS, 1), of(HEADERS, 3), of(RST_STREAM, 1)];
        assert_eq!(hasty(&mut budget, &breath, now), Ok(1));
        let later = now + HASTY;
        assert_eq!(hasty(&mut budget, &[of(RST_STREAM, 3)], later), Ok(0));
        let unopened = [of(RST_STREAM, 9), of(HEADERS, 5), of(RST_STREAM, 5)];
        assert_eq!(hasty(&mut budget, &unopened, later), Ok(1));
    }

    #[test]
    fn empty_parts_of_a_message_are_worth_nothing() {
        let now = Instant::now();
        let mut budget = after_preface(now);
        let empty = [frame(DATA, 0, 0), frame(DATA, PADDED, 9)];
        let passed = (0..).take_while(|n| budget.read(&empty[n % 2], now).is_ok());
        assert_eq!(passed.count(), BURST as usize);
    }

    #[test]
    fn whoever_reads_much_may_say_so_and_answers_to_pings_are_worth_less_than_pings() {
        let now = Instant::now();
        let mut reader = after_preface(now);
        let opened = frame(8, 0, 4);
        assert!((0..3 * BURST).all(|_| {
            reader.wrote(ANSWERED_BYTES);
            reader.read(&opened, now).is_ok()
        }));
        let mut flooder = after_preface(now);
        let ping = frame(PING, 0, 8);
        let passed = (0..).take_while(|_| {
            flooder.wrote(17);
            flooder.read(&ping, now).is_ok()
        });
        assert!(passed.count() < 2 * BURST as usize);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(
            frames in prop::collection::vec((0u8..12, any::<u8>(), 0usize..40), 0..60),
            cut in 1usize..50,
        ) {
            let now = Instant::now();
            let bytes: Vec<u8> = frames.iter().flat_map(|(k, f, p)| frame(*k, *f, *p)).collect();
            let (mut whole, mut pieces) = (after_preface(now), after_preface(now));
            whole.left = 20;
            pieces.left = 20;
            let in_pieces = bytes.chunks(cut).try_fold(Sent::default(), |all, piece| {
                Ok(all + pieces.read(piece, now)?)
            });
            prop_assert_eq!(whole.read(&bytes, now), in_pieces);
            prop_assert_eq!(whole.left, pieces.left);
        }
    }
}

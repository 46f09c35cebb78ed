//! Keeping one lease alive over a stream of beats, which is opened anew wherever it breaks.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;

use crate::transport::grpc::pb;
use pb::keep_alive_request::Target;
use pb::keep_alive_stream_response::Result as Answer;

use super::client::{Beats, Client};
use super::slept::slept;

/// When a question was asked, on this process's own clock, which stands still while the machine
/// sleeps, and how long the machine had slept by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub at: Instant,
    slept: Duration,
}

impl Asked {
    pub(super) fn now() -> Self {
        Self {
            at: Instant::now(),
            slept: slept(),
        }
    }
}

/// Until when the lease is held at least, on this process's own clock: whoever looks at it needs no
/// other clock, and no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    asked: Asked,
    /// How long it was to last from there.
    left: Duration,
}

impl Held {
    /// A lease that has `left` to last, as the answer to that question said. The clocks of this
    /// machine and of the store may run apart by a hundredth.
    pub(super) fn since(asked: Asked, left: Duration) -> Self {
        let left = left - left / 100;
        Self { asked, left }
    }

    /// When the lease is over, if the machine has slept for `slept` by then.
    pub(super) fn over_at(&self, slept: Duration) -> Instant {
        let meanwhile = slept.saturating_sub(self.asked.slept);
        self.asked.at + self.left.saturating_sub(meanwhile)
    }

    /// When to begin to end what needs the lease and may take `grace` for it.
    pub(super) fn leave_at(&self, grace: Duration, slept: Duration) -> Instant {
        let meanwhile = slept.saturating_sub(self.asked.slept);
        let early = meanwhile.saturating_add(grace.min(self.left / 3));
        self.asked.at + self.left.saturating_sub(early)
    }
}

/// Times between two attempts, the first and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Shortest wait for an answer, and shortest time between two beats.
const ANSWER_MIN: Duration = Duration::from_millis(200);
const BEAT_MIN: Duration = Duration::from_millis(10);

/// Keeps a lease alive as long as it is polled.
pub(super) struct Keeper {
    pub client: Client,
    pub lease_id: String,
    /// What each beat asks for; what Acquire did where absent.
    pub duration: Option<prost_types::Duration>,
    /// Longest wait for a connection or an answer.
    pub patience: Duration,
    pub held: watch::Sender<Held>,
}

/// Why a stream came to its end.
enum Broken {
    /// So did the lease, as the server says.
    Lost(String),
    /// It can be opened again.
    Stream,
}

impl Keeper {
    /// Beats, the first time at `next`, until the server says that the lease has ended: answers why.
    /// Whatever else goes wrong is tried again; who looks at `held` knows when it is too late.
    pub(super) async fn keep(mut self, mut next: Instant) -> String {
        let mut pause = PAUSE_MIN;
        loop {
            sleep_until(next).await;
            let begun = Instant::now();
            if let Broken::Lost(why) = self.stream().await {
                return why;
            }
            // One that breaks again and again is not opened without end.
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            let within = self.answer_within();
            next = Instant::now() + pause.min(within);
            pause = PAUSE_MAX.min(pause * 2);
            // A connection may be half open, and say so to nobody.
            if let Ok(client) = self.client.again(within).await {
                self.client = client;
            }
        }
    }

    /// Opens a stream and beats on it, at once and whenever the server says, until it breaks.
    async fn stream(&mut self) -> Broken {
        let (beats, outgoing) = mpsc::channel(1);
        let mut asked = Asked::now();
        let mut id = 0;
        // Before the stream is open, since a server may open it with its first answer.
        if beats.send(self.beat(id)).await.is_err() {
            return Broken::Stream;
        }
        let within = self.answer_within();
        let opening = timeout(within, self.client.keep_alive_stream(outgoing));
        let Ok(Ok(mut answers)) = opening.await else {
            return Broken::Stream;
        };
        loop {
            let next = match timeout(within, answer_to(&mut answers, id)).await {
                Ok(Some(Answer::Response(kept))) => match self.note(asked, &kept) {
                    Some(next) => next,
                    None => return Broken::Stream,
                },
                Ok(Some(Answer::Error(status))) => match Code::from(status.code) {
                    Code::NotFound | Code::FailedPrecondition => {
                        return Broken::Lost(status.message);
                    }
                    _ => return Broken::Stream,
                },
                Ok(None) | Err(_) => return Broken::Stream,
            };
            tokio::select! {
                () = sleep_until(next) => {}
                // No question is open, so the stream ended, or talks nonsense.
                _ = answers.message() => return Broken::Stream,
            }
            id += 1;
            asked = Asked::now();
            if beats.send(self.beat(id)).await.is_err() {
                return Broken::Stream;
            }
        }
    }

    fn beat(&self, id: u64) -> pb::KeepAliveStreamRequest {
        pb::KeepAliveStreamRequest {
            id,
            request: Some(pb::KeepAliveRequest {
                target: Some(Target::LeaseId(self.lease_id.clone())),
                lease_duration: self.duration,
            }),
        }
    }

    /// Notes what the answer to a beat of `asked` says, and answers when the next is due.
    fn note(&self, asked: Asked, kept: &pb::KeepAliveResponse) -> Option<Instant> {
        let (held, next) = held_since(asked, kept)?;
        self.held.send_replace(held);
        Some(next)
    }

    /// So short that several attempts fit into what is left after a beat was due.
    fn answer_within(&self) -> Duration {
        let left = self.held.borrow().left;
        self.patience.min(ANSWER_MIN.max(left / 9))
    }
}

/// How long the lease is held as the answer to a beat of `asked` says, and when the next is due. A
/// beat is due after a third of what is left, so that says how much that is, by the server's clock.
pub(super) fn held_since(asked: Asked, kept: &pb::KeepAliveResponse) -> Option<(Held, Instant)> {
    let third = Duration::try_from(kept.next_beat_after?).ok()?;
    let held = Held::since(asked, third.saturating_mul(3));
    Some((held, asked.at + third.max(BEAT_MIN)))
}

/// The answer to that beat; those to others are passed over.
async fn answer_to(answers: &mut Beats, id: u64) -> Option<Answer> {
    loop {
        let answer = answers.message().await.ok()??;
        if answer.id == id {
            return answer.result;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn asked(slept: u64) -> Asked {
        Asked {
            at: Instant::now(),
            slept: seconds(slept),
        }
    }

    #[test]
    fn a_lease_is_held_from_the_question_on_and_a_hundredth_less() {
        let asked = asked(7);
        let held = Held::since(asked, seconds(100));
        let awake = seconds(7);
        assert_eq!(held.over_at(awake), asked.at + seconds(99));
        assert_eq!(held.leave_at(seconds(10), awake), asked.at + seconds(89));
        assert_eq!(held.leave_at(seconds(90), awake), asked.at + seconds(66));
    }

    #[test]
    fn a_lease_goes_on_to_its_end_while_the_machine_sleeps() {
        let asked = asked(7);
        let held = Held::since(asked, seconds(100));
        assert_eq!(held.over_at(seconds(27)), asked.at + seconds(79));
        let leave_at = held.leave_at(seconds(10), seconds(27));
        assert_eq!(leave_at, asked.at + seconds(69));
        assert_eq!(held.over_at(seconds(9999)), asked.at, "long over");
        assert_eq!(held.leave_at(seconds(10), seconds(9999)), asked.at);
    }

    #[test]
    fn a_third_of_what_is_left_tells_how_much_that_is() {
        let asked = asked(0);
        let kept = |seconds| pb::KeepAliveResponse {
            next_beat_after: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..pb::KeepAliveResponse::default()
        };
        let (held, next) = held_since(asked, &kept(20)).unwrap();
        assert_eq!(
            (held, next),
            (Held::since(asked, seconds(60)), asked.at + seconds(20))
        );
        let (_, next) = held_since(asked, &kept(0)).unwrap();
        assert!(asked.at < next, "no server makes a client spin");
        assert_eq!(held_since(asked, &pb::KeepAliveResponse::default()), None);
    }
}

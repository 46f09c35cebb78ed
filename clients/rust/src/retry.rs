//! Further attempts, as a service config (gRFC A6) would make them: tonic's channels know none.

use std::{future::Future, time::Duration};

use tonic::{Code, Request, Status};

use crate::refusal::PUSHBACK;

const BEFORE: &str = "grpc-previous-rpc-attempts";

/// When a call is tried again that ended with UNAVAILABLE, unless the authority says when, or not to, by
/// `grpc-retry-pushback-ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Most attempts, the first among them.
    pub attempts_max: u32,
    /// Longest pause before the second attempt; each is a random part of it.
    pub initial_backoff: Duration,
    /// Longest pause at all.
    pub max_backoff: Duration,
    /// What the pause grows by.
    pub backoff_multiplier: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl RetryPolicy {
    /// What the clients in other languages have as their service config.
    pub const DEFAULT: Self = Self {
        attempts_max: 4,
        initial_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        backoff_multiplier: 3.0,
    };

    /// Calls until an attempt ends otherwise than with UNAVAILABLE, or no more are left. `call` gets a request for
    /// each; it must be one that may be repeated. Whoever sets a deadline puts it around all.
    ///
    /// # Errors
    ///
    /// That of the last attempt.
    pub async fn run<Q, A, F>(
        &self,
        request: Q,
        mut call: impl FnMut(Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        Q: Clone,
        F: Future<Output = Result<A, Status>>,
    {
        let mut backoff = self.initial_backoff;
        for before in 0.. {
            let mut attempt = Request::new(request.clone());
            if before > 0 {
                attempt.metadata_mut().insert(BEFORE, before.into());
            }
            let error = match call(attempt).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.code() != Code::Unavailable || before + 1 >= self.attempts_max {
                return Err(error);
            }
            let pause = match pushback(&error) {
                Pushback::None => backoff.mul_f64(rand::random_range(0.0..=1.0)),
                Pushback::After(pause) => pause,
                Pushback::Never => return Err(error),
            };
            tokio::time::sleep(pause).await;
            backoff = backoff
                .mul_f64(self.backoff_multiplier)
                .min(self.max_backoff);
        }
        unreachable!("the attempts end before the numbers do")
    }
}

enum Pushback {
    None,
    After(Duration),
    Never,
}

fn pushback(error: &Status) -> Pushback {
    let Some(said) = error.metadata().get(PUSHBACK) else {
        return Pushback::None;
    };
    let millis = said.to_str().ok().and_then(|said| said.parse().ok());
    millis.map_or(Pushback::Never, |millis| {
        Pushback::After(Duration::from_millis(millis))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn attempts(error: Status) -> u32 {
        let made = Cell::new(0);
        let _: Result<(), _> = RetryPolicy::default()
            .run((), |_| {
                made.set(made.get() + 1);
                let error = error.clone();
                async { Err(error) }
            })
            .await;
        made.get()
    }

    #[tokio::test(start_paused = true)]
    async fn only_unavailable_is_tried_again_and_not_for_ever() {
        assert_eq!(attempts(Status::unavailable("")).await, 4);
        assert_eq!(attempts(Status::internal("")).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_negative_pushback_ends_the_attempts() {
        let mut error = Status::unavailable("");
        let never = "-1".parse().expect("a header");
        error.metadata_mut().insert(PUSHBACK, never);
        assert_eq!(attempts(error).await, 1);
    }
}

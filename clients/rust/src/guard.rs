//! A layer for tonic servers: each call is judged by the authority before its handler runs.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::task::AbortHandle;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Layer, Service};

use crate::{
    cache::AnswerCache,
    channel::{Authority, BadCredential, authority},
    pb::{Token, ValidateRequest, ValidateResponse},
    policy::Policy,
    question, refusal,
    retry::RetryPolicy,
    watch::{Watched, watch},
};

/// Who makes a call that was let through, in the request's extensions.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The public facts of its token.
    pub token: Token,
    /// Name of the judgement, for logs and for Report.
    pub validation_id: String,
}

/// A layer that lets through what the authority calls valid, and nothing else.
///
/// The credential needs the permission `validate`, and `read` for the events that drop cached answers. Clones share one
/// cache and one Watch, which ends with the last of them.
#[derive(Clone)]
pub struct Guard {
    judge: Arc<Judge>,
}

struct Judge {
    policy: Policy,
    authority: Authority,
    watched: Arc<Watched>,
    watching: Option<AbortHandle>,
}

impl Guard {
    /// Guards by the authority at the other end of a channel, see [`connect`](crate::connect). To be called within
    /// a runtime, where the Watch is spawned.
    ///
    /// # Errors
    ///
    /// When the credential cannot stand in a header.
    pub fn new(channel: Channel, credential: &str, policy: Policy) -> Result<Self, BadCredential> {
        let authority = authority(channel, credential)?;
        let watched = Arc::new(Watched {
            cache: AnswerCache::new(policy.cache_entries),
            told: AtomicBool::new(false),
        });
        let watching = (policy.cache_entries > 0).then(|| {
            let (authority, namespace) = (authority.clone(), policy.namespace.clone());
            tokio::spawn(watch(authority, namespace, Arc::clone(&watched))).abort_handle()
        });
        let judge = Arc::new(Judge {
            policy,
            authority,
            watched,
            watching,
        });
        Ok(Self { judge })
    }

    /// Whether events are being told, so that whatever happens to a token drops its answers.
    #[must_use]
    pub fn watching(&self) -> bool {
        self.judge.watched.told.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("policy", &self.judge.policy)
            .finish_non_exhaustive()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl Judge {
    /// Who calls, or the status that the call is refused with.
    async fn admit(
        &self,
        question: ValidateRequest,
        timeout: Option<Duration>,
    ) -> Result<Caller, Status> {
        let key = question::key_of(&question);
        if let Some(kept) = self.watched.cache.get(&key) {
            return Ok(caller(kept));
        }
        let asked = self.watched.cache.asking();
        let deadline = self.policy.deadline;
        let deadline = timeout.map_or(deadline, |timeout| timeout.min(deadline));
        let answer = self.ask(question, deadline).await.map_err(|error| {
            tracing::warn!(code = ?error.code(), "a call was not judged");
            refusal::of_error(&error)
        })?;
        let answer = refusal::unless(answer)?;
        self.watched.cache.keep(key, &answer, asked);
        Ok(caller(answer))
    }

    async fn ask(
        &self,
        question: ValidateRequest,
        deadline: Duration,
    ) -> Result<ValidateResponse, Status> {
        let over = tokio::time::Instant::now() + deadline;
        let attempts = RetryPolicy::DEFAULT.run(question, |mut attempt| {
            attempt.set_timeout(over.saturating_duration_since(tokio::time::Instant::now()));
            let mut authority = self.authority.clone();
            async move { authority.validate(attempt).await }
        });
        let answered = tokio::time::timeout_at(over, attempts).await;
        let late = |_| Err(Status::deadline_exceeded("the authority did not answer"));
        answered
            .unwrap_or_else(late)
            .map(tonic::Response::into_inner)
    }
}

fn caller(answer: ValidateResponse) -> Caller {
    Caller {
        token: answer.token.unwrap_or_default(),
        validation_id: answer.validation_id,
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready goes along with the call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let judge = Arc::clone(&self.guard.judge);
        let method = request.uri().path();
        if judge.policy.unguarded.contains(method) {
            return Box::pin(inner.call(request));
        }
        let peer = question::peer_of(request.extensions());
        let question = question::about(method, request.headers(), peer, &judge.policy);
        let timeout = question::timeout_of(request.headers());
        Box::pin(async move {
            let admitted = match question {
                Ok(question) => judge.admit(question, timeout).await,
                Err(refusal) => Err(refusal),
            };
            match admitted {
                Ok(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refusal.into_http()),
            }
        })
    }
}

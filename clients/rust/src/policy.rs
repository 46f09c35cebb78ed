//! What a guard asks of each call, and how long it waits for the answer.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

type Scopes = dyn Fn(&str) -> Option<Vec<String>> + Send + Sync;

/// What a guard asks of each call; the default asks for a valid token that may call the method.
#[derive(Clone)]
pub struct Policy {
    pub(crate) namespace: String,
    pub(crate) scopes: Arc<Scopes>,
    pub(crate) unguarded: HashSet<String>,
    pub(crate) deadline: Duration,
    pub(crate) cache_entries: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            scopes: Arc::new(|_| Some(Vec::new())),
            unguarded: HashSet::new(),
            deadline: Duration::from_secs(1),
            cache_entries: 10_000,
        }
    }
}

impl Policy {
    /// Namespace that tokens must live in. Empty, the default: that of the guard's own credential; `-`: any.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The scopes that a full method (`/shop.Orders/Get`) needs; by default none. `None` refuses the method to
    /// everybody.
    #[must_use]
    pub fn scopes(
        mut self,
        scopes: impl Fn(&str) -> Option<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        self.scopes = Arc::new(scopes);
        self
    }

    /// Lets a full method pass without a token, such as `/grpc.health.v1.Health/Check`.
    #[must_use]
    pub fn unguarded(mut self, method: impl Into<String>) -> Self {
        self.unguarded.insert(method.into());
        self
    }

    /// Longest wait for a judgement, further attempts included; by default 1 second, and no longer than the judged
    /// call may take. Beyond it the call is refused.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Most answers to keep, where the authority allows it by `cache_ttl`; by default 10 000. 0 keeps none, and watches
    /// nothing.
    #[must_use]
    pub fn cache_entries(mut self, entries: usize) -> Self {
        self.cache_entries = entries;
        self
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("namespace", &self.namespace)
            .field("unguarded", &self.unguarded)
            .field("deadline", &self.deadline)
            .field("cache_entries", &self.cache_entries)
            .finish_non_exhaustive()
    }
}

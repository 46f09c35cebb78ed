//! What one look at one thing found, and what to do about it.

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// What was found; never a secret.
    pub found: String,
    pub judgement: Judgement,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Ok,
    /// It works, and may not go on so, or is not as it should be.
    Warn {
        advice: String,
    },
    /// A server would not start, not serve, or not keep its promises.
    Fail {
        advice: String,
    },
}

impl Judgement {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn { .. } => "warn",
            Self::Fail { .. } => "FAIL",
        }
    }

    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Warn { advice } | Self::Fail { advice } => Some(advice),
        }
    }
}

impl Finding {
    pub(super) fn ok(subject: &str, found: impl Into<String>) -> Self {
        Self {
            subject: subject.to_owned(),
            found: found.into(),
            judgement: Judgement::Ok,
        }
    }

    pub(super) fn warn(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        Self {
            judgement: Judgement::Warn { advice },
            ..Self::ok(subject, found)
        }
    }

    pub(super) fn fail(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        Self {
            judgement: Judgement::Fail { advice },
            ..Self::ok(subject, found)
        }
    }
}

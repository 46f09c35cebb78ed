//! Looking at how tokens were used: of one token, and of a namespace.

use clap::Args;

use crate::transport::grpc::pb;

use super::Session;
use super::chart::Ink;
use super::failure::{Exit, Failure};
use super::span;
use super::usage_words;

#[derive(Args, Debug)]
pub(super) struct UsageCommand {
    /// Public id of the token
    pub token_id: String,

    #[command(flatten)]
    pub window: Window,
}

#[derive(Args, Debug)]
pub(super) struct OverviewCommand {
    /// Tenant to look at, if not the caller's own; - for all
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    #[command(flatten)]
    pub window: Window,
}

#[derive(Args, Debug)]
pub(super) struct Window {
    /// How far back to look, such as 24h or 7d
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span::parse)]
    pub window: prost_types::Duration,
}

pub(super) async fn usage(
    session: &mut Session<'_>,
    command: UsageCommand,
) -> Result<Exit, Failure> {
    let UsageCommand { token_id, window } = command;
    let request = pb::UsageRequest {
        token_id,
        window: Some(window.window),
    };
    let used = session.client().await?.usage(request).await?;
    let (ink, palette) = (session.ink(), session.output.palette());
    session.answer(&used, |used| usage_words::usage(used, ink, palette))?;
    Ok(Exit::Done)
}

pub(super) async fn overview(
    session: &mut Session<'_>,
    command: OverviewCommand,
) -> Result<Exit, Failure> {
    let OverviewCommand { namespace, window } = command;
    let request = pb::OverviewRequest {
        namespace: session.namespace(namespace),
        window: Some(window.window),
    };
    let seen = session.client().await?.overview(request).await?;
    let (ink, palette) = (session.ink(), session.output.palette());
    session.answer(&seen, |seen| usage_words::overview(seen, ink, palette))?;
    if !session.json && seen.partial {
        let note = "There are more namespaces than are summed up; look at one with --namespace.";
        session.output.note(note);
    }
    Ok(Exit::Done)
}

impl Session<'_> {
    /// What charts are drawn with.
    fn ink(&self) -> Ink {
        Ink::of_locale(|name| self.environment.get(name).cloned())
    }
}

//! Envoy's access log service: how requests ended, as proxies log it, is taken as Report takes it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::coop;
use tonic::{Request, Response, Status, Streaming};

use crate::authority::Authority;
use crate::authority::access::Right;
use crate::authority::act::{self, Act};
use crate::metrics::{LogEntry, Metrics};
use crate::transport::connections::Lasting;

use super::caller::Shown;
use super::convert::{self, NoEnd};
use super::envoy::data::accesslog::v3::HttpAccessLogEntry;
use super::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use super::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use super::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use super::ext_authz::ExtAuthzTerms;
use super::standing::{Standing, Trouble};
use super::status;
use super::usage_calls::{explained, leaving};

/// The path of its one method.
pub(super) const PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Takes access logs.
#[derive(Clone)]
pub(super) struct AccessLogHandler {
    pub(super) authority: Arc<Authority>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) call_deadline: Duration,
    pub(super) message_bytes: usize,
    pub(super) terms: Arc<ExtAuthzTerms>,
}

#[tonic::async_trait]
impl AccessLogService for AccessLogHandler {
    /// Takes entries until either side ends the stream, or the caller lost its right.
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let shown = Shown::behind(
            act::AccessLogs::RPC,
            &request,
            &self.authority,
            &self.terms.certificate_peers,
        )?;
        let leaving = leaving(&request);
        let lasting = request.extensions().get::<Lasting>().cloned();
        // A proxy that has nothing to log says nothing.
        let _lasting = lasting.as_ref().map(Lasting::begin);
        let caller = Standing::begin(&self.authority, shown);
        let caller = tokio::time::timeout(self.call_deadline, caller).await;
        let caller = Arc::new(caller.map_err(|_| status::deadline_exceeded())??);
        self.authority.needs_usage()?;
        let lost = caller.clone().lost();
        tokio::select! {
            biased;
            lost = pin!(lost) => Err(lost.into()),
            // A proxy takes that for a sign to begin again, elsewhere; an error it would count.
            _ = leaving => Ok(()),
            ended = self.all(request.into_inner(), &caller) => ended,
        }?;
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}

impl AccessLogHandler {
    /// Takes one message after the other. What cannot be counted now is lost: proxies ask for no answer, so
    /// nothing is gained by ending the stream.
    async fn all(
        &self,
        mut messages: Streaming<StreamAccessLogsMessage>,
        caller: &Standing<act::AccessLogs>,
    ) -> Result<(), Status> {
        loop {
            // A peer that never pauses must not keep others from being served.
            coop::consume_budget().await;
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(broken) => return Err(explained(broken, self.message_bytes)),
            };
            let StreamAccessLogsMessage { log_entries } = message;
            let entries = match log_entries {
                Some(LogEntries::HttpLogs(logs)) => logs.log_entry,
                Some(LogEntries::TcpLogs(logs)) => {
                    self.count(LogEntry::Unnamed, logs.log_entry.len());
                    continue;
                }
                None => continue,
            };
            let mut left = entries.len();
            let taking = self.take(entries, caller, &mut left);
            let taken = tokio::time::timeout(self.call_deadline, taking).await;
            self.count(LogEntry::Lost, left);
            if let Ok(Err(lost)) = taken {
                return Err(lost);
            }
        }
    }

    /// Takes the entries of a message; `left` says how many nothing was decided of yet.
    async fn take(
        &self,
        entries: Vec<HttpAccessLogEntry>,
        caller: &Standing<act::AccessLogs>,
        left: &mut usize,
    ) -> Result<(), Status> {
        let right = match caller.right().await {
            Ok(right) => right,
            Err(Trouble::Loss(error)) => return Err(error.into()),
            Err(Trouble::Message(_)) => return Ok(()),
        };
        for entry in entries {
            let became = self.taken(entry, caller, &right).await;
            *left -= 1;
            self.count(became, 1);
        }
        Ok(())
    }

    async fn taken(
        &self,
        entry: HttpAccessLogEntry,
        caller: &Standing<act::AccessLogs>,
        right: &Right<act::AccessLogs>,
    ) -> LogEntry {
        let told = match convert::logged(entry) {
            Ok(told) => told,
            Err(NoEnd::Partial) => return LogEntry::Partial,
            Err(NoEnd::Unnamed) => return LogEntry::Unnamed,
        };
        match caller.authority().report(right, told).await {
            Ok(true) => LogEntry::Counted,
            Ok(false) => LogEntry::Unknown,
            Err(_) => LogEntry::Lost,
        }
    }

    fn count(&self, became: LogEntry, entries: usize) {
        self.metrics.usage.logged(became, entries);
    }
}

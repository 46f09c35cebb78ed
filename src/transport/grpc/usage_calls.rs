//! The calls about usage, behind the methods of `TokenService`.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::coop;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::authority::act::{self, Act};
use crate::authority::error::Error;
use crate::transport::connections::{Connection, Lasting};

use super::caller::Shown;
use super::standing::{Standing, Trouble};
use super::token_service::TokenServiceHandler;
use super::{convert, pb, status};

/// In the metadata of a broken-off Report: how many of its messages were taken.
const TAKEN: &str = "reports-taken";

impl TokenServiceHandler {
    pub(super) async fn token_usage(
        &self,
        request: Request<pb::UsageRequest>,
    ) -> Result<Response<pb::UsageResponse>, Status> {
        let (mut right, _, message) = self.permitted::<act::Usage, _>(request).await?;
        let result = match convert::usage_query(message) {
            Ok((id, window)) => self.authority.usage_of(&mut right, id, window).await,
            Err(error) => Err(error),
        };
        Ok(Response::new(convert::usage_told(right.conclude(result)?)))
    }

    pub(super) async fn namespace_overview(
        &self,
        request: Request<pb::OverviewRequest>,
    ) -> Result<Response<pb::OverviewResponse>, Status> {
        let (right, _, message) = self.permitted::<act::Overview, _>(request).await?;
        let result = match convert::overview_query(message) {
            Ok((namespaces, window)) => self.authority.overview(&right, &namespaces, window).await,
            Err(error) => Err(error),
        };
        let told = right.conclude(result)?;
        Ok(Response::new(convert::overview_told(told)))
    }

    /// Takes reports until either side ends the stream, or the caller lost its right.
    pub(super) async fn take_reports(
        &self,
        request: Request<Streaming<pb::ReportRequest>>,
    ) -> Result<Response<pb::ReportResponse>, Status> {
        let shown = Shown::by(act::Report::RPC, &request, &self.authority)?;
        let leaving = leaving(&request);
        let lasting = request.extensions().get::<Lasting>().cloned();
        // The peer may take its time.
        let _lasting = lasting.as_ref().map(Lasting::begin);
        let caller = Standing::begin(&self.authority, shown);
        let caller = tokio::time::timeout(self.call_deadline, caller).await;
        let caller = Arc::new(caller.map_err(|_| status::deadline_exceeded())??);
        self.authority.needs_usage()?;
        let mut reports = Reports {
            messages: request.into_inner(),
            deadline: self.call_deadline,
            message_bytes: self.message_bytes,
            taken: pb::ReportResponse::default(),
        };
        let lost = caller.clone().lost();
        let ended = tokio::select! {
            biased;
            lost = pin!(lost) => Err(lost.into()),
            alone = leaving => Err(match alone {
                true => status::connection_ends(),
                false => status::draining(),
            }),
            ended = reports.all(&caller) => ended,
        };
        let taken = reports.taken;
        match ended {
            Ok(()) => Ok(Response::new(taken)),
            Err(mut status) => {
                let count = MetadataValue::from(taken.accepted + taken.unknown);
                status.metadata_mut().insert(TAKEN, count);
                Err(status)
            }
        }
    }
}

/// Over when the connection takes no more calls; says whether it ends alone.
pub(super) fn leaving<T>(request: &Request<T>) -> impl Future<Output = bool> + Send + use<T> {
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    async move {
        match connection {
            Some(connection) => connection.leaving().await,
            None => pending().await,
        }
    }
}

/// The messages of a stream, and what became of those that were read.
struct Reports {
    messages: Streaming<pb::ReportRequest>,
    /// How long one may take.
    deadline: Duration,
    message_bytes: usize,
    taken: pb::ReportResponse,
}

impl Reports {
    /// Takes one after the other, so that all before an error were taken, and none after it.
    async fn all(&mut self, caller: &Standing<act::Report>) -> Result<(), Status> {
        let mut number = 0;
        loop {
            // A peer that never pauses must not keep others from being served.
            coop::consume_budget().await;
            let message = match self.messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(broken) => return Err(explained(broken, self.message_bytes)),
            };
            let taking = tokio::time::timeout(self.deadline, take(caller, message, number));
            match taking.await {
                Ok(Ok(true)) => self.taken.accepted += 1,
                Ok(Ok(false)) => self.taken.unknown += 1,
                Ok(Err(Trouble::Loss(error) | Trouble::Message(error))) => return Err(error.into()),
                Err(_) => return Err(status::deadline_exceeded()),
            }
            number += 1;
        }
    }
}

/// Why the messages of a stream broke off, of which none may be longer than that.
pub(super) fn explained(broken: Status, message_bytes: usize) -> Status {
    match broken.code() {
        Code::OutOfRange => status::too_large(message_bytes),
        Code::Internal | Code::InvalidArgument => status::undecodable(broken.message()),
        _ => status::with_request_id(broken),
    }
}

async fn take(
    caller: &Standing<act::Report>,
    message: pb::ReportRequest,
    number: u64,
) -> Result<bool, Trouble> {
    let right = caller.right().await?;
    let result = match convert::told(message, number) {
        Ok(told) => caller.authority().report(&right, told).await,
        Err(error) => Err::<bool, Error>(error),
    };
    right.answered(result).map_err(Trouble::Message)
}

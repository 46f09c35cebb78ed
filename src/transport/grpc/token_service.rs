//! `TokenService`: each method finds the caller, asks for the right, parses, acts, answers.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status, Streaming};

use crate::authority::Authority;
use crate::authority::access::Right;
use crate::authority::act::{self, Act};
use crate::authority::error::Error;

use super::caller::{InHand, call_of, session_of};
use super::convert;
use super::keep_alive_stream::Answers;
use super::pb;
use super::pb::revoke_request::Target;
use super::pb::token_service_server::TokenService;
use super::validate_calls::{Verdicts, judgement};
use super::watch_stream::Events;

/// The service over one authority.
#[derive(Clone)]
pub(super) struct TokenServiceHandler {
    pub(super) authority: Arc<Authority>,
    /// Longest that a call may take, but for what it waits.
    pub(super) call_deadline: Duration,
    /// Longest message that is accepted, in bytes.
    pub(super) message_bytes: usize,
    /// Most questions of one ValidateStream that are judged at once.
    pub(super) stream_messages: usize,
}

impl TokenServiceHandler {
    /// The caller's right to do `A`, what keeps the call in hand, and the message.
    pub(super) async fn permitted<A: Act, T: Sync>(
        &self,
        request: Request<T>,
    ) -> Result<(Right<A>, InHand, T), Error> {
        let session = session_of(A::RPC, &request, &self.authority).await?;
        let right = self.authority.permit::<A>(&session)?;
        let in_hand = InHand::of(&request);
        Ok((right, in_hand, request.into_inner()))
    }
}

#[tonic::async_trait]
impl TokenService for TokenServiceHandler {
    async fn validate(
        &self,
        request: Request<pb::ValidateRequest>,
    ) -> Result<Response<pb::ValidateResponse>, Status> {
        let (right, _, message) = self.permitted::<act::Validate, _>(request).await?;
        let result = judgement(&self.authority, &right, message).await;
        Ok(Response::new(right.conclude(result)?))
    }

    async fn batch_validate(
        &self,
        request: Request<pb::BatchValidateRequest>,
    ) -> Result<Response<pb::BatchValidateResponse>, Status> {
        self.validate_many(request).await
    }

    type ValidateStreamStream = Verdicts;

    async fn validate_stream(
        &self,
        request: Request<Streaming<pb::ValidateStreamRequest>>,
    ) -> Result<Response<Verdicts>, Status> {
        self.validate_all(request).await
    }

    async fn create(
        &self,
        request: Request<pb::CreateRequest>,
    ) -> Result<Response<pb::CreateResponse>, Status> {
        let (mut right, in_hand, message) = self.permitted::<act::Create, _>(request).await?;
        let authority = self.authority.clone();
        let issued = in_hand.see_through(async move {
            let result = match convert::order(message, authority.lease_terms()) {
                Ok(order) => authority.create(&mut right, order).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        Ok(Response::new(convert::issued(&issued.await?)))
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<pb::GetResponse>, Status> {
        let (mut right, _, pb::GetRequest { token_id }) =
            self.permitted::<act::Get, _>(request).await?;
        let result = match convert::token_id(&token_id) {
            Ok(id) => self.authority.get(&mut right, id).await,
            Err(error) => Err(error),
        };
        Ok(Response::new(convert::got(&right.conclude(result)?)))
    }

    async fn list(
        &self,
        request: Request<pb::ListRequest>,
    ) -> Result<Response<pb::ListResponse>, Status> {
        let (right, _, message) = self.permitted::<act::List, _>(request).await?;
        let result = match convert::list_query(message) {
            Ok(query) => self.authority.list(&right, query).await,
            Err(error) => Err(error),
        };
        Ok(Response::new(convert::listed(right.conclude(result)?)))
    }

    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> Result<Response<pb::ListNamespacesResponse>, Status> {
        let (right, _, message) = self.permitted::<act::ListNamespaces, _>(request).await?;
        let query = convert::namespaces_query(message);
        let result = self.authority.list_namespaces(&right, query).await;
        let listed = right.conclude(result)?;
        Ok(Response::new(convert::namespaces_listed(listed)))
    }

    async fn revoke(
        &self,
        mut request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        if let Some(Target::Secret(secret)) = &mut request.get_mut().target {
            // The secret is the credential: nobody is asked who they are.
            let secret = std::mem::take(secret);
            let order = convert::surrender_order(secret, &request.get_ref().reason);
            let call = call_of(&request, &self.authority);
            let in_hand = InHand::of(&request);
            let authority = self.authority.clone();
            in_hand
                .see_through(async move { authority.surrender(&call, order).await })
                .await?;
            return Ok(Response::new(pb::RevokeResponse { revoke_time: None }));
        }
        let (mut right, in_hand, message) = self.permitted::<act::Revoke, _>(request).await?;
        let authority = self.authority.clone();
        let revocation = in_hand.see_through(async move {
            let result = match convert::revoke_order(message) {
                Ok((id, reason)) => authority.revoke(&mut right, id, reason).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        let revoke_time = Some(convert::timestamp(revocation.await?.time));
        Ok(Response::new(pb::RevokeResponse { revoke_time }))
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRequest>,
    ) -> Result<Response<pb::UpdateResponse>, Status> {
        let (mut right, in_hand, message) = self.permitted::<act::Update, _>(request).await?;
        let authority = self.authority.clone();
        let updated = in_hand.see_through(async move {
            let result = match convert::patch(message, authority.lease_terms()) {
                Ok((id, patch)) => authority.update(&mut right, id, patch).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        let token = Some(convert::whole_token(&updated.await?));
        Ok(Response::new(pb::UpdateResponse { token }))
    }

    async fn rotate(
        &self,
        request: Request<pb::RotateRequest>,
    ) -> Result<Response<pb::RotateResponse>, Status> {
        let (mut right, in_hand, message) = self.permitted::<act::Rotate, _>(request).await?;
        let authority = self.authority.clone();
        let rotated = in_hand.see_through(async move {
            let result = match convert::rotate_order(message) {
                Ok(order) => authority.rotate(&mut right, order).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        Ok(Response::new(convert::rotated(&rotated.await?)))
    }

    async fn reset_limits(
        &self,
        request: Request<pb::ResetLimitsRequest>,
    ) -> Result<Response<pb::ResetLimitsResponse>, Status> {
        let (mut right, in_hand, pb::ResetLimitsRequest { token_id }) =
            self.permitted::<act::ResetLimits, _>(request).await?;
        let authority = self.authority.clone();
        let reset = in_hand.see_through(async move {
            let result = match convert::token_id(&token_id) {
                Ok(id) => authority.reset_limits(&mut right, id).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        Ok(Response::new(convert::limits_reset(&reset.await?)))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let (mut right, in_hand, pb::DeleteRequest { token_id }) =
            self.permitted::<act::Delete, _>(request).await?;
        let authority = self.authority.clone();
        let deleted = in_hand.see_through(async move {
            let result = match convert::token_id(&token_id) {
                Ok(id) => authority.delete(&mut right, id).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        deleted.await?;
        Ok(Response::new(pb::DeleteResponse {}))
    }

    type KeepAliveStreamStream = Answers;

    async fn batch_create(
        &self,
        request: Request<pb::BatchCreateRequest>,
    ) -> Result<Response<pb::BatchCreateResponse>, Status> {
        self.create_many(request).await
    }

    async fn acquire(
        &self,
        request: Request<pb::AcquireRequest>,
    ) -> Result<Response<pb::AcquireResponse>, Status> {
        self.acquire_lease(request).await
    }

    async fn release(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        self.release_lease(request).await
    }

    async fn keep_alive(
        &self,
        request: Request<pb::KeepAliveRequest>,
    ) -> Result<Response<pb::KeepAliveResponse>, Status> {
        self.keep_one_alive(request).await
    }

    async fn keep_alive_stream(
        &self,
        request: Request<Streaming<pb::KeepAliveStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        self.keep_many_alive(request).await
    }

    async fn list_pools(
        &self,
        request: Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        self.pools(request).await
    }

    type WatchStream = Events;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Events>, Status> {
        self.tell_events(request).await
    }

    async fn usage(
        &self,
        request: Request<pb::UsageRequest>,
    ) -> Result<Response<pb::UsageResponse>, Status> {
        self.token_usage(request).await
    }

    async fn overview(
        &self,
        request: Request<pb::OverviewRequest>,
    ) -> Result<Response<pb::OverviewResponse>, Status> {
        self.namespace_overview(request).await
    }

    async fn report(
        &self,
        request: Request<Streaming<pb::ReportRequest>>,
    ) -> Result<Response<pb::ReportResponse>, Status> {
        self.take_reports(request).await
    }

    async fn who_am_i(
        &self,
        request: Request<pb::WhoAmIRequest>,
    ) -> Result<Response<pb::WhoAmIResponse>, Status> {
        let session = session_of("WhoAmI", &request, &self.authority).await?;
        let pb::WhoAmIRequest {} = request.into_inner();
        let permissions = session.caller.grants.names();
        let caller = session.caller.identity.to_string();
        let own = self.authority.own_token(session).await?;
        let limits = own.as_ref().map(convert::limits_as_they_stand);
        let (rate_limits, quota_remaining) = limits.unwrap_or_default();
        Ok(Response::new(pb::WhoAmIResponse {
            token: own.as_ref().map(convert::whole_token),
            permissions,
            rate_limits,
            quota_remaining,
            caller,
        }))
    }
}

//! The calls about leases and pools, behind the methods of `TokenService`.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use crate::authority::act::{self, Act};

use super::caller::Shown;
use super::keep_alive_stream::{self, Answers};
use super::on_hold::HeldCall;
use super::pb::{keep_alive_request, release_request};
use super::standing::Standing;
use super::token_service::TokenServiceHandler;
use super::{convert, pb, status};

impl TokenServiceHandler {
    /// The edge allows for the longest wait; what the call takes besides its own is bounded here.
    pub(super) async fn acquire_lease(
        &self,
        request: Request<pb::AcquireRequest>,
    ) -> Result<Response<pb::AcquireResponse>, Status> {
        let shown = Shown::by(act::Acquire::RPC, &request, &self.authority)?;
        let (mut on_hold, wanted) = HeldCall::of(&request, shown, &self.authority);
        let permitted = self.permitted::<act::Acquire, _>(request);
        let permitted = tokio::time::timeout(self.call_deadline, permitted).await;
        let (mut right, in_hand, message) =
            permitted.map_err(|_| status::deadline_exceeded())??;
        let authority = self.authority.clone();
        let order = convert::acquire_order(message, authority.lease_terms());
        let wait = order.as_ref().map(|order| order.wait).unwrap_or_default();
        let leased = in_hand.see_through(async move {
            let result = match order {
                Ok(order) => authority.acquire(&mut right, order, &mut on_hold).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        let leased = tokio::time::timeout(self.call_deadline + wait, leased).await;
        let leased = leased.map_err(|_| status::deadline_exceeded())??;
        drop(wanted);
        Ok(Response::new(convert::acquired(&leased)))
    }

    pub(super) async fn release_lease(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        let authority = self.authority.clone();
        let target = &request.get_ref().target;
        let released = if let Some(release_request::Target::TokenId(_)) = target {
            let (mut right, in_hand, message) =
                self.permitted::<act::ForcedRelease, _>(request).await?;
            let released = in_hand.see_through(async move {
                let result = match convert::forced_release_order(message) {
                    Ok(id) => authority.force_release(&mut right, id).await,
                    Err(error) => Err(error),
                };
                right.conclude(result)
            });
            released.await?
        } else {
            let (mut right, in_hand, message) = self.permitted::<act::Release, _>(request).await?;
            let released = in_hand.see_through(async move {
                let result = match convert::release_order(message) {
                    Ok(id) => authority.release(&mut right, id).await,
                    Err(error) => Err(error),
                };
                right.conclude(result)
            });
            released.await?
        };
        Ok(Response::new(convert::released(&released)))
    }

    pub(super) async fn keep_one_alive(
        &self,
        request: Request<pb::KeepAliveRequest>,
    ) -> Result<Response<pb::KeepAliveResponse>, Status> {
        let authority = self.authority.clone();
        let target = &request.get_ref().target;
        if let Some(keep_alive_request::Target::TokenId(_)) = target {
            let (mut right, in_hand, message) =
                self.permitted::<act::TokenKeepAlive, _>(request).await?;
            let kept = in_hand.see_through(async move {
                let result = match convert::token_beat_order(message) {
                    Ok(id) => authority.keep_token_alive(&mut right, id).await,
                    Err(error) => Err(error),
                };
                right.conclude(result)
            });
            return Ok(Response::new(convert::kept(&kept.await?, None)));
        }
        let (right, in_hand, message) = self.permitted::<act::KeepAlive, _>(request).await?;
        let kept = in_hand.see_through(async move {
            let result = match convert::beat_order(message, authority.lease_terms()) {
                Ok((id, duration)) => {
                    let kept = authority.keep_alive(&right, id, duration).await;
                    kept.map(|kept| convert::kept(&kept, Some(id)))
                }
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        Ok(Response::new(kept.await?))
    }

    pub(super) async fn keep_many_alive(
        &self,
        request: Request<Streaming<pb::KeepAliveStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let shown = Shown::by(act::KeepAliveStream::RPC, &request, &self.authority)?;
        let worker = Standing::begin(&self.authority, shown).await?;
        let answers = keep_alive_stream::answers(worker, request.into_inner(), self.message_bytes);
        Ok(Response::new(answers))
    }

    pub(super) async fn pools(
        &self,
        request: Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        let (right, _, message) = self.permitted::<act::ListPools, _>(request).await?;
        let result = match convert::pools_query(message) {
            Ok(query) => self.authority.list_pools(&right, query).await,
            Err(error) => Err(error),
        };
        Ok(Response::new(convert::pools_listed(
            right.conclude(result)?,
        )))
    }

    pub(super) async fn create_many(
        &self,
        request: Request<pb::BatchCreateRequest>,
    ) -> Result<Response<pb::BatchCreateResponse>, Status> {
        let (right, in_hand, message) = self.permitted::<act::BatchCreate, _>(request).await?;
        let authority: Arc<_> = self.authority.clone();
        let created = in_hand.see_through(async move {
            let result = match convert::batch(message, authority.lease_terms()) {
                Ok(batch) => authority.batch_create(&right, batch).await,
                Err(error) => Err(error),
            };
            right.conclude(result)
        });
        let created = created.await?.iter().map(convert::issued).collect();
        Ok(Response::new(pb::BatchCreateResponse { created }))
    }
}

//! Revocations: tokens that every server may have in memory, made for it and ended one by one.

use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    RevokeRequest, RevokeResponse, Verdict, revoke_request::Target,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::Fault;
use crate::asking::{self, Caller, Subject};
use crate::creating;
use crate::driving::{Heard, Script};
use crate::servers::Server;

const REVOKE: &str = "/tokenauthority.v1.TokenService/Revoke";

/// Tokens of a store that are there to be revoked.
#[derive(Clone, Default)]
pub(crate) struct Stock(Arc<Mutex<Vec<Subject>>>);

impl Stock {
    fn take(&self) -> Option<Subject> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.pop()
    }

    /// Makes as many as are lacking to so many.
    pub(crate) async fn fill(&self, server: &Server, count: usize) -> Result<(), Fault> {
        let there = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        let lacking = count.saturating_sub(there);
        let mut made = creating::batches(server, lacking, asking::shop_token).await?;
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.append(&mut made);
        Ok(())
    }
}

/// Revokes what is in stock.
pub(crate) struct Revoking(pub(crate) Stock);

impl Script for Revoking {
    fn ask(&mut self, _: usize, message: &mut Vec<u8>) -> Option<&'static str> {
        let written = revoked(self.0.take()?.token_id).encode(message);
        written.expect("a vector has room");
        Some(REVOKE)
    }

    fn hear(&mut self, _: usize, answer: &[u8]) -> Result<Heard, Fault> {
        match RevokeResponse::decode(answer)?.revoke_time {
            Some(_) => Ok(Heard::Whole),
            None => Err("Revoke answered no time".into()),
        }
    }
}

fn revoked(token_id: String) -> RevokeRequest {
    RevokeRequest {
        target: Some(Target::TokenId(token_id)),
        reason: String::new(),
    }
}

/// An error unless a revoked token is refused at once over each connection, where it was in memory
/// before, and a token that never was cannot be revoked: else revocations would be made up.
pub(crate) async fn are_seen(server: &Server, caller: &Caller) -> Result<(), Fault> {
    let connections = &server.connections;
    let mut client = TokenServiceClient::new(connections[0].clone());
    let subject = creating::batches(server, 1, asking::shop_token)
        .await?
        .remove(0);
    are_told(connections, caller, &subject.secret, Verdict::Valid).await?;
    let nobody = "0".repeat(subject.token_id.len());
    client
        .revoke(caller.request(revoked(subject.token_id)))
        .await?;
    are_told(connections, caller, &subject.secret, Verdict::Revoked).await?;
    match client.revoke(caller.request(revoked(nobody))).await {
        Err(status) if status.code() == Code::NotFound => Ok(()),
        other => Err(format!("Revoke of a token that never was answered {other:?}").into()),
    }
}

async fn are_told(
    connections: &[Channel],
    caller: &Caller,
    secret: &str,
    expected: Verdict,
) -> Result<(), Fault> {
    for connection in connections {
        let mut client = TokenServiceClient::new(connection.clone());
        let question = caller.request(asking::question(secret));
        let verdict = client.validate(question).await?;
        let verdict = verdict.into_inner().verdict();
        if verdict != expected {
            let (said, wanted) = (verdict.as_str_name(), expected.as_str_name());
            return Err(format!("Validate answered {said} rather than {wanted}").into());
        }
    }
    Ok(())
}

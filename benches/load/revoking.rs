//! Revocations: tokens that every server may have in memory, made for it and ended one by one.

use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    BatchCreateRequest, RevokeRequest, Verdict, revoke_request::Target,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::Fault;
use crate::asking::{self, Caller, Subject};

/// How many revoke at once at most: so few that what is seen is how long a change takes to be known
/// everywhere, and not how long it waits for a processor.
pub(crate) const CALLERS_MAX: usize = 4;
/// How many tokens a caller makes when it has none left.
const STOCK: u32 = 100;

/// Makes tokens to be revoked.
pub(crate) async fn stock(
    client: &mut TokenServiceClient<Channel>,
    caller: &Caller,
) -> Result<Vec<Subject>, Fault> {
    let wanted = BatchCreateRequest {
        template: Some(asking::shop_token(0)),
        count: STOCK,
    };
    let made = client.batch_create(caller.request(wanted)).await?;
    let made = made.into_inner().created.into_iter().map(|one| {
        let token = one.token.ok_or("BatchCreate answered no token")?;
        Ok(Subject {
            secret: one.secret,
            token_id: token.token_id,
        })
    });
    made.collect()
}

/// Revokes a token; an error unless it was revoked by this.
pub(crate) async fn revoke(
    client: &mut TokenServiceClient<Channel>,
    caller: &Caller,
    token_id: &str,
) -> Result<(), Fault> {
    let request = RevokeRequest {
        target: Some(Target::TokenId(token_id.to_owned())),
        reason: String::new(),
    };
    let answer = client.revoke(caller.request(request)).await?.into_inner();
    match answer.revoke_time {
        Some(_) => Ok(()),
        None => Err("Revoke answered no time".into()),
    }
}

/// An error unless a revoked token is refused at once over each connection, where it was in memory
/// before, and a token that never was cannot be revoked: else revocations would be made up.
pub(crate) async fn are_seen(connections: &[Channel], caller: &Caller) -> Result<(), Fault> {
    let mut client = TokenServiceClient::new(connections[0].clone());
    let subject = stock(&mut client, caller).await?.remove(0);
    are_told(connections, caller, &subject.secret, Verdict::Valid).await?;
    revoke(&mut client, caller, &subject.token_id).await?;
    are_told(connections, caller, &subject.secret, Verdict::Revoked).await?;
    let nobody = "0".repeat(subject.token_id.len());
    let made_up = revoke(&mut client, caller, &nobody).await;
    let status = made_up
        .as_ref()
        .err()
        .and_then(|fault| fault.downcast_ref::<tonic::Status>());
    match status.map(tonic::Status::code) {
        Some(Code::NotFound) => Ok(()),
        _ => Err(format!("Revoke of a token that never was answered {made_up:?}").into()),
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

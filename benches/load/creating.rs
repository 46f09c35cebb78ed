//! Create: tokens as a shop would have them, one by one; and many at once, where only having them matters.

use prost::Message;
use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{BatchCreateRequest, CreateRequest, CreateResponse};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::Fault;
use crate::asking::{self, Caller, Subject};
use crate::driving::{Heard, Script};
use crate::servers::{ROOT_TOKEN, Server};

const CREATE: &str = "/tokenauthority.v1.TokenService/Create";
/// How many tokens a batch makes at most, and how many batches are made at once.
const BATCH_MAX: usize = 1000;
const BATCHES_AT_ONCE: usize = 4;

/// Creates one token after the other.
pub(crate) struct Creating {
    orders: Vec<Vec<u8>>,
    next: usize,
}

impl Creating {
    pub(crate) fn new() -> Self {
        let orders = (0..100).map(|number| asking::shop_token(number).encode_to_vec());
        Self {
            orders: orders.collect(),
            next: 0,
        }
    }
}

impl Script for Creating {
    fn ask(&mut self, _: usize, message: &mut Vec<u8>) -> Option<&'static str> {
        self.next = (self.next + 1) % self.orders.len();
        message.extend_from_slice(&self.orders[self.next]);
        Some(CREATE)
    }

    fn hear(&mut self, _: usize, answer: &[u8]) -> Result<Heard, Fault> {
        let created = CreateResponse::decode(answer)?;
        let token = created.token.ok_or("Create answered no token")?;
        let expected = token.token_id.as_str();
        match created.secret.contains(expected) && token.revision > 0 {
            true => Ok(Heard::Whole),
            false => Err(format!("Create answered a secret that is not one of {expected}").into()),
        }
    }
}

/// Makes `count` tokens, a batch of them from each order.
pub(crate) async fn batches(
    server: &Server,
    count: usize,
    order: fn(usize) -> CreateRequest,
) -> Result<Vec<Subject>, Fault> {
    let root = Caller::bearing(ROOT_TOKEN);
    let (mut making, mut made) = (JoinSet::new(), Vec::with_capacity(count));
    for (number, begin) in (0..count).step_by(BATCH_MAX).enumerate() {
        let wanted = BatchCreateRequest {
            template: Some(order(number)),
            count: u32::try_from(BATCH_MAX.min(count - begin))?,
        };
        let connections = &server.connections;
        let connection = connections[number % connections.len()].clone();
        making.spawn(batch(connection, root.request(wanted)));
        if making.len() == BATCHES_AT_ONCE
            && let Some(batch) = making.join_next().await
        {
            made.append(&mut batch??);
        }
    }
    while let Some(batch) = making.join_next().await {
        made.append(&mut batch??);
    }
    Ok(made)
}

async fn batch(
    connection: Channel,
    wanted: tonic::Request<BatchCreateRequest>,
) -> Result<Vec<Subject>, Fault> {
    let mut client = TokenServiceClient::new(connection);
    let made = client.batch_create(wanted).await?.into_inner().created;
    let made = made.into_iter().map(|one| {
        let token = one.token.ok_or("BatchCreate answered no token")?;
        Ok(Subject {
            secret: one.secret,
            token_id: token.token_id,
        })
    });
    made.collect()
}

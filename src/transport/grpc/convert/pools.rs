//! ListPools on the wire.

use crate::authority::error::Error;
use crate::authority::pools::{PoolsListed, PoolsQuery};
use crate::domain::flaw::Violations;
use crate::domain::page::PageSize;
use crate::domain::pool::{Pool, Standing};
use crate::transport::grpc::pb;

use super::{namespaces, sound};

pub(in crate::transport) fn pools_query(
    request: pb::ListPoolsRequest,
) -> Result<PoolsQuery, Error> {
    let pb::ListPoolsRequest {
        namespace,
        page_size,
        page_token,
    } = request;
    let mut flaws = Violations::default();
    let namespaces = namespaces(&mut flaws, &namespace);
    let query = namespaces.map(|namespaces| PoolsQuery {
        namespaces,
        page_size: PageSize::asked(page_size),
        page_token,
    });
    sound(query, flaws)
}

pub(in crate::transport) fn pools_listed(listed: PoolsListed) -> pb::ListPoolsResponse {
    let PoolsListed {
        pools,
        next_page_token,
    } = listed;
    let standing = |(pool, standing): (Pool, Standing)| {
        let Standing {
            available,
            leased,
            unavailable,
            waiting,
        } = standing;
        pb::PoolStanding {
            namespace: pool.namespace.to_string(),
            pool: pool.name.as_str().to_owned(),
            available,
            leased,
            unavailable,
            waiting,
        }
    };
    pb::ListPoolsResponse {
        pools: pools.into_iter().map(standing).collect(),
        next_page_token,
    }
}

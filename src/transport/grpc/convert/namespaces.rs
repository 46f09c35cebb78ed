//! ListNamespaces on the wire.

use crate::authority::namespaces::{NamespacesListed, NamespacesQuery};
use crate::domain::page::PageSize;
use crate::transport::grpc::pb;

pub(in crate::transport) fn namespaces_query(
    request: pb::ListNamespacesRequest,
) -> NamespacesQuery {
    let pb::ListNamespacesRequest {
        page_size,
        page_token,
    } = request;
    NamespacesQuery {
        page_size: PageSize::asked(page_size),
        page_token,
    }
}

pub(in crate::transport) fn namespaces_listed(
    listed: NamespacesListed,
) -> pb::ListNamespacesResponse {
    let NamespacesListed {
        populations,
        next_page_token,
    } = listed;
    let summaries = populations
        .into_iter()
        .map(|population| pb::NamespaceSummary {
            namespace: population.namespace.to_string(),
            tokens: population.tokens,
        });
    pb::ListNamespacesResponse {
        namespaces: summaries.collect(),
        next_page_token,
    }
}

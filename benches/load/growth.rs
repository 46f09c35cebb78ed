//! What a page of a listing and a lease cost where there are many tokens, beside what they cost where there
//! are few.

use std::time::{Duration, Instant};

use token_authority::transport::grpc::pb::token_service_client::TokenServiceClient;
use token_authority::transport::grpc::pb::{
    AcquireRequest, ListRequest, ReleaseRequest, release_request::Target,
};
use tonic::transport::Channel;

use crate::asking::Caller;
use crate::leasing::{self, POOL};
use crate::options::Options;
use crate::rows::plain_token;
use crate::servers::{ROOT_TOKEN, Server};
use crate::{Fault, Progress, creating, table};

/// Few tokens, and few in the pool.
const FEW: usize = 1000;
const CONNECTIONS: usize = 2;
/// Pages, and leases, of which the median is told; of few and of many in turn, so that a machine whose
/// speed drifts is as fast for one as for the other.
const TIMES: usize = 400;

/// A store's: the median of many tokens to that of few.
pub(crate) struct Growth {
    pub(crate) store: &'static str,
    pub(crate) tokens: usize,
    pub(crate) page: f64,
    pub(crate) lease: f64,
}

/// Of both stores; as many tokens beside as many in one pool.
pub(crate) async fn measure(options: &Options, progress: &Progress) -> Result<[Growth; 2], Fault> {
    let many = options.filling();
    let few = FEW.min(many);
    let mut growths = Vec::new();
    for store in ["SQLite", "Redis"] {
        let mut sites = Vec::new();
        for count in [few, many] {
            progress.note(&format!(
                "filling {store} with {count} tokens, and a pool of as many"
            ));
            let server = match store {
                "SQLite" => Server::on_sqlite(CONNECTIONS, &[]).await?,
                _ => Server::on_redis(1, CONNECTIONS, &[]).await?,
            };
            creating::batches(&server, count, plain_token).await?;
            creating::batches(&server, count, leasing::pooled_token).await?;
            sites.push(Site::of(server));
        }
        for _ in 0..TIMES {
            for site in &mut sites {
                site.turn().await?;
            }
        }
        let [(few_page, few_lease), (page, lease)] =
            [0, 1].map(|place: usize| (sites[place].page(), sites[place].lease()));
        growths.push(Growth {
            store,
            tokens: many,
            page: page / few_page,
            lease: lease / few_lease,
        });
    }
    growths
        .try_into()
        .map_err(|_| "there are two stores".into())
}

/// A server, and how long each page of it took, and each lease.
struct Site {
    client: TokenServiceClient<Channel>,
    root: Caller,
    page_token: String,
    pages: Vec<Duration>,
    leases: Vec<Duration>,
    _server: Server,
}

impl Site {
    fn of(server: Server) -> Self {
        Self {
            client: TokenServiceClient::new(server.connections[0].clone()),
            root: Caller::bearing(ROOT_TOKEN),
            page_token: String::new(),
            pages: Vec::new(),
            leases: Vec::new(),
            _server: server,
        }
    }

    fn page(&self) -> f64 {
        median(&self.pages)
    }

    fn lease(&self) -> f64 {
        median(&self.leases)
    }

    /// One page, and one lease, taken and given back.
    async fn turn(&mut self) -> Result<(), Fault> {
        let wanted = ListRequest {
            page_token: std::mem::take(&mut self.page_token),
            ..ListRequest::default()
        };
        let begun = Instant::now();
        let page = self.client.list(self.root.request(wanted)).await?;
        self.pages.push(begun.elapsed());
        let page = page.into_inner();
        if page.tokens.is_empty() {
            return Err("a page of a full store is empty".into());
        }
        self.page_token = page.next_page_token;
        let wanted = AcquireRequest {
            pool: POOL.to_owned(),
            ..AcquireRequest::default()
        };
        let begun = Instant::now();
        let granted = self.client.acquire(self.root.request(wanted)).await?;
        let lease = granted.into_inner().lease.ok_or("no lease was granted")?;
        let given_back = ReleaseRequest {
            target: Some(Target::LeaseId(lease.lease_id)),
            force: false,
        };
        self.client.release(self.root.request(given_back)).await?;
        self.leases.push(begun.elapsed());
        Ok(())
    }
}

fn median(spans: &[Duration]) -> f64 {
    table::median(spans.iter().map(Duration::as_secs_f64).collect())
}

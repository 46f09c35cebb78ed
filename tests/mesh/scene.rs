//! A whole mesh: the authority, services, and an Envoy between them and their clients.

use std::net::SocketAddr;

use token_authority::transport::grpc::pb::{self, CreateRequest};
use tonic::metadata::MetadataMap;

use crate::client::{self, Answer};
use crate::envoy::{self, Changes, Envoy};
use crate::harness::{Authority, Client, create, named};
use crate::kinds::Kind;
use crate::upstream::{self, Upstream};

/// All that runs.
pub(crate) struct Scene {
    pub(crate) authority: Authority,
    pub(crate) envoy: Envoy,
    pub(crate) shop: Upstream<String>,
    pub(crate) shop_grpc: Upstream<MetadataMap>,
    pub(crate) root: Client,
}

impl Scene {
    /// On SQLite, as shipped.
    pub(crate) async fn of(kind: &Kind) -> Self {
        Self::with(kind, Authority::before_sqlite_start(), |_| {}).await
    }

    /// With an authority that is not yet started, and further changes to what is shipped.
    pub(crate) async fn with(
        kind: &Kind,
        authority: Authority,
        change: impl FnOnce(&mut Changes),
    ) -> Self {
        let socket = authority.folder.path().join("ta.sock");
        let listen = match kind.unix {
            true => format!("127.0.0.1:0,unix:{}", socket.display()),
            false => "127.0.0.1:0".to_owned(),
        };
        let mut authority = authority.listening_on(&listen);
        authority.start();
        let mut root = authority.root().await;
        let shop = upstream::over_http().await;
        let shop_grpc = upstream::over_grpc().await;
        let place = match kind.unix {
            true => envoy::Authority::Unix(&socket),
            false => envoy::Authority::Tcp(&authority.address),
        };
        let mut changes = Changes::of(kind, &place, shop.address, shop_grpc.address);
        change(&mut changes);
        let (_, secret) = create(&mut root, sidecar()).await;
        let envoy = Envoy::start(kind, &changes, &secret).await;
        envoy.finds_authority(true).await;
        Self {
            authority,
            envoy,
            shop,
            shop_grpc,
            root,
        }
    }

    pub(crate) fn ingress(&self) -> SocketAddr {
        self.envoy.ingress
    }

    /// A token of the shop's clients.
    pub(crate) async fn token(&mut self, request: CreateRequest) -> (pb::Token, String) {
        create(&mut self.root, request).await
    }

    pub(crate) async fn get(&self, target: &str, secret: &str) -> Answer {
        client::get(self.ingress(), target, secret).await
    }
}

/// What Envoy is to the authority.
pub(crate) fn sidecar() -> CreateRequest {
    let scopes = ["authority:validate", "authority:report"];
    CreateRequest {
        scopes: scopes.map(str::to_owned).to_vec(),
        ..named("sidecar")
    }
}

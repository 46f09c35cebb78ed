//! Bytes that no client library would send: undecodable, oversized, to methods that do not exist.

use std::str::FromStr;
use std::time::Duration;

use bytes::{Buf, BufMut};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};
use tower::{Service, ServiceExt};

use crate::harness::{Authority, ROOT_TOKEN, create, named, reason};

/// Sends bytes as they are, whatever the method expects.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = usize;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = buffer.remaining();
        buffer.advance(length);
        Ok(Some(length))
    }
}

/// Calls a method by its path, and answers how many bytes came back.
pub(crate) async fn send(
    authority: &Authority,
    credential: &str,
    path: &str,
    message: Vec<u8>,
) -> Result<usize, Status> {
    let (mut client, request, path) = prepared(authority, credential, path, message).await;
    client
        .unary(request, path, Raw)
        .await
        .map(tonic::Response::into_inner)
}

/// Sends a message that is answered by a stream, as far as to its beginning.
pub(crate) async fn open(
    authority: &Authority,
    credential: &str,
    path: &str,
    message: Vec<u8>,
) -> Result<(), Status> {
    let (mut client, request, path) = prepared(authority, credential, path, message).await;
    client.server_streaming(request, path, Raw).await.map(drop)
}

type Prepared = (
    tonic::client::Grpc<tonic::transport::Channel>,
    Request<Vec<u8>>,
    http::uri::PathAndQuery,
);

async fn prepared(
    authority: &Authority,
    credential: &str,
    path: &str,
    message: Vec<u8>,
) -> Prepared {
    let channel = authority.endpoint().connect().await.expect("a connection");
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("a ready channel");
    let mut request = Request::new(message);
    let credential = credential.parse().expect("visible ASCII");
    request.metadata_mut().insert("x-api-key", credential);
    // Errors repeat it; so that equal errors are equal.
    let id = "raw".parse().expect("visible ASCII");
    request.metadata_mut().insert("x-request-id", id);
    let path = http::uri::PathAndQuery::from_str(path).expect("a sound path");
    (client, request, path)
}

pub(crate) async fn a_call_that_never_says_what_it_wants_is_ended_in_time(
    mut authority: Authority,
) {
    authority.stop("TERM");
    let mut authority = authority.with(&["--set", "limits.call_deadline=1s"]);
    authority.start();
    authority.serving(true).await;
    for method in ["Get", "Acquire"] {
        let channel = authority.endpoint().connect().await.expect("a connection");
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("a ready channel");
        let path = format!("/tokenauthority.v1.TokenService/{method}");
        let path = http::uri::PathAndQuery::from_str(&path).expect("a sound path");
        let silence = tokio_stream::pending::<Vec<u8>>();
        let calling = client.client_streaming(Request::new(silence), path, Raw);
        let end = tokio::time::timeout(Duration::from_secs(5), calling).await;
        let end = end.expect("an answer in time").map(drop).unwrap_err();
        assert_eq!(end.code(), Code::DeadlineExceeded, "{method}: {end:?}");
    }
}

pub(crate) async fn text_that_is_not_utf8_is_an_invalid_argument(authority: Authority) {
    authority.serving(true).await;
    // Field 1, two bytes that are not UTF-8; then a field that ends too early.
    for message in [vec![0x0a, 2, 0xff, 0xfe], vec![0x0a, 200, 1], vec![0xff; 9]] {
        let status = send(
            &authority,
            ROOT_TOKEN,
            "/tokenauthority.v1.TokenService/Validate",
            message,
        )
        .await
        .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "UNDECODABLE_MESSAGE")
        );
    }
}

pub(crate) async fn an_oversized_message_is_refused_and_the_server_lives_on(authority: Authority) {
    let mut root = authority.root().await;
    let status = send(
        &authority,
        ROOT_TOKEN,
        "/tokenauthority.v1.TokenService/Create",
        vec![0; 10 << 20],
    )
    .await
    .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
    );
    assert!(status.message().contains("131072"), "{}", status.message());
    create(&mut root, named("alive")).await;
}

pub(crate) async fn an_unknown_method_is_unimplemented(authority: Authority) {
    authority.serving(true).await;
    for method in [
        "/tokenauthority.v1.TokenService/Nothing",
        "/nothing.Service/Nothing",
    ] {
        let status = send(&authority, ROOT_TOKEN, method, Vec::new())
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unimplemented, "METHOD_UNKNOWN"),
            "{method}"
        );
    }
}

pub(crate) async fn a_broken_frame_is_an_invalid_argument(authority: Authority) {
    authority.serving(true).await;
    let mut channel = authority.channel();
    let method = "tokenauthority.v1.TokenService/Validate";
    // Nothing; too short for a frame; compressed by nothing; shorter than it says; of no known kind.
    let bodies = ["", "x", "\u{1}\0\0\0\0", "\0\0\0\0\u{9}x", "\u{7}\0\0\0\0"];
    for body in bodies {
        let request = http::Request::post(format!("http://{}/{method}", authority.address));
        let request = request.header("content-type", "application/grpc");
        let request = request.header("x-api-key", ROOT_TOKEN);
        let request = request.body(tonic::body::Body::new(body.to_owned()));
        let channel = channel.ready().await.unwrap();
        let answer = channel.call(request.unwrap()).await.unwrap();
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "UNDECODABLE_MESSAGE"),
            "{body:?}: {status:?}"
        );
    }
}

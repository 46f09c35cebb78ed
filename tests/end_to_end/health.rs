//! Health and reflection, as tools use them.

use std::collections::BTreeSet;

use prost_reflect::DescriptorPool;
use tokio_stream::StreamExt;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::Authority;

pub(crate) async fn health_is_told_of_every_name(authority: Authority) {
    authority.serving(true).await;
    for name in [
        "",
        "envoy.service.auth.v3.Authorization",
        "tokenauthority.v1.TokenService",
        "tokenauthority.v1.TokenService.management",
    ] {
        assert_eq!(
            authority.health(name).await,
            Some(ServingStatus::Serving),
            "{name}"
        );
    }
    assert_eq!(authority.health("unknown").await, None);
}

const SERVICES: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "tokenauthority.v1.TokenService",
    "envoy.service.auth.v3.Authorization",
    "google.rpc.BadRequest",
];

pub(crate) async fn both_reflections_describe_every_service_with_comments(authority: Authority) {
    authority.serving(true).await;
    let mut newer = v1::server_reflection_client::ServerReflectionClient::new(authority.channel());
    let mut older =
        v1alpha::server_reflection_client::ServerReflectionClient::new(authority.channel());
    use v1::server_reflection_request::MessageRequest as Ask;
    use v1::server_reflection_response::MessageResponse as Answer;
    use v1alpha::server_reflection_request::MessageRequest as OldAsk;
    use v1alpha::server_reflection_response::MessageResponse as OldAnswer;

    let ask = |message_request| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = tokio_stream::iter([ask(Ask::ListServices(String::new()))]);
    let mut answers = newer
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let Some(Ok(answer)) = answers.next().await else {
        panic!("an answer")
    };
    let Some(Answer::ListServicesResponse(list)) = answer.message_response else {
        panic!("a list")
    };
    let names: BTreeSet<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        SERVICES[..4]
            .iter()
            .filter(|name| !name.contains("reflection"))
            .all(|name| names.contains(*name)),
        "{names:?}"
    );

    for symbol in SERVICES.iter().filter(|name| !name.contains("reflection")) {
        let asked = tokio_stream::iter([ask(Ask::FileContainingSymbol((*symbol).to_owned()))]);
        let mut answers = newer
            .server_reflection_info(asked)
            .await
            .unwrap()
            .into_inner();
        let Some(Ok(answer)) = answers.next().await else {
            panic!("an answer")
        };
        let Some(Answer::FileDescriptorResponse(found)) = answer.message_response else {
            panic!("{symbol}")
        };
        let old = v1alpha::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(OldAsk::FileContainingSymbol((*symbol).to_owned())),
        };
        let mut answers = older
            .server_reflection_info(tokio_stream::iter([old]))
            .await
            .unwrap()
            .into_inner();
        let Some(Ok(answer)) = answers.next().await else {
            panic!("an answer")
        };
        let Some(OldAnswer::FileDescriptorResponse(same)) = answer.message_response else {
            panic!("{symbol}")
        };
        assert_eq!(found.file_descriptor_proto, same.file_descriptor_proto);
        if symbol.starts_with("tokenauthority") {
            let file = found.file_descriptor_proto.concat();
            let comment = b"Answers whether a presented secret may do what is asked, now.";
            assert!(
                file.windows(comment.len()).any(|part| part == comment),
                "comments are kept"
            );
        }
    }
}

#[test]
fn every_element_of_the_api_has_a_comment() {
    use token_authority::transport::grpc::pb::FILE_DESCRIPTOR_SET;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("sound descriptors");
    let mut elements = 0;
    for file in pool
        .files()
        .filter(|file| file.package_name() == "tokenauthority.v1")
    {
        let info = file
            .file_descriptor_proto()
            .source_code_info
            .clone()
            .expect("comments are kept");
        let commented: BTreeSet<Vec<i32>> = info
            .location
            .into_iter()
            .filter(|location| !location.leading_comments().trim().is_empty())
            .map(|location| location.path)
            .collect();
        let mut need = |path: &[i32], name: &str| {
            elements += 1;
            assert!(
                commented.contains(path),
                "{name} in {} has no comment",
                file.name()
            );
        };
        for message in file.messages() {
            need(message.path(), message.full_name());
            message
                .fields()
                .for_each(|field| need(field.path(), field.full_name()));
        }
        for group in file.enums() {
            need(group.path(), group.full_name());
            group
                .values()
                .for_each(|value| need(value.path(), value.full_name()));
        }
        for service in file.services() {
            need(service.path(), service.full_name());
            service
                .methods()
                .for_each(|method| need(method.path(), method.full_name()));
        }
    }
    assert!(elements > 100, "only {elements} were looked at");
}

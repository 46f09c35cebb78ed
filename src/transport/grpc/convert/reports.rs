//! Report on the wire.

use std::time::Duration;

use crate::authority::error::Error;
use crate::authority::reports::{Reported, Told};
use crate::domain::address::client_address;
use crate::domain::endpoint::{PATH_BYTES_MAX, parse_method};
use crate::domain::flaw::{Flaw, Violations};
use crate::domain::token::TokenId;
use crate::domain::usage::{Outcome, withheld};
use crate::domain::validation_id::ValidationId;
use crate::transport::grpc::pb;

use super::time::{instant, span};
use super::validate::{USER_AGENT_BYTES_MAX, at_most};
use super::{given, sound};

pub(super) const LATENCY_MAX: Duration = Duration::from_secs(24 * 3600);
/// The greatest number of a gRPC status.
pub(super) const GRPC_STATUS_MAX: u32 = 16;
/// 1 PiB. A length that is not known is -1 in many libraries; as a number without a sign it would fill
/// the sums of its namespace up for as long as they are kept.
pub(super) const BODY_BYTES_MAX: u64 = 1 << 50;

/// The message of that number on its stream.
pub(in crate::transport) fn told(message: pb::ReportRequest, number: u64) -> Result<Told, Error> {
    let mut flaws = Violations::default();
    let told = parsed(message, &mut flaws);
    sound(told, flaws).map_err(|error| numbered(error, number))
}

fn parsed(message: pb::ReportRequest, v: &mut Violations) -> Option<Told> {
    let pb::ReportRequest {
        validation_id,
        token_id,
        unjudged,
        endpoint,
        method,
        status_code,
        grpc_status,
        latency,
        request_bytes,
        response_bytes,
        client_ip,
        user_agent,
        time,
    } = message;
    let about = about(v, unjudged, &validation_id, &token_id);
    v.take(
        "endpoint",
        at_most(
            endpoint.split('?').next().unwrap_or_default(),
            PATH_BYTES_MAX,
        ),
    );
    let method = given(v, "method", &method, parse_method);
    let status = v.take("status_code", status(status_code));
    let grpc_status = v.take("grpc_status", self::grpc_status(grpc_status));
    let latency = latency.as_ref().map(span).transpose();
    let latency = v.take("latency", latency.and_then(bounded));
    let client = given(v, "client_ip", &client_ip, client_address);
    v.take("user_agent", at_most(&user_agent, USER_AGENT_BYTES_MAX));
    let request_bytes = v.take("request_bytes", body(request_bytes));
    let response_bytes = v.take("response_bytes", body(response_bytes));
    let time = v.take("time", time.as_ref().map(instant).transpose());
    let user_agent = withheld(&user_agent);
    tracing::debug!(validation_id, user_agent = &*user_agent, "reported");
    Some(Told {
        about: about?,
        method,
        path: (!endpoint.is_empty()).then_some(endpoint),
        outcome: Outcome {
            verdict: None,
            status: status?,
            grpc_status: grpc_status?,
            latency: latency?,
            request_bytes: request_bytes?,
            response_bytes: response_bytes?,
        },
        client,
        time: time?,
    })
}

/// Which request it is, which is said in one way.
fn about(
    v: &mut Violations,
    unjudged: bool,
    validation_id: &str,
    token_id: &str,
) -> Option<Reported> {
    let (field, text, other, idle) = match unjudged {
        false => ("validation_id", validation_id, "token_id", token_id),
        true => ("token_id", token_id, "validation_id", validation_id),
    };
    if !idle.is_empty() {
        let given = if unjudged { "with" } else { "without" };
        let flaw = format!("must be empty {given} unjudged");
        v.add(other, Flaw::new(flaw));
    }
    match unjudged {
        false => v
            .take(field, ValidationId::parse(text))
            .map(Reported::Judged),
        true => v.take(field, TokenId::parse(text)).map(Reported::Unjudged),
    }
}

fn status(code: u32) -> Result<Option<u16>, Flaw> {
    match (code, u16::try_from(code)) {
        (0, _) => Ok(None),
        (100..=599, Ok(code)) => Ok(Some(code)),
        _ => Err(Flaw::new(format!(
            "must be 100 to 599, or 0 where there is none; got {code}"
        ))),
    }
}

fn grpc_status(code: Option<u32>) -> Result<Option<u32>, Flaw> {
    match code {
        Some(code) if code > GRPC_STATUS_MAX => Err(Flaw::new(format!(
            "must be 0 to {GRPC_STATUS_MAX}; got {code}"
        ))),
        code => Ok(code),
    }
}

fn bounded(latency: Option<Duration>) -> Result<Option<Duration>, Flaw> {
    match latency {
        Some(latency) if latency > LATENCY_MAX => {
            let (most, got) = (LATENCY_MAX.as_secs(), latency.as_secs());
            Err(Flaw::new(format!("must be at most {most} s; got {got} s")))
        }
        latency => Ok(latency),
    }
}

fn body(bytes: u64) -> Result<u64, Flaw> {
    match bytes {
        0..=BODY_BYTES_MAX => Ok(bytes),
        _ => Err(Flaw::new(format!(
            "must be at most {BODY_BYTES_MAX}, and 0 where it is not known; got {bytes}"
        ))),
    }
}

/// The error with its fields as those of a message of that number.
fn numbered(error: Error, number: u64) -> Error {
    let Error::Invalid(violations) = error else {
        return error;
    };
    let mut renamed = Violations::default();
    for (field, flaw) in violations.iter() {
        renamed.add(format!("reports[{number}].{field}"), flaw.clone());
    }
    Error::Invalid(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7fUe0Vn3cK2rQhJx5mTzWa";

    fn unjudged() -> pb::ReportRequest {
        pb::ReportRequest {
            token_id: ID.to_owned(),
            unjudged: true,
            ..pb::ReportRequest::default()
        }
    }

    fn flaws(message: pb::ReportRequest) -> Vec<String> {
        match told(message, 7) {
            Err(Error::Invalid(flaws)) => flaws.iter().map(|(field, _)| field.to_owned()).collect(),
            Err(other) => panic!("{other}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_with_the_number_of_the_message() {
        let wrong = pb::ReportRequest {
            validation_id: "x".to_owned(),
            token_id: ID.to_owned(),
            endpoint: "/".repeat(PATH_BYTES_MAX + 1),
            method: "G T".to_owned(),
            status_code: 600,
            grpc_status: Some(17),
            latency: Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            }),
            client_ip: "nowhere".to_owned(),
            user_agent: "a".repeat(USER_AGENT_BYTES_MAX + 1),
            time: Some(prost_types::Timestamp {
                seconds: -1,
                nanos: 0,
            }),
            ..pb::ReportRequest::default()
        };
        let fields = [
            "token_id",
            "validation_id",
            "endpoint",
            "method",
            "status_code",
            "grpc_status",
            "latency",
            "client_ip",
            "user_agent",
            "time",
        ];
        assert_eq!(
            flaws(wrong),
            fields.map(|field| format!("reports[7].{field}"))
        );
    }

    #[test]
    fn bounds_are_exact() {
        let status = |status_code| pb::ReportRequest {
            status_code,
            ..unjudged()
        };
        for sound in [0, 100, 599] {
            assert_eq!(flaws(status(sound)), [""; 0], "{sound}");
        }
        for bad in [1, 99, 600, u32::MAX] {
            assert_eq!(flaws(status(bad)), ["reports[7].status_code"], "{bad}");
        }
        let latency = |seconds, nanos| pb::ReportRequest {
            latency: Some(prost_types::Duration { seconds, nanos }),
            ..unjudged()
        };
        assert_eq!(flaws(latency(86_400, 0)), [""; 0]);
        assert_eq!(flaws(latency(86_400, 1)), ["reports[7].latency"]);
    }

    #[test]
    fn a_length_that_is_not_known_does_not_pass_for_an_enormous_one() {
        let bytes = |request_bytes, response_bytes| pb::ReportRequest {
            request_bytes,
            response_bytes,
            ..unjudged()
        };
        assert_eq!(flaws(bytes(BODY_BYTES_MAX, BODY_BYTES_MAX)), [""; 0]);
        assert_eq!(
            flaws(bytes(-1_i64 as u64, BODY_BYTES_MAX + 1)),
            ["reports[7].request_bytes", "reports[7].response_bytes"]
        );
    }

    #[test]
    fn an_unjudged_request_is_of_a_token_and_of_no_judgement() {
        assert_eq!(flaws(unjudged()), [""; 0]);
        let both = pb::ReportRequest {
            validation_id: "0123456789abcdefghij".to_owned(),
            ..unjudged()
        };
        assert_eq!(flaws(both), ["reports[7].validation_id"]);
        assert_eq!(
            flaws(pb::ReportRequest::default()),
            ["reports[7].validation_id"]
        );
    }
}

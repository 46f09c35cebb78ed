//! The stored form of single requests: as they were judged, and how they ended.

use std::time::Duration;

use prost::Message;

use super::{corrupt, read_address};
use crate::domain::time::Timestamp;
use crate::domain::usage::{Ended, Judged, Outcome, Recent};
use crate::domain::verdict::Verdict;
use crate::store::StoreError;

/// Only read: they are written as [`super::recents`] tells.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredRecent {
    #[prost(uint64, tag = "1")]
    pub(super) at: u64,
    #[prost(uint32, tag = "2")]
    pub(super) verdict: u32,
    #[prost(string, tag = "3")]
    pub(super) validation_id: String,
    #[prost(string, tag = "4")]
    pub(super) method: String,
    #[prost(string, tag = "5")]
    pub(super) path: String,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) client: Vec<u8>,
    #[prost(string, tag = "7")]
    pub(super) user_agent: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredEnded {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(string, tag = "2")]
    validation_id: String,
    /// 0 of one that nobody judged.
    #[prost(uint32, tag = "3")]
    verdict: u32,
    #[prost(uint32, optional, tag = "4")]
    status: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    grpc_status: Option<u32>,
    #[prost(uint64, optional, tag = "6")]
    latency: Option<u64>,
    #[prost(uint64, tag = "7")]
    request_bytes: u64,
    #[prost(uint64, tag = "8")]
    response_bytes: u64,
}

impl StoredRecent {
    pub(super) fn read(self) -> Result<Recent, StoreError> {
        let verdict = read_verdict(self.verdict)?;
        let judged = Judged {
            at: Timestamp::from_micros(self.at),
            verdict: verdict.ok_or_else(|| corrupt(&"a judged request without verdict"))?,
            cost: 0,
            secret_version: 0,
            validation_id: &self.validation_id,
            method: &self.method,
            path: &self.path,
            client: read_address(&self.client)?,
            user_agent: &self.user_agent,
        };
        Ok(Recent::of(&judged, None))
    }
}

impl From<&Ended> for StoredEnded {
    fn from(ended: &Ended) -> Self {
        let Ended {
            at,
            validation_id,
            outcome,
        } = ended;
        let Outcome {
            verdict,
            status,
            grpc_status,
            latency,
            request_bytes,
            response_bytes,
        } = *outcome;
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self {
            at: at.micros(),
            validation_id: validation_id.clone(),
            verdict: verdict.map_or(0, |verdict| verdict.number().into()),
            status: status.map(u32::from),
            grpc_status,
            latency: latency.map(micros),
            request_bytes,
            response_bytes,
        }
    }
}

impl StoredEnded {
    pub(super) fn read(self) -> Result<Ended, StoreError> {
        let status = self.status.map(u16::try_from).transpose();
        Ok(Ended {
            at: Timestamp::from_micros(self.at),
            validation_id: self.validation_id,
            outcome: Outcome {
                verdict: read_verdict(self.verdict)?,
                status: status.map_err(|error| corrupt(&error))?,
                grpc_status: self.grpc_status,
                latency: self.latency.map(Duration::from_micros),
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
            },
        })
    }
}

/// The verdict of a number; none of 0.
fn read_verdict(number: u32) -> Result<Option<Verdict>, StoreError> {
    if number == 0 {
        return Ok(None);
    }
    let verdict = u8::try_from(number).ok().and_then(Verdict::of_number);
    match verdict {
        None => Err(corrupt(&format!("no verdict is {number}"))),
        known => Ok(known),
    }
}

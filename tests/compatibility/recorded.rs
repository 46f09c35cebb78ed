//! What a client of the last release asked, and was answered, is still understood: each exchange of
//! `tests/compatibility/recorded/`, in their order, as bytes, as JSON, and asked anew of this build.
//!
//! A file says what is asked (`ask`, where `{NAME}` stands for something that an earlier answer held),
//! and what of the answer later ones need (`keeps`). `recorded` is written with
//! a release, as the descriptors are: `TOKEN_AUTHORITY_TEST_RECORD=1 cargo test --test compatibility recorded::a_client`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytes::{Buf, BufMut};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use tempfile::TempDir;
use token_authority::transport::grpc::pb::FILE_DESCRIPTOR_SET;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::RELEASED;
use super::child::OwnedChild;

const ROOT_TOKEN: &str = "root-of-the-recorded-exchanges-0123456789";
const PLACE: &str = "tests/compatibility/recorded";

/// Fields whose values differ from run to run; that they are there, and their JSON type, does not.
const VOLATILE: [&str; 19] = [
    "acquireTime",
    "cacheTtl",
    "createTime",
    "endTime",
    "expireTime",
    "fence",
    "keepAliveDeadline",
    "leaseId",
    "nextBeatAfter",
    "nextPageToken",
    "resetAfter",
    "retryAfter",
    "revision",
    "revokeTime",
    "secret",
    "secretHint",
    "tokenId",
    "updateTime",
    "validationId",
];

/// Told some seconds late, so it is there in some runs and not in others.
const LATE: &str = "lastUsedTime";

struct Exchange {
    file: PathBuf,
    text: Value,
}

fn exchanges() -> Vec<Exchange> {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PLACE);
    let files = fs::read_dir(place).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let read = |file: PathBuf| Exchange {
        text: serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap(),
        file,
    };
    files.into_iter().map(read).collect()
}

/// The descriptors of a build, and what is written in their terms.
struct Api(DescriptorPool);

impl Api {
    fn of(descriptors: &[u8]) -> Self {
        Self(DescriptorPool::decode(descriptors).unwrap())
    }

    /// What a method takes, or what it answers.
    fn message(&self, method: &str, answer: bool) -> MessageDescriptor {
        let service = self.0.get_service_by_name("tokenauthority.v1.TokenService");
        let found = service.unwrap().methods().find(|it| it.name() == method);
        let found = found.unwrap_or_else(|| panic!("no method {method}"));
        if answer {
            found.output()
        } else {
            found.input()
        }
    }

    fn bytes(&self, method: &str, answer: bool, text: &Value) -> Vec<u8> {
        let message = DynamicMessage::deserialize(self.message(method, answer), text);
        let message = message.unwrap_or_else(|error| panic!("{method}: {error}: {text}"));
        message.encode_to_vec()
    }

    fn json(&self, method: &str, answer: bool, bytes: &[u8]) -> Value {
        let message = DynamicMessage::decode(self.message(method, answer), bytes);
        serde_json::to_value(message.unwrap()).unwrap()
    }
}

/// A server of this build, alone with a store of its own.
struct Server {
    channel: Channel,
    _child: OwnedChild,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-authority"));
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--store", "sqlite:recorded.db"])
            .current_dir(&folder)
            .env("TOKEN_AUTHORITY_ROOT_TOKEN", ROOT_TOKEN)
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log")).unwrap());
        let mut child = OwnedChild::spawn(&mut command).unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").unwrap().trim();
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        Self {
            channel: channel.connect_lazy(),
            _child: child,
            _folder: folder,
        }
    }

    async fn ask(&self, method: &str, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(request);
        let credential = ROOT_TOKEN.parse().unwrap();
        request.metadata_mut().insert("x-api-key", credential);
        let path = format!("/tokenauthority.v1.TokenService/{method}");
        let path = path.parse().unwrap();
        let answer = client.unary(request, path, Raw).await?;
        Ok(answer.into_inner())
    }
}

/// Sends and takes bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
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
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Asks all exchanges in their order, as a client of the last release does, and answers for each what
/// there was to record.
async fn played(exchanges: &[Exchange]) -> Vec<Value> {
    let old = Api::of(RELEASED);
    let server = Server::start();
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = Vec::new();
    for Exchange { text, .. } in exchanges {
        let method = text["method"].as_str().unwrap();
        let mut ask = text["ask"].to_string();
        for (name, value) in &kept {
            ask = ask.replace(&format!("{{{name}}}"), value);
        }
        let request = old.bytes(method, false, &serde_json::from_str(&ask).unwrap());
        let asked = both(&old.json(method, false, &request), &request);
        let answer = match server.ask(method, request).await {
            Ok(answer) => {
                let said = old.json(method, true, &answer);
                for (name, pointer) in text["keeps"].as_object().into_iter().flatten() {
                    let found = said.pointer(pointer.as_str().unwrap());
                    let found = found
                        .and_then(Value::as_str)
                        .unwrap_or_else(|| panic!("{said}"));
                    kept.insert(name.clone(), found.to_owned());
                }
                json!({"request": asked, "answer": both(&said, &answer)})
            }
            Err(status) => json!({"request": asked, "error": failure(&status)}),
        };
        seen.push(answer);
    }
    seen
}

fn both(text: &Value, bytes: &[u8]) -> Value {
    json!({"json": text, "binary": hex(bytes)})
}

/// The promised parts of an error.
fn failure(status: &Status) -> Value {
    let info = status.get_details_error_info().unwrap();
    let violations = status
        .get_details_bad_request()
        .map(|it| it.field_violations);
    let fields = violations.into_iter().flatten().map(|it| it.field);
    json!({
        "code": format!("{:?}", status.code()),
        "reason": info.reason,
        "domain": info.domain,
        "fields": fields.collect::<Vec<_>>(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The text with what differs from run to run replaced by its JSON type.
fn steady(text: &Value) -> Value {
    match text {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let volatile = VOLATILE.contains(&name.as_str()) && !value.is_object();
                let value = if volatile { kind(value) } else { steady(value) };
                (name.clone(), value)
            };
            let fields = fields.iter().filter(|(name, _)| *name != LATE);
            Value::Object(fields.map(field).collect())
        }
        Value::Array(entries) => Value::Array(entries.iter().map(steady).collect()),
        other => other.clone(),
    }
}

fn kind(value: &Value) -> Value {
    let name = match value {
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        _ => "something else",
    };
    Value::from(name)
}

/// What of an answer, or an error, may be compared with that of another run.
fn comparable(recorded: &Value) -> Value {
    let answer = &recorded["answer"]["json"];
    json!({"answer": steady(answer), "error": recorded["error"]})
}

#[test]
fn recorded_bytes_and_json_mean_the_same_to_this_build() {
    let now = Api::of(FILE_DESCRIPTOR_SET);
    for Exchange { file, text } in exchanges() {
        let method = text["method"].as_str().unwrap();
        for (part, answer) in [("request", false), ("answer", true)] {
            let recorded = &text["recorded"][part];
            if recorded.is_null() {
                assert!(text["recorded"]["error"].is_object(), "{file:?}: record it");
                continue;
            }
            let (said, bytes) = (&recorded["json"], unhex(&recorded["binary"]));
            assert_eq!(&now.json(method, answer, &bytes), said, "{file:?} {part}");
            let encoded = now.bytes(method, answer, said);
            assert_eq!(hex(&encoded), hex(&bytes), "{file:?} {part}");
        }
    }
}

#[tokio::test]
async fn a_client_of_the_last_release_is_answered_as_it_was() {
    let exchanges = exchanges();
    let answers = played(&exchanges).await;
    if recording() {
        return record(exchanges, answers);
    }
    for (Exchange { file, text }, now) in exchanges.iter().zip(&answers) {
        let then = comparable(&text["recorded"]);
        assert_eq!(comparable(now), then, "{}", file.display());
    }
}

/// Writes what a release answers, to be held against those after it.
fn record(exchanges: Vec<Exchange>, answers: Vec<Value>) {
    for (Exchange { file, mut text }, answer) in exchanges.into_iter().zip(answers) {
        text["recorded"] = answer;
        let mut written = serde_json::to_string_pretty(&text).unwrap();
        written.push('\n');
        fs::write(file, written).unwrap();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever makes a release asks for it"
)]
fn recording() -> bool {
    std::env::var("TOKEN_AUTHORITY_TEST_RECORD").is_ok_and(|asked| asked == "1")
}

//! The methods of the service as their descriptors say, so that no test forgets a new one.

use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};
use token_authority::transport::grpc::pb;
use tonic::Status;

use crate::harness::{Authority, PATIENCE};
use crate::raw_bytes;

/// The pool that requests name which must name one.
pub(crate) const POOL: &str = "p";

const SERVICE: &str = "tokenauthority.v1.TokenService";
/// Messages within messages that are looked into.
const DEPTH_MAX: usize = 3;

/// Every method of the service.
pub(crate) fn all() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("sound descriptors");
    let service = pool.get_service_by_name(SERVICE).expect("the service");
    service.methods().map(Rpc).collect()
}

/// A method.
#[derive(Clone)]
pub(crate) struct Rpc(MethodDescriptor);

/// Where a field stands: the fields that lead to it, and itself.
pub(crate) type Place = Vec<FieldDescriptor>;

pub(crate) fn name_of(place: &Place) -> String {
    let names: Vec<&str> = place.iter().map(FieldDescriptor::name).collect();
    names.join(".")
}

impl Rpc {
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    /// Where its request names something in a text field called `name`.
    pub(crate) fn places_of(&self, name: &str) -> Vec<Place> {
        let mut places = Vec::new();
        look_for(name, &self.0.input(), &Vec::new(), &mut places);
        places
    }

    /// A request that says `text` at `place`, and what it must say besides.
    pub(crate) fn saying(&self, place: &Place, text: &str) -> DynamicMessage {
        let mut message = self.plain();
        set(&mut message, place, text);
        message
    }

    /// A request that says as little as it must.
    pub(crate) fn plain(&self) -> DynamicMessage {
        let mut message = DynamicMessage::new(self.0.input());
        for field in self.0.input().fields() {
            match (self.name(), field.name()) {
                ("Acquire", "pool") => {
                    message.set_field(&field, Value::String(POOL.to_owned()));
                }
                ("BatchCreate", "count") => message.set_field(&field, Value::U32(1)),
                ("BatchValidate", "requests") => {
                    let Kind::Message(question) = field.kind() else {
                        panic!("questions are messages");
                    };
                    let one = Value::Message(DynamicMessage::new(question));
                    message.set_field(&field, Value::List(vec![one]));
                }
                ("Release", "force") => message.set_field(&field, Value::Bool(true)),
                _ => {}
            }
            if let Kind::Message(kind) = field.kind()
                && kind.full_name() == "google.protobuf.FieldMask"
            {
                let mut mask = DynamicMessage::new(kind);
                let paths = vec![Value::String("name".to_owned())];
                mask.set_field_by_name("paths", Value::List(paths));
                message.set_field(&field, Value::Message(mask));
            }
        }
        message
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.0.is_client_streaming() || self.0.is_server_streaming()
    }

    /// Whether it answers one message by a stream that does not end.
    fn lasts(&self) -> bool {
        self.0.is_server_streaming() && !self.0.is_client_streaming()
    }

    /// Calls it, a stream with one message; answers the error, if the call ends with one.
    pub(crate) async fn call(
        &self,
        authority: &Authority,
        credential: &str,
        message: &DynamicMessage,
    ) -> Option<Status> {
        let path = format!("/{SERVICE}/{}", self.name());
        let message = message.encode_to_vec();
        let error = async {
            match self.lasts() {
                true => raw_bytes::open(authority, credential, &path, message)
                    .await
                    .err(),
                false => raw_bytes::send(authority, credential, &path, message)
                    .await
                    .err(),
            }
        };
        let patience = tokio::time::timeout(PATIENCE, error);
        patience.await.expect("an answer")
    }
}

fn look_for(name: &str, message: &MessageDescriptor, before: &Place, places: &mut Vec<Place>) {
    for field in message.fields() {
        let place: Place = before.iter().cloned().chain([field.clone()]).collect();
        match field.kind() {
            Kind::String if field.name() == name && !field.is_list() => places.push(place),
            Kind::Message(inner) if !field.is_map() && before.len() < DEPTH_MAX => {
                look_for(name, &inner, &place, places);
            }
            _ => {}
        }
    }
}

fn set(message: &mut DynamicMessage, place: &[FieldDescriptor], text: &str) {
    let [field, rest @ ..] = place else {
        return;
    };
    let value = match field.kind() {
        Kind::Message(inner) => {
            let mut inner = DynamicMessage::new(inner);
            set(&mut inner, rest, text);
            Value::Message(inner)
        }
        _ => Value::String(text.to_owned()),
    };
    let value = match field.is_list() {
        true => Value::List(vec![value]),
        false => value,
    };
    message.set_field(field, value);
}

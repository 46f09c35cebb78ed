//! The API is held to the descriptors of the last release, `proto/released.binpb`: all that a client
//! may have been built against is still there, unchanged.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends a test")]

#[path = "support/child.rs"]
#[allow(dead_code, reason = "each test program uses a part")]
mod child;
#[path = "compatibility/recorded.rs"]
mod recorded;

use std::collections::BTreeMap;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, FileOptions, ServiceDescriptorProto,
};
use token_authority::transport::grpc::pb::FILE_DESCRIPTOR_SET;

const RELEASED: &[u8] = include_bytes!("../proto/released.binpb");

/// Below this lie our own files; what they import is held by others.
const OURS: &str = "tokenauthority/";

/// What can be relied on, by the name of the thing: aspects and what they are. Comments and
/// `deprecated` are absent, since both may change.
#[derive(Debug, Default)]
struct Promises(BTreeMap<String, Vec<(&'static str, String)>>);

impl Promises {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut promises = Self::default();
        for file in set.file.iter().filter(|file| file.name().starts_with(OURS)) {
            promises.file(file);
        }
        promises
    }

    fn add(&mut self, kind: &str, name: &str, aspects: Vec<(&'static str, String)>) {
        self.0.insert(format!("{kind} {name}"), aspects);
    }

    fn file(&mut self, file: &FileDescriptorProto) {
        let options = FileOptions {
            deprecated: None,
            ..file.options.clone().unwrap_or_default()
        };
        let aspects = vec![
            ("package", file.package().to_owned()),
            ("syntax", file.syntax().to_owned()),
            ("options", format!("{options:?}")),
        ];
        self.add("file", file.name(), aspects);
        let (package, name) = (file.package(), file.name());
        for message in &file.message_type {
            self.message(package, name, message);
        }
        for declared in &file.enum_type {
            self.enumeration(package, name, declared);
        }
        for service in &file.service {
            self.service(package, name, service);
        }
    }

    fn message(&mut self, parent: &str, file: &str, message: &DescriptorProto) {
        let name = format!("{parent}.{}", message.name());
        let map_entry = message.options.as_ref().is_some_and(|it| it.map_entry());
        let aspects = vec![
            ("file", file.to_owned()),
            ("map entry", map_entry.to_string()),
        ];
        self.add("message", &name, aspects);
        for field in &message.field {
            self.field(&name, message, field);
        }
        let ranges = message.reserved_range.iter();
        let ranges = ranges.map(|range| format!("{}..{}", range.start(), range.end()));
        self.reserved(&name, ranges, &message.reserved_name);
        for nested in &message.nested_type {
            self.message(&name, file, nested);
        }
        for nested in &message.enum_type {
            self.enumeration(&name, file, nested);
        }
    }

    fn field(&mut self, parent: &str, message: &DescriptorProto, field: &FieldDescriptorProto) {
        let oneof = field.oneof_index.map(|at| &message.oneof_decl[at as usize]);
        // The compiler makes a oneof of its own for each `optional`.
        let oneof = oneof.filter(|_| !field.proto3_optional());
        let packed = field.options.as_ref().and_then(|options| options.packed);
        let aspects = vec![
            ("number", field.number().to_string()),
            (
                "type",
                format!("{} {}", field.r#type().as_str_name(), field.type_name()),
            ),
            ("label", field.label().as_str_name().to_owned()),
            ("JSON name", field.json_name().to_owned()),
            (
                "oneof",
                oneof.map_or("none", |oneof| oneof.name()).to_owned(),
            ),
            ("presence", field.proto3_optional().to_string()),
            ("packed", format!("{packed:?}")),
        ];
        self.add("field", &format!("{parent}.{}", field.name()), aspects);
    }

    fn enumeration(&mut self, parent: &str, file: &str, declared: &EnumDescriptorProto) {
        let name = format!("{parent}.{}", declared.name());
        self.add("enum", &name, vec![("file", file.to_owned())]);
        for value in &declared.value {
            let aspects = vec![("number", value.number().to_string())];
            self.add("value", &format!("{name}.{}", value.name()), aspects);
        }
        let ranges = declared.reserved_range.iter();
        let ranges = ranges.map(|range| format!("{}..={}", range.start(), range.end()));
        self.reserved(&name, ranges, &declared.reserved_name);
    }

    fn service(&mut self, package: &str, file: &str, service: &ServiceDescriptorProto) {
        let name = format!("{package}.{}", service.name());
        self.add("service", &name, vec![("file", file.to_owned())]);
        for method in &service.method {
            let options = method.options.clone().unwrap_or_default();
            let aspects = vec![
                ("request", method.input_type().to_owned()),
                ("answer", method.output_type().to_owned()),
                ("client streaming", method.client_streaming().to_string()),
                ("server streaming", method.server_streaming().to_string()),
                (
                    "idempotency",
                    options.idempotency_level().as_str_name().to_owned(),
                ),
            ];
            self.add("method", &format!("{name}.{}", method.name()), aspects);
        }
    }

    fn reserved(&mut self, of: &str, ranges: impl Iterator<Item = String>, names: &[String]) {
        for taken in ranges.chain(names.iter().cloned()) {
            self.add("reserved", &format!("{of} {taken}"), Vec::new());
        }
    }

    /// What of these promises `now` does not keep.
    fn broken_by(&self, now: &Self) -> Vec<String> {
        let mut breaks = Vec::new();
        for (thing, aspects) in &self.0 {
            let Some(found) = now.0.get(thing) else {
                breaks.push(format!("{thing} is gone"));
                continue;
            };
            let changed = aspects.iter().zip(found).filter(|(old, new)| old != new);
            breaks.extend(changed.map(|((aspect, old), (_, new))| {
                format!("{thing}: {aspect} was {old:?} and is {new:?}")
            }));
        }
        breaks
    }
}

fn decoded(descriptors: &[u8]) -> FileDescriptorSet {
    FileDescriptorSet::decode(descriptors).unwrap()
}

/// What changes the descriptors, and what is said about it.
type Change = (fn(&mut FileDescriptorSet), &'static str);

fn file<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut FileDescriptorProto {
    let path = format!("tokenauthority/v1/{name}.proto");
    set.file
        .iter_mut()
        .find(|file| file.name() == path)
        .unwrap()
}

fn message<'a>(set: &'a mut FileDescriptorSet, path: &str, name: &str) -> &'a mut DescriptorProto {
    let mut messages = file(set, path).message_type.iter_mut();
    messages.find(|message| message.name() == name).unwrap()
}

fn field<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut FieldDescriptorProto {
    let request = message(set, "tokens", "CreateRequest");
    let mut fields = request.field.iter_mut();
    fields.find(|field| field.name() == name).unwrap()
}

fn verdict(set: &mut FileDescriptorSet) -> &mut EnumDescriptorProto {
    let mut enums = file(set, "validation").enum_type.iter_mut();
    enums.find(|declared| declared.name() == "Verdict").unwrap()
}

fn service(set: &mut FileDescriptorSet) -> &mut ServiceDescriptorProto {
    &mut file(set, "token_service").service[0]
}

/// One of each kind of break.
const BREAKS: [Change; 18] = [
    (
        |set| field(set, "owner").number = Some(99),
        "CreateRequest.owner: number was \"4\"",
    ),
    (
        |set| field(set, "owner").name = Some("possessor".to_owned()),
        "CreateRequest.owner is gone",
    ),
    (
        |set| field(set, "owner").json_name = Some("Owner".to_owned()),
        "JSON name was \"owner\"",
    ),
    (
        |set| field(set, "owner").set_type(prost_types::field_descriptor_proto::Type::Bytes),
        "type was \"TYPE_STRING \"",
    ),
    (
        |set| field(set, "ttl").type_name = Some(".tokenauthority.v1.Token".to_owned()),
        "type was \"TYPE_MESSAGE .google.protobuf.Duration\"",
    ),
    (
        |set| field(set, "owner").set_label(prost_types::field_descriptor_proto::Label::Repeated),
        "label was \"LABEL_OPTIONAL\"",
    ),
    (
        |set| field(set, "owner").proto3_optional = Some(true),
        "presence was \"false\"",
    ),
    (
        |set| field(set, "ttl").oneof_index = None,
        "oneof was \"expiration\"",
    ),
    (
        |set| {
            let request = message(set, "tokens", "CreateRequest");
            request.field.retain(|field| field.name() != "labels");
        },
        "CreateRequest.labels is gone",
    ),
    (
        |set| file(set, "tokens").message_type.clear(),
        "message tokenauthority.v1.GetRequest is gone",
    ),
    (
        |set| {
            let moved = file(set, "tokens").message_type.remove(0);
            file(set, "token").message_type.push(moved);
        },
        "file was \"tokenauthority/v1/tokens.proto\"",
    ),
    (
        |set| verdict(set).value[3].number = Some(77),
        "VERDICT_NOT_FOUND: number was \"3\"",
    ),
    (
        |set| drop(verdict(set).value.remove(3)),
        "VERDICT_NOT_FOUND is gone",
    ),
    (
        |set| drop(service(set).method.remove(0)),
        "method tokenauthority.v1.TokenService.Validate is gone",
    ),
    (
        |set| service(set).method[0].input_type = Some(".tokenauthority.v1.Token".to_owned()),
        "Validate: request was",
    ),
    (
        |set| service(set).method[0].server_streaming = Some(true),
        "Validate: server streaming was \"false\"",
    ),
    (
        |set| {
            let mut methods = service(set).method.iter_mut();
            methods
                .find(|method| method.name() == "Get")
                .unwrap()
                .options = None;
        },
        "Get: idempotency was \"NO_SIDE_EFFECTS\"",
    ),
    (
        |set| file(set, "token").options = None,
        "token.proto: options was",
    ),
];

#[test]
fn everything_of_the_last_release_is_still_there_and_means_the_same() {
    let released = Promises::of(&decoded(RELEASED));
    let now = Promises::of(&decoded(FILE_DESCRIPTOR_SET));
    let broken = released.broken_by(&now);
    let list: String = broken.iter().map(|fault| format!("\n  {fault}")).collect();
    assert!(broken.is_empty(), "{} promises broken:{list}", broken.len());
}

#[test]
fn the_image_holds_the_whole_api() {
    let released = Promises::of(&decoded(RELEASED));
    for thing in [
        "file tokenauthority/v1/error_reason.proto",
        "method tokenauthority.v1.TokenService.Validate",
        "field tokenauthority.v1.CreateRequest.LabelsEntry.key",
        "value tokenauthority.v1.Verdict.VERDICT_VALID",
        "value tokenauthority.v1.State.STATE_ACTIVE",
    ] {
        assert!(released.0.contains_key(thing), "{thing}: {released:#?}");
    }
}

#[test]
fn every_kind_of_break_is_reported() {
    let released = Promises::of(&decoded(RELEASED));
    for (change, told) in BREAKS {
        let mut changed = decoded(RELEASED);
        change(&mut changed);
        let broken = released.broken_by(&Promises::of(&changed)).join("; ");
        assert!(broken.contains(told), "{told}: {broken}");
    }
}

#[test]
fn what_is_reserved_stays_reserved() {
    let mut released = decoded(RELEASED);
    message(&mut released, "token", "Token").reserved_name = vec!["dropped".to_owned()];
    let broken = Promises::of(&released).broken_by(&Promises::of(&decoded(RELEASED)));
    assert_eq!(broken, ["reserved tokenauthority.v1.Token dropped is gone"]);
}

#[test]
fn additions_and_deprecation_break_nothing() {
    let cases: [fn(&mut FileDescriptorSet); 5] = [
        |set| {
            let mut added = field(set, "owner").clone();
            (added.name, added.number) = (Some("added".to_owned()), Some(99));
            message(set, "tokens", "CreateRequest").field.push(added);
        },
        |set| {
            let mut added = verdict(set).value[3].clone();
            (added.name, added.number) = (Some("VERDICT_ADDED".to_owned()), Some(99));
            verdict(set).value.push(added);
        },
        |set| {
            let mut added = message(set, "tokens", "GetRequest").clone();
            added.name = Some("AddedRequest".to_owned());
            file(set, "tokens").message_type.push(added);
        },
        |set| {
            let mut added = service(set).method[0].clone();
            added.name = Some("Added".to_owned());
            service(set).method.push(added);
        },
        |set| {
            let options = prost_types::FieldOptions {
                deprecated: Some(true),
                ..Default::default()
            };
            field(set, "owner").options = Some(options);
        },
    ];
    let released = Promises::of(&decoded(RELEASED));
    for change in cases {
        let mut changed = decoded(RELEASED);
        change(&mut changed);
        let broken = released.broken_by(&Promises::of(&changed));
        assert_eq!(broken, Vec::<String>::new());
    }
}

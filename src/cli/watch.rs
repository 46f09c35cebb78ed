//! Watching what happens to tokens, over as many streams as it takes.

use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::transport::grpc::pb;

use super::Session;
use super::client::{Client, Events};
use super::colour::Palette;
use super::facts::moment;
use super::failure::{Exit, Failure};
use super::json;
use super::table::printable;

/// Times between two attempts to watch again, the first and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What the names of types begin with in the API.
const PREFIX: &str = "EVENT_TYPE_";

#[derive(Args, Debug)]
pub(super) struct WatchCommand {
    /// Tenant to watch, if not the caller's own; - for all
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    /// What to tell, such as revoked or lease-expired; may be repeated, and is everything if not given
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    pub types: Vec<pb::EventType>,

    /// The one token to tell about
    #[arg(long, value_name = "ID", default_value_t, hide_default_value = true)]
    pub token_id: String,

    /// Where to go on, as an earlier event said; from now on if not given
    #[arg(long, default_value_t, hide_default_value = true)]
    pub cursor: String,
}

fn event_type(text: &str) -> Result<pb::EventType, String> {
    let name = PREFIX.to_owned() + &text.to_uppercase().replace('-', "_");
    let known = pb::EventType::from_str_name(&name);
    known
        .filter(|known| *known != pb::EventType::Unspecified)
        .ok_or_else(|| {
            let known = (1..).map_while(|number| pb::EventType::try_from(number).ok());
            let names: Vec<String> = known.map(word).collect();
            format!("must be one of {}", names.join(", "))
        })
}

/// The type as it is written on the command line.
fn word(kind: pb::EventType) -> String {
    let name = kind.as_str_name();
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    name.to_lowercase().replace('_', "-")
}

/// Prints events until the process is ended, or the server says that there is no going on.
pub(super) async fn run(session: &mut Session<'_>, command: WatchCommand) -> Result<Exit, Failure> {
    let WatchCommand {
        namespace,
        types,
        token_id,
        cursor,
    } = command;
    let mut request = pb::WatchRequest {
        namespace: session.namespace(namespace),
        types: types.into_iter().map(i32::from).collect(),
        token_id,
        cursor,
    };
    let mut client = session.client().await?;
    // What is wrong at the beginning is not tried again.
    let mut events = begin(&mut client, &mut request).await?;
    loop {
        let broken = session.tell(&mut events, &mut request.cursor).await?;
        if !broken.may_pass() {
            return Err(session.give_up(broken, &request.cursor));
        }
        if !broken.is_draining() {
            let why = broken.in_one_line();
            session
                .output
                .note(&format!("note: watching again, since {why}"));
        }
        events = match again(&mut client, &mut request).await {
            Ok(events) => events,
            Err(failure) => return Err(session.give_up(failure, &request.cursor)),
        };
    }
}

/// Opens a stream; where it begins, the next one goes on at least.
async fn begin(client: &mut Client, request: &mut pb::WatchRequest) -> Result<Events, Failure> {
    let (cursor, events) = client.watch(request.clone()).await?;
    if let Some(cursor) = cursor {
        request.cursor = cursor;
    }
    Ok(events)
}

/// Opens a stream over a connection of its own, tried as long as it may succeed some time.
async fn again(client: &mut Client, request: &mut pb::WatchRequest) -> Result<Events, Failure> {
    let mut pause = PAUSE_MIN;
    loop {
        sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
        let begun = match client.again(Duration::MAX).await {
            Ok(anew) => {
                *client = anew;
                begin(client, request).await
            }
            Err(failure) => Err(failure),
        };
        match begun {
            Err(failure) if failure.may_pass() => {}
            begun => return begun,
        }
    }
}

impl Session<'_> {
    /// Prints events until the stream ends, and answers why it did. An error is one of printing.
    async fn tell(&mut self, events: &mut Events, cursor: &mut String) -> Result<Failure, Failure> {
        loop {
            let event = match events.next().await {
                Ok(event) => event,
                Err(broken) => return Ok(broken),
            };
            cursor.clone_from(&event.cursor);
            if event.token.is_none() {
                // It only says how far nothing happened.
                continue;
            }
            let line = match self.json {
                true => json::line(&event)?,
                false => in_words(&event, self.output.palette()),
            };
            self.output.answer(&format!("{line}\n"))?;
        }
    }

    fn give_up(&mut self, failure: Failure, cursor: &str) -> Failure {
        self.output
            .note(&format!("note: the last cursor was {cursor}"));
        failure
    }
}

/// When, what, where, which token, and a word about it.
fn in_words(event: &pb::WatchResponse, palette: Palette) -> String {
    let pb::WatchResponse {
        cursor: _,
        time,
        r#type: _,
        token,
        detail,
    } = event;
    let kind = event.r#type();
    let (id, namespace, name) = token.as_ref().map_or(("", "", ""), |token| {
        (
            token.token_id.as_str(),
            token.namespace.as_str(),
            token.name.as_str(),
        )
    });
    let kind_word = palette.event(&format!("{:13}", word(kind)));
    let about = [name, detail].map(printable);
    let about = about.iter().filter(|text| !text.is_empty());
    let about = about.map(|text| format!("  {text}")).collect::<String>();
    let time = moment(time.as_ref());
    format!(
        "{time}  {kind_word}  {}  {}{about}",
        printable(namespace),
        printable(id)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> pb::WatchResponse {
        pb::WatchResponse {
            cursor: "c".to_owned(),
            time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 1_000_000,
            }),
            r#type: pb::EventType::Revoked.into(),
            token: Some(pb::Token {
                token_id: "7f".to_owned(),
                namespace: "shop".to_owned(),
                name: "a\x1bb".to_owned(),
                ..pb::Token::default()
            }),
            detail: "lost".to_owned(),
        }
    }

    #[test]
    fn an_event_is_one_line_that_commands_no_terminal() {
        let line = in_words(&event(), Palette::PLAIN);
        let expected = "2023-11-14T22:13:20.001Z  revoked        shop  7f  a\\u{1b}b  lost";
        assert_eq!(line, expected);
        assert!(in_words(&event(), Palette::COLOURED).contains("\x1b[31mrevoked"));
    }

    #[test]
    fn types_are_read_as_they_are_written() {
        for number in 1.. {
            let Ok(kind) = pb::EventType::try_from(number) else {
                assert!(number > 10);
                break;
            };
            assert_eq!(event_type(&word(kind)), Ok(kind));
        }
        for text in ["", "unspecified", "gone"] {
            assert!(
                event_type(text).unwrap_err().contains("lease-expired"),
                "{text}"
            );
        }
    }
}

//! `healthcheck`: one question, one word, one exit code; for containers, which have no gRPC client.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::config::{AtHand, Environment, Listen};
use crate::domain::flaw::quoted;

use super::args::{ClientArgs, HealthcheckCommand};
use super::connection::Connection;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::server::{self, Server};

/// Less than the deadlines that container engines give a health check.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How much later than an answer in time what hangs before a server is asked is given up.
const GRACE: Duration = Duration::from_millis(200);

/// Asks, and prints what health says.
pub(super) fn run(
    args: &ClientArgs,
    command: HealthcheckCommand,
    environment: &Environment,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let timeout = args.timeout.unwrap_or(TIMEOUT);
    let (args, environment) = (args.clone(), environment.clone());
    // A thread of its own can be left behind: a file or a name that hangs lets nobody go.
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more after the timeout.
        let _ = tell.send(asked(&args, &command, &environment, timeout));
    });
    let answer = told.recv_timeout(timeout + GRACE);
    let status = answer.unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(Failure::Unreachable {
            server: "the server".to_owned(),
            why: format!(
                "no answer within {}; a file or a name hangs by which it is found",
                humantime::format_duration(timeout)
            ),
        }),
        RecvTimeoutError::Disconnected => Err(Failure::Broken("the check broke off".to_owned())),
    })?;
    output.answer(&format!("{}\n", status.as_str_name()))?;
    Ok(match status {
        ServingStatus::Serving => Exit::Done,
        _ => Exit::Refused,
    })
}

fn asked(
    args: &ClientArgs,
    command: &HealthcheckCommand,
    environment: &Environment,
    timeout: Duration,
) -> Result<ServingStatus, Failure> {
    let servers = match &args.server {
        Some(_) => vec![Server::find(args, environment)?],
        None => at_hand(args, command, environment)?,
    };
    super::runtime()?.block_on(ask(servers, &command.service, timeout))
}

/// Where the server of this configuration may listen: at the first of these that answers. The
/// variable that says whom other commands call is not looked at: it may mean another server.
fn at_hand(
    args: &ClientArgs,
    command: &HealthcheckCommand,
    environment: &Environment,
) -> Result<Vec<Server>, Failure> {
    let found = AtHand::load(&command.configured, environment)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let unix = found.listen.iter().find_map(|place| match place {
        Listen::Unix(path) => Some(Server::Unix(path.clone())),
        Listen::Tcp(_) => None,
    });
    if let Some(unix) = unix {
        return Ok(vec![unix]);
    }
    let own = server::own_certificate(args, environment)?;
    let known = found.listen.iter().find_map(|place| match place {
        // A free one is known to nobody else.
        Listen::Tcp(addresses) => {
            let known = addresses.iter().filter(|address| address.port() != 0);
            // Not verified: it is asked of this machine alone, by an address that its certificate
            // need not name, and what is said is no secret.
            let servers = known.map(|address| Server::at_hand(*address, found.tls, own.clone()));
            Some(servers.collect()).filter(|servers: &Vec<Server>| !servers.is_empty())
        }
        Listen::Unix(_) => None,
    });
    known.ok_or_else(|| {
        let why = "server.listen names port 0, which is another one at each start; give --server, \
                   or let the server listen on a Unix socket, too";
        Failure::Usage(why.to_owned())
    })
}

/// What the first server says that can be reached; `timeout` holds for all that this takes.
async fn ask(
    servers: Vec<Server>,
    service: &str,
    timeout: Duration,
) -> Result<ServingStatus, Failure> {
    let shown = servers.iter().map(Server::to_string);
    let shown = shown.collect::<Vec<_>>().join(" or ");
    let asking = async {
        let mut servers = servers.into_iter().peekable();
        while let Some(server) = servers.next() {
            match one(server, service, timeout).await {
                Err(Failure::Unreachable { .. }) if servers.peek().is_some() => {}
                answer => return answer,
            }
        }
        Err(Failure::Usage("there is no server to ask".to_owned()))
    };
    let asked = tokio::time::timeout(timeout, asking).await;
    asked.unwrap_or_else(|_| {
        let spent = humantime::format_duration(timeout);
        let why = format!("no answer within {spent}");
        Err(Failure::Unreachable { server: shown, why })
    })
}

async fn one(server: Server, service: &str, timeout: Duration) -> Result<ServingStatus, Failure> {
    let shown = server.to_string();
    let connection = Connection::open(server, timeout).await?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(connection.channel.clone())
        .check(request)
        .await;
    match answer {
        Ok(answer) => Ok(answer.into_inner().status()),
        Err(status) if status.code() == Code::NotFound => {
            let why = format!("{shown} has no health service named {}", quoted(service));
            Err(Failure::Usage(why))
        }
        Err(status) => Err(match connection.failure(status, None) {
            call @ Failure::Call { .. } => Failure::Unreachable {
                server: shown,
                why: call.in_one_line(),
            },
            failure => failure,
        }),
    }
}

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
    let word = output.palette().judgement(status.as_str_name());
    output.answer(&format!("{word}\n"))?;
    Ok(match status {
        ServingStatus::Serving => Exit::Done,
        _ => Exit::Refused,
    })
}

/// What is asked of whom.
struct Question<'a> {
    servers: Vec<Server>,
    /// Nobody named a server: its configuration says where it is, and whether it speaks TLS.
    by_configuration: bool,
    service: &'a str,
    /// Holds for all of it.
    timeout: Duration,
}

fn asked(
    args: &ClientArgs,
    command: &HealthcheckCommand,
    environment: &Environment,
    timeout: Duration,
) -> Result<ServingStatus, Failure> {
    let question = Question {
        servers: match &args.server {
            Some(_) => vec![Server::find(args, environment)?],
            None => at_hand(args, command, environment)?,
        },
        by_configuration: args.server.is_none(),
        service: &command.service,
        timeout,
    };
    super::runtime()?.block_on(question.ask())
}

/// Where the server of this configuration may listen: at the first of these that answers. The
/// variable that says whom other commands call is not looked at: it may mean another server.
fn at_hand(
    args: &ClientArgs,
    command: &HealthcheckCommand,
    environment: &Environment,
) -> Result<Vec<Server>, Failure> {
    refuse_flags_of_a_named_server(args)?;
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

/// The certificate of a server at hand is not verified, so whoever says how to verify it means another.
fn refuse_flags_of_a_named_server(args: &ClientArgs) -> Result<(), Failure> {
    let given = [
        ("--ca-file", args.ca_file.is_some()),
        ("--server-name", args.server_name.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::Usage(format!(
            "{flag} needs --server: without it, the server of this configuration is asked, and its \
             certificate is not verified"
        ))),
        None => Ok(()),
    }
}

impl Question<'_> {
    /// What the first server says that can be reached.
    async fn ask(self) -> Result<ServingStatus, Failure> {
        let shown = self.servers.iter().map(Server::to_string);
        let shown = shown.collect::<Vec<_>>().join(" or ");
        let asking = async {
            let mut servers = self.servers.iter().peekable();
            while let Some(server) = servers.next() {
                match self.ask_one(server).await {
                    Err(Failure::Unreachable { .. }) if servers.peek().is_some() => {}
                    answer => return answer,
                }
            }
            Err(Failure::Usage("there is no server to ask".to_owned()))
        };
        let asked = tokio::time::timeout(self.timeout, asking).await;
        asked.unwrap_or_else(|_| {
            let spent = humantime::format_duration(self.timeout);
            let why = format!("no answer within {spent}");
            Err(Failure::Unreachable { server: shown, why })
        })
    }

    async fn ask_one(&self, server: &Server) -> Result<ServingStatus, Failure> {
        let shown = server.to_string();
        let connection = Connection::open(server.clone(), self.timeout).await?;
        let request = HealthCheckRequest {
            service: self.service.to_owned(),
        };
        let answer = HealthClient::new(connection.channel.clone())
            .check(request)
            .await;
        match answer {
            Ok(answer) => Ok(answer.into_inner().status()),
            Err(status) if status.code() == Code::NotFound => {
                let why = format!(
                    "{shown} has no health service named {}",
                    quoted(self.service)
                );
                Err(Failure::Usage(why))
            }
            Err(_) if self.by_configuration && connection.heard_tls() => {
                let why = "the server speaks TLS, of which the configuration here says nothing; give \
                           it the server's configuration (--config, TOKEN_AUTHORITY_CONFIG)";
                Err(Failure::Unreachable {
                    server: shown,
                    why: why.to_owned(),
                })
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
}

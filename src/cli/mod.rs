//! The command line: a gRPC client like any other, and the door to the server; it holds no rules.

mod args;
mod change;
mod change_args;
mod chart;
mod client;
mod client_args;
mod colour;
mod completions;
mod connection;
mod context;
mod context_args;
mod contexts;
mod doctor;
mod examples;
mod facts;
mod failure;
mod healthcheck;
mod heard;
mod issued;
mod json;
mod lease;
mod lease_args;
mod lease_keeper;
mod lease_run;
mod limit_state;
mod namespace;
mod output;
mod pages;
mod pool;
mod progress;
mod secret;
mod server;
mod slept;
mod table;
mod token;
mod token_args;
mod topics;
mod usage;
mod usage_words;
mod validate;
mod watch;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::config::{self, Environment};
use crate::serve;
use crate::transport::grpc::pb::{limit_spec, span};

use args::{Cli, ClientArgs, Command};
use client::Client;
use context::InForce;
use failure::{Exit, Failure};
use output::Output;
use progress::Progress;
use secret::{Credential, Input};
use server::Server;

/// Carries out the command that the process was started with.
pub fn run() -> ExitCode {
    let input = Input::new(Box::new(io::stdin()), io::stdin().is_terminal());
    let arguments = std::env::args_os();
    let mut output = Output::standard();
    match config::environment() {
        Ok(environment) => ExitCode::from(answer(arguments, &environment, input, output)),
        Err(error) => {
            output.note(&format!("error: {error}"));
            ExitCode::from(Exit::Usage.code())
        }
    }
}

fn answer(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    input: Input,
    mut output: Output,
) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Help and errors are coloured as asked for, too.
    output.colour(args::colour(&arguments), environment);
    let cli = match args::parse(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // clap repeats what it does not understand, and that may be a misplaced secret.
            output.parser(&error, failure::withheld);
            if let Some(hint) = args::hint(&error) {
                output.note(&hint);
            }
            return u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
        }
    };
    let done = carry_out(cli, environment, input, &mut output);
    output.end_progress();
    match done {
        Ok(exit) => exit.code(),
        Err(failure) => {
            for line in failure.lines() {
                output.note(&line);
            }
            failure.exit_code()
        }
    }
}

fn carry_out(
    cli: Cli,
    environment: &Environment,
    input: Input,
    output: &mut Output,
) -> Result<Exit, Failure> {
    match cli.command {
        Command::Serve(command) => {
            serve::serve(&command.server, command.init_store).map_err(Failure::Serve)?;
        }
        Command::Init(server) => {
            let id = serve::init(&server).map_err(Failure::Serve)?;
            output.answer(&format!("{id}\n"))?;
        }
        Command::Config(server) => {
            let text = serve::effective(&server, environment).map_err(Failure::Serve)?;
            output.answer(&text)?;
        }
        Command::Healthcheck(command) => {
            return healthcheck::run(&cli.client, command, environment, output);
        }
        Command::Doctor(command) => return doctor::run(&command, environment, output),
        Command::Context(command) => {
            return context::run(&cli.client, command, environment, output);
        }
        Command::Completions { shell } => {
            output.answer(&completions::script(shell))?;
        }
        command @ (Command::Token(_)
        | Command::Namespace(_)
        | Command::Pool(_)
        | Command::Lease(_)
        | Command::Usage(_)
        | Command::Overview(_)
        | Command::Watch(_)
        | Command::Whoami) => {
            let context = context::in_force(&cli.client, environment)?;
            if let Some(note) = &context.note {
                output.note(note);
            }
            let session = Session {
                args: &cli.client,
                environment: &context.environment,
                context: &context,
                progress: Progress::default(),
                input,
                output,
                json: cli.client.json,
            };
            return call(session, command);
        }
    }
    Ok(Exit::Done)
}

fn call(mut session: Session<'_>, command: Command) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        match command {
            Command::Token(command) => token::run(&mut session, command).await,
            Command::Namespace(command) => namespace::run(&mut session, command).await,
            Command::Pool(command) => pool::run(&mut session, command).await,
            Command::Lease(command) => lease::run(&mut session, command).await,
            Command::Usage(command) => usage::usage(&mut session, command).await,
            Command::Overview(command) => usage::overview(&mut session, command).await,
            Command::Watch(command) => watch::run(&mut session, command).await,
            _ => validate::whoami(&mut session).await,
        }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Broken(format!("cannot start: {error}")))
}

/// What a command that calls a server has at hand.
struct Session<'a> {
    args: &'a ClientArgs,
    /// The variables, and what the context says beside them.
    environment: &'a Environment,
    context: &'a InForce,
    progress: Progress,
    input: Input,
    output: &'a mut Output,
    json: bool,
}

impl Session<'_> {
    /// A connection as the caller that flags, environment or the generated root token say.
    async fn client(&mut self) -> Result<Client, Failure> {
        let server = self.server()?;
        if let Some(warning) = self.context.look_at_token_file()? {
            self.output.note(&warning);
        }
        let no_root = server.no_root_token();
        let credential = secret::credential(self.args, self.environment, &mut self.input, no_root)?;
        Client::connect(server, credential, self.args.timeout()).await
    }

    /// A connection that shows no credential.
    async fn anonymous(&mut self) -> Result<Client, Failure> {
        let credential = Credential::Absent("this call needs none".to_owned());
        Client::connect(self.server()?, credential, self.args.timeout()).await
    }

    fn server(&self) -> Result<Server, Failure> {
        Server::find(self.args, self.environment)
    }

    /// The tenant that is meant: the given one, else the context's, else the caller's own.
    fn namespace(&self, given: String) -> String {
        match &self.context.namespace {
            Some(namespace) if given.is_empty() => namespace.clone(),
            _ => given,
        }
    }

    /// Prints an answer: as JSON where asked for, else in the words of `people`.
    fn answer<M: json::Answer>(
        &mut self,
        message: &M,
        people: impl FnOnce(&M) -> String,
    ) -> Result<(), Failure> {
        let text = match self.json {
            true => json::canonical(message)? + "\n",
            false => people(message),
        };
        Ok(self.output.answer(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::output::tests::Paper;
    use super::*;

    /// Exit code, standard output and standard error of a command that calls nobody.
    fn ran(line: &str, variables: &[(&str, &str)]) -> (u8, String, String) {
        let (out, err) = (Paper::default(), Paper::default());
        let output = Output::new(Box::new(out.clone()), Box::new(err.clone()), false);
        let words = std::iter::once("token-authority").chain(line.split_whitespace());
        let pairs = variables.iter();
        let environment = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let input = Input::new(Box::new(io::empty()), false);
        let code = answer(words.map(OsString::from), &environment, input, output);
        (code, out.text(), err.text())
    }

    #[test]
    fn the_effective_configuration_is_printed_without_secrets() {
        let line = "config --store redis://user:canary@host:6379";
        let root = (
            "TOKEN_AUTHORITY_ROOT_TOKEN",
            "canary-canary-canary-canary-canary",
        );
        let (code, out, err) = ran(line, &[root]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("redis://user:***@host:6379"), "{out}");
        assert!(
            out.contains("environment") && !out.contains("canary"),
            "{out}"
        );
    }

    #[test]
    fn config_refuses_what_serve_refuses_and_prints_nothing_of_it() {
        let root = (
            "TOKEN_AUTHORITY_ROOT_TOKEN",
            "canary-canary-canary-canary-canary",
        );
        for (line, told) in [
            ("config --store redis://host", "TOKEN_AUTHORITY_ROOT_TOKEN"),
            ("config --store redis://host/canary", "store.url"),
            ("config --min-durability embedded", "store.min_durability"),
            ("config --store-id short", "store.id"),
            ("config --redis-prefix A", "store.redis_prefix"),
            ("config --set log.filter=a=b=c", "log.filter"),
        ] {
            let variables = match told {
                "store.url" => &[root][..],
                _ => &[],
            };
            let (code, out, err) = ran(line, variables);
            assert_eq!((code, out.as_str()), (2, ""), "{line}");
            assert!(
                err.contains(told) && !err.contains("canary"),
                "{line}: {err}"
            );
        }
    }

    #[test]
    fn a_forgotten_token_gets_a_hint() {
        let (code, _, err) = ran("create --name x", &[]);
        assert_eq!(code, 2);
        assert!(
            err.ends_with("hint: write token-authority token create\n"),
            "{err}"
        );
    }

    #[test]
    fn a_wrong_configuration_is_wrong_usage() {
        let (code, out, err) = ran("config --set no.such=1", &[]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert_eq!(err, "error: unknown key no.such\n");
    }

    #[test]
    fn wrong_usage_repeats_no_secret() {
        let secret = "Ab1".repeat(24);
        let (code, out, err) = ran(&format!("token list ta_{secret}"), &[]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("unexpected argument"), "{err}");
        assert!(!err.contains(&secret), "{err}");
    }

    #[test]
    fn the_server_comes_from_a_flag_before_the_environment() {
        let variable = [("TOKEN_AUTHORITY_SERVER", "ftp://variable:1")];
        let (code, _, err) = ran("whoami", &variable);
        assert_eq!(code, 2);
        assert!(err.contains("ftp://variable:1"), "{err}");
        let (_, _, err) = ran("whoami --server ftp://flag:1", &variable);
        assert!(err.contains("ftp://flag:1"), "{err}");
    }
}

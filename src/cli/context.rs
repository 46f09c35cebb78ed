//! Which context is in force, what it adds to a call, and the commands that look after contexts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::config::Environment;

use super::args::ClientArgs;
use super::context_args::{ContextCommand, SetArgs};
use super::contexts::{Context, Contexts, Key};
use super::failure::{Exit, Failure};
use super::output::Output;
use super::table;

const VARIABLE: &str = "TOKEN_AUTHORITY_CONTEXT";

/// What holds for calls, once a context has said what neither flags nor variables did.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// The variables, those that are not set filled in by the context.
    pub(super) environment: Environment,
    /// The tenant that is meant where none is given.
    pub(super) namespace: Option<String>,
    /// The context's file of the caller's secret, where that is what counts, and the key that names it.
    pub(super) token_file: Option<(PathBuf, String)>,
    /// What people should know.
    pub(super) note: Option<String>,
}

/// The name of the context that flag or variable ask for, and who asks.
fn asked(args: &ClientArgs, environment: &Environment) -> Option<(String, &'static str)> {
    let variable =
        || set(environment, VARIABLE).map(|name| (name.to_owned(), "TOKEN_AUTHORITY_CONTEXT: "));
    let flag = args.context.clone().map(|name| (name, "--context: "));
    flag.or_else(variable)
}

fn set<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    let value = environment.get(name).map(String::as_str);
    value.filter(|value| !value.is_empty())
}

/// Finds what holds for calls.
pub(super) fn in_force(args: &ClientArgs, environment: &Environment) -> Result<InForce, Failure> {
    let mut found = InForce {
        environment: environment.clone(),
        ..InForce::default()
    };
    let asked = asked(args, environment);
    // What is kept for one server goes to no other.
    let elsewhere = match (&args.server, set(environment, "TOKEN_AUTHORITY_SERVER")) {
        (Some(_), _) => Some("--server"),
        (None, Some(_)) => Some("TOKEN_AUTHORITY_SERVER"),
        (None, None) => None,
    };
    if let Some(elsewhere) = elsewhere {
        found.note = asked.map(|(name, _)| {
            let name = table::printable(&name);
            format!("note: {elsewhere} names the server, so nothing of context {name} is used")
        });
        return Ok(found);
    }
    let contexts = match asked {
        Some(_) => Contexts::load(environment)?,
        // Nobody asked for contexts where there is no place for them.
        None => match Contexts::load(environment) {
            Ok(contexts) => contexts,
            Err(_) if no_place(environment) => return Ok(found),
            Err(failure) => return Err(failure),
        },
    };
    let (name, who) = match (asked, &contexts.current) {
        (Some(asked), _) => asked,
        (None, Some(current)) => (current.clone(), "current: "),
        (None, None) => return Ok(found),
    };
    let context = contexts.find(&name, who)?;
    found.fill_in(&name, context, args);
    Ok(found)
}

fn no_place(environment: &Environment) -> bool {
    ["HOME", "XDG_CONFIG_HOME", "TOKEN_AUTHORITY_CONTEXTS"]
        .iter()
        .all(|name| set(environment, name).is_none())
}

impl InForce {
    fn fill_in(&mut self, name: &str, context: &Context, args: &ClientArgs) {
        let is_set = |names: &[&str]| {
            names
                .iter()
                .any(|name| set(&self.environment, name).is_some())
        };
        let flags = args.token.is_some() || args.token_file.is_some();
        let secret = flags || is_set(&["TOKEN_AUTHORITY_TOKEN", "TOKEN_AUTHORITY_TOKEN_FILE"]);
        let flags = args.cert_file.is_some() || args.key_file.is_some();
        let pair = flags || is_set(&["TOKEN_AUTHORITY_CERT_FILE", "TOKEN_AUTHORITY_KEY_FILE"]);
        for (key, text) in context {
            let taken = match key {
                Key::TokenFile => secret,
                // A certificate fits no other key.
                Key::CertFile | Key::PrivateKeyFile => pair,
                Key::Server | Key::Namespace | Key::CaFile | Key::ServerName => false,
            };
            match key.variable().filter(|_| !taken) {
                Some(variable) if set(&self.environment, variable).is_none() => {
                    self.environment.insert(variable.to_owned(), text.clone());
                }
                _ => {}
            }
        }
        self.namespace = context.get(&Key::Namespace).cloned();
        let file = context.get(&Key::TokenFile).filter(|_| !secret);
        self.token_file = file.map(|path| (path.into(), format!("contexts.{name}.token_file")));
    }

    /// Whether the context's file of a secret can be used, and what is odd about it.
    pub(super) fn look_at_token_file(&self) -> Result<Option<String>, Failure> {
        let Some((path, key)) = &self.token_file else {
            return Ok(None);
        };
        fs::File::open(path)
            .map_err(|error| Failure::Usage(format!("{key}: {}: {error}", path.display())))?;
        Ok(open_to_others(path))
    }
}

/// A warning, where others than its owner may read or write a file that holds a secret.
fn open_to_others(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let path = path.display();
    (mode & 0o077 != 0).then(|| {
        format!("warning: {path} is open to others (mode {mode:04o}); it should have mode 0600")
    })
}

pub(super) fn run(
    args: &ClientArgs,
    command: ContextCommand,
    environment: &Environment,
    output: &mut Output,
) -> Result<Exit, Failure> {
    refuse_flags(args, &command)?;
    let mut contexts = Contexts::load(environment)?;
    match command {
        ContextCommand::List => list(args, &contexts, environment, output)?,
        ContextCommand::Show { name } => show(args, name, &contexts, environment, output)?,
        ContextCommand::Use { name } => {
            contexts.find(&name, "")?;
            contexts.current = Some(name.clone());
            contexts.save()?;
            output.answer(&format!("context {name} is in force\n"))?;
            let asked = asked(args, environment).filter(|(asked, _)| *asked != name);
            if let Some((other, _)) = asked {
                let other = table::printable(&other);
                output.note(&format!(
                    "note: {VARIABLE} names {other}, which counts before it"
                ));
            }
        }
        ContextCommand::Set(command) => put(args, command, &mut contexts, output)?,
        ContextCommand::Delete { name } => {
            contexts.find(&name, "")?;
            contexts.named.remove(&name);
            if contexts.current.as_ref() == Some(&name) {
                contexts.current = None;
            }
            contexts.save()?;
            output.answer(&format!("deleted {name}\n"))?;
        }
    }
    Ok(Exit::Done)
}

/// Flags that would be left unheard.
fn refuse_flags(args: &ClientArgs, command: &ContextCommand) -> Result<(), Failure> {
    let sets = matches!(command, ContextCommand::Set(_));
    let prints = matches!(command, ContextCommand::List | ContextCommand::Show { .. });
    if args.token.is_some() && sets {
        let why =
            "a context holds no secret; write it to a file of mode 0600, and give --token-file";
        return Err(Failure::Usage(why.to_owned()));
    }
    let unheard = [
        ("--token", args.token.is_some()),
        ("--timeout", args.timeout.is_some()),
        ("--json", args.json && !prints),
        ("--context", args.context.is_some() && !prints),
        ("--server", args.server.is_some() && !sets),
        ("--token-file", args.token_file.is_some() && !sets),
        ("--ca-file", args.ca_file.is_some() && !sets),
        ("--server-name", args.server_name.is_some() && !sets),
        ("--cert-file", args.cert_file.is_some() && !sets),
        ("--key-file", args.key_file.is_some() && !sets),
    ];
    match unheard.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            let why = format!("{flag} is not for this command, which calls no server");
            Err(Failure::Usage(why))
        }
        None => Ok(()),
    }
}

fn list(
    args: &ClientArgs,
    contexts: &Contexts,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let chosen = asked(args, environment).map(|(name, _)| name);
    let chosen = chosen.or_else(|| contexts.current.clone());
    if args.json {
        let all = contexts.named.iter();
        let all: serde_json::Map<_, _> =
            all.map(|(name, it)| (name.clone(), as_json(it))).collect();
        return print_json(&json!({ "current": chosen, "contexts": all }), output);
    }
    let row = |(name, context): (&String, &Context)| {
        let value = |key| context.get(&key).cloned().unwrap_or_default();
        let mark = match chosen.as_ref() == Some(name) {
            true => "*",
            false => "",
        };
        [
            mark.to_owned(),
            name.clone(),
            value(Key::Server),
            value(Key::Namespace),
            value(Key::TokenFile),
        ]
    };
    let rows: Vec<_> = contexts.named.iter().map(row).collect();
    let head = ["CURRENT", "NAME", "SERVER", "NAMESPACE", "TOKEN_FILE"];
    let text = table::columns_in(output.palette(), head, &rows);
    Ok(output.answer(&text)?)
}

fn show(
    args: &ClientArgs,
    name: Option<String>,
    contexts: &Contexts,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    let asked = name
        .map(|name| (name, ""))
        .or_else(|| asked(args, environment));
    let current = || Some((contexts.current.clone()?, "current: "));
    let Some((name, who)) = asked.or_else(current) else {
        return Err(contexts.refusal("no context is in force; choose one with context use NAME"));
    };
    let context = contexts.find(&name, who)?;
    if args.json {
        return print_json(&as_json(context), output);
    }
    let rows = context.iter().map(|(key, text)| (key.name(), text.clone()));
    let rows: Vec<_> = std::iter::once(("context", name)).chain(rows).collect();
    Ok(output.answer(&table::pairs(&rows))?)
}

fn as_json(context: &Context) -> serde_json::Value {
    let values = context.iter();
    let values = values.map(|(key, text)| (key.name().to_owned(), text.clone().into()));
    serde_json::Value::Object(values.collect())
}

fn print_json(value: &serde_json::Value, output: &mut Output) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Broken(format!("cannot write JSON: {error}")))?;
    Ok(output.answer(&(text + "\n"))?)
}

fn put(
    args: &ClientArgs,
    command: SetArgs,
    contexts: &mut Contexts,
    output: &mut Output,
) -> Result<(), Failure> {
    let SetArgs {
        name,
        namespace,
        unset,
    } = command;
    let mut context = contexts.named.get(&name).cloned().unwrap_or_default();
    for key in unset {
        context.remove(&key);
    }
    let file = |flag: &str, path: &Option<PathBuf>| match path {
        Some(path) if path.as_os_str() == "-" => {
            let why = format!("{flag} must name a file here; standard input cannot be kept");
            Err(Failure::Usage(why))
        }
        Some(path) => whole(flag, path).map(Some),
        None => Ok(None),
    };
    let given = [
        (Key::Server, args.server.clone()),
        (Key::TokenFile, file("--token-file", &args.token_file)?),
        (Key::Namespace, namespace),
        (Key::CaFile, file("--ca-file", &args.ca_file)?),
        (Key::ServerName, args.server_name.clone()),
        (Key::CertFile, file("--cert-file", &args.cert_file)?),
        (Key::PrivateKeyFile, file("--key-file", &args.key_file)?),
    ];
    let given = given.into_iter();
    context.extend(given.filter_map(|(key, text)| Some((key, text?))));
    let file = context.get(&Key::TokenFile).map(PathBuf::from);
    contexts.put(&name, context)?;
    // The first one is meant, as there is no other.
    let first = contexts.named.len() == 1 && contexts.current.is_none();
    if first {
        contexts.current = Some(name.clone());
    }
    contexts.save()?;
    output.answer(&format!(
        "context {name} is set{}\n",
        match first {
            true => ", and in force",
            false => "",
        }
    ))?;
    if let Some(warning) = file.and_then(|path| open_to_others(&path)) {
        output.note(&warning);
    }
    Ok(())
}

/// The path from the root on, since the context is used in other folders, too.
fn whole(flag: &str, path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path)
        .map_err(|error| Failure::Usage(format!("{flag}: {}: {error}", path.display())))?;
    whole.into_os_string().into_string().map_err(|_| {
        let path = path.display();
        Failure::Usage(format!("{flag}: {path}: the path is not UTF-8"))
    })
}

#[cfg(test)]
mod tests;

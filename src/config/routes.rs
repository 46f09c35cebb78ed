//! `[[ext_authz.route]]`: which requests demand what of their tokens.

use serde::Deserialize;
use toml::Value;

use crate::domain::caller::Namespaces;
use crate::domain::endpoint::{Pattern, parse_method};
use crate::domain::flaw::{Flaw, quoted};
use crate::domain::limit::COST_MAX;
use crate::domain::name::Owner;
use crate::domain::route::{Demand, Host, Route, Routes};
use crate::domain::scope::{RequiredScope, Scope};

use super::ConfigError;

const KEY: &str = "ext_authz.route";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    host: Option<String>,
    path: Option<String>,
    method: Option<String>,
    namespace: Option<String>,
    required_scopes: Option<Vec<String>>,
    owner: Option<String>,
    cost: Option<i64>,
}

pub(super) fn parse(values: Vec<Value>) -> Result<Routes, ConfigError> {
    if values.len() > Routes::COUNT_MAX {
        let (most, got) = (Routes::COUNT_MAX, values.len());
        let why = format!("at most {most} are allowed; got {got}");
        return Err(ConfigError::key(KEY, why));
    }
    let route = |(at, value): (usize, Value)| {
        let place = format!("{KEY}[{at}]");
        let entry: Entry = value.try_into().map_err(|error: toml::de::Error| {
            let why =
                "must be a table of host, path, method, namespace, required_scopes, owner, cost";
            ConfigError::key(&place, format!("{why}: {}", error.message()))
        })?;
        entry.parse(&place)
    };
    let routes = values.into_iter().enumerate().map(route);
    routes.collect::<Result<_, _>>().map(Routes::new)
}

impl Entry {
    fn parse(self, place: &str) -> Result<Route, ConfigError> {
        let Self {
            host,
            path,
            method,
            namespace,
            required_scopes,
            owner,
            cost,
        } = self;
        let at = |key: &str, flaw: Flaw| ConfigError::key(&format!("{place}.{key}"), flaw);
        let path = path.map(|path| pattern(&path).map_err(|flaw| at("path", flaw)));
        let method = method.map(|method| parse_method(&method).map_err(|flaw| at("method", flaw)));
        let host = host.map(|host| Host::parse(&host).map_err(|flaw| at("host", flaw)));
        let owner = owner.map(|owner| Owner::parse(&owner).map_err(|flaw| at("owner", flaw)));
        let namespace = namespace.unwrap_or_default();
        let demand = Demand {
            namespace: Namespaces::parse(&namespace).map_err(|flaw| at("namespace", flaw))?,
            required_scopes: scopes(place, &required_scopes.unwrap_or_default())?,
            owner: owner.transpose()?,
            cost: self::cost(cost).map_err(|flaw| at("cost", flaw))?,
        };
        Ok(Route {
            host: host.transpose()?,
            path: path.transpose()?,
            method: method.transpose()?,
            demand,
        })
    }
}

fn pattern(text: &str) -> Result<Pattern, Flaw> {
    let pattern = Pattern::parse(text)?;
    if pattern.names_method() {
        let why = "may not name a method, which is said by \"method\"; got";
        return Err(Flaw::new(format!("{why} {}", quoted(text))));
    }
    Ok(pattern)
}

fn scopes(place: &str, texts: &[String]) -> Result<Vec<RequiredScope>, ConfigError> {
    let key = format!("{place}.required_scopes");
    if texts.len() > Scope::COUNT_MAX {
        let (most, got) = (Scope::COUNT_MAX, texts.len());
        return Err(ConfigError::key(
            &key,
            format!("at most {most} are allowed; got {got}"),
        ));
    }
    let scope = |(at, text): (usize, &String)| {
        let wrong = |flaw| ConfigError::key(&format!("{key}[{at}]"), flaw);
        RequiredScope::parse(text).map_err(wrong)
    };
    texts.iter().enumerate().map(scope).collect()
}

fn cost(given: Option<i64>) -> Result<u64, Flaw> {
    let given = given.unwrap_or(1);
    let cost = u64::try_from(given).ok().filter(|cost| *cost <= COST_MAX);
    cost.ok_or_else(|| Flaw::new(format!("must be 0 to {COST_MAX}; got {given}")))
}

//! What a route of Envoy's demands, by its `context_extensions`.

use crate::domain::caller::Namespaces;
use crate::domain::flaw::{Flaw, quoted};
use crate::domain::limit::COST_MAX;
use crate::domain::name::Owner;
use crate::domain::route::Demand;
use crate::domain::scope::{RequiredScope, Scope};

/// Reads `namespace`, `required_scopes` (parted by spaces or commas), `owner` and `cost`, each as
/// Validate takes it; empty ones ask nothing. Keys of others are theirs.
///
/// An error names the key that cannot be read: then nobody knows what is demanded, and nothing may pass.
pub(super) fn demand<'a>(
    extensions: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Demand, (&'static str, Flaw)> {
    let mut demand = Demand::default();
    for (key, value) in extensions {
        match key {
            "namespace" => {
                demand.namespace = Namespaces::parse(value).map_err(|flaw| ("namespace", flaw))?;
            }
            "required_scopes" => {
                demand.required_scopes = scopes(value).map_err(|flaw| ("required_scopes", flaw))?;
            }
            "owner" if !value.is_empty() => {
                let owner = Owner::parse(value).map_err(|flaw| ("owner", flaw))?;
                demand.owner = Some(owner);
            }
            "cost" => demand.cost = cost(value).map_err(|flaw| ("cost", flaw))?,
            _ => {}
        }
    }
    Ok(demand)
}

fn scopes(text: &str) -> Result<Vec<RequiredScope>, Flaw> {
    let scopes = text.split([' ', ',']).filter(|scope| !scope.is_empty());
    let scopes: Vec<RequiredScope> = scopes.map(RequiredScope::parse).collect::<Result<_, _>>()?;
    if scopes.len() > Scope::COUNT_MAX {
        let (count, most) = (scopes.len(), Scope::COUNT_MAX);
        let flaw = format!("has {count} entries; at most {most} are allowed");
        return Err(Flaw::new(flaw));
    }
    Ok(scopes)
}

fn cost(text: &str) -> Result<u64, Flaw> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let cost = text.parse().ok().filter(|cost| digits && *cost <= COST_MAX);
    cost.ok_or_else(|| Flaw::new(format!("must be 0 to {COST_MAX}; got {}", quoted(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Demand, &'static str> {
        demand(pairs.iter().copied()).map_err(|(key, _)| key)
    }

    #[test]
    fn keys_of_ours_are_read_and_those_of_others_left_alone() {
        assert_eq!(read(&[]), Ok(Demand::default()));
        assert_eq!(
            read(&[("virtual_host", "shop"), ("Cost", "x")]),
            Ok(Demand::default())
        );
        let scope = |text| RequiredScope::parse(text).unwrap();
        let whole = read(&[
            ("namespace", "shop"),
            ("required_scopes", "orders:read, orders:write stock"),
            ("owner", "ann"),
            ("cost", "0"),
        ]);
        let expected = Demand {
            namespace: Namespaces::parse("shop").unwrap(),
            required_scopes: vec![scope("orders:read"), scope("orders:write"), scope("stock")],
            owner: Owner::parse("ann").ok(),
            cost: 0,
        };
        assert_eq!(whole, Ok(expected));
        let empty = [("namespace", ""), ("required_scopes", " ,"), ("owner", "")];
        assert_eq!(read(&empty), Ok(Demand::default()));
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_key() {
        let many = vec!["a"; Scope::COUNT_MAX + 1].join(" ");
        for (key, value) in [
            ("namespace", "Shop!"),
            ("required_scopes", "\"quoted\""),
            ("required_scopes", &many),
            ("owner", "a\nb"),
            ("cost", ""),
            ("cost", "+1"),
            ("cost", "-1"),
            ("cost", "1.0"),
            ("cost", "1000000001"),
        ] {
            assert_eq!(read(&[(key, value)]), Err(key), "{value}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(value in ".{0,200}") {
            for key in ["namespace", "required_scopes", "owner", "cost"] {
                let _ = read(&[(key, &value)]);
            }
        }
    }
}

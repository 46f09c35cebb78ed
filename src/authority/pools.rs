//! Listing pools, each with how its tokens stand.

use crate::domain::caller::Namespaces;
use crate::domain::flaw::Violations;
use crate::domain::page::{PageSize, PoolCursor};
use crate::domain::pool::{Pool, Standing};
use crate::store::leases::Pools;

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;

/// What is asked of ListPools.
#[derive(Clone, Debug)]
pub struct PoolsQuery {
    pub namespaces: Namespaces,
    pub page_size: PageSize,
    /// Empty: from the first.
    pub page_token: String,
}

/// A page of ListPools.
#[derive(Debug)]
pub struct PoolsListed {
    pub pools: Vec<(Pool, Standing)>,
    /// Empty at the end.
    pub next_page_token: String,
}

impl Authority {
    /// Lists the pools of the asked namespaces, where the right covers them, as far as they hold
    /// tokens.
    pub async fn list_pools(
        &self,
        right: &Right<act::ListPools>,
        query: PoolsQuery,
    ) -> Result<PoolsListed, Error> {
        let PoolsQuery {
            namespaces,
            page_size,
            page_token,
        } = query;
        let reach = right.within(&namespaces)?;
        let key = self.store.id()?;
        let key = key.as_str().as_bytes();
        let after = match page_token.as_str() {
            "" => None,
            text => Some(
                PoolCursor::unseal(text, key, &reach)
                    .map_err(|flaw| Error::Invalid(Violations::one("page_token", flaw)))?,
            ),
        };
        let after = after.as_ref().map(|after| &after.0);
        let Pools { pools, next } = self.store.pools(&reach, after, page_size).await?;
        let next = next.map(|next| PoolCursor(next).seal(key, &reach));
        Ok(PoolsListed {
            pools,
            next_page_token: next.unwrap_or_default(),
        })
    }
}

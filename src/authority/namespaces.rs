//! Listing the namespaces that a caller may read.

use crate::domain::flaw::Violations;
use crate::domain::page::{NamespaceCursor, PageSize};
use crate::store::census::{Census, Population};

use super::Authority;
use super::access::Right;
use super::act;
use super::error::Error;

/// What is asked of ListNamespaces.
#[derive(Clone, Debug)]
pub struct NamespacesQuery {
    pub page_size: PageSize,
    /// Empty: from the first.
    pub page_token: String,
}

/// A page of ListNamespaces.
#[derive(Debug)]
pub struct NamespacesListed {
    pub populations: Vec<Population>,
    /// Empty at the end.
    pub next_page_token: String,
}

impl Authority {
    /// Lists the namespaces that the right holds for, as far as they hold tokens.
    pub async fn list_namespaces(
        &self,
        right: &Right<act::ListNamespaces>,
        query: NamespacesQuery,
    ) -> Result<NamespacesListed, Error> {
        let NamespacesQuery {
            page_size,
            page_token,
        } = query;
        let reach = right.reach();
        let key = self.store.id()?;
        let key = key.as_str().as_bytes();
        let after = match page_token.as_str() {
            "" => None,
            text => Some(
                NamespaceCursor::unseal(text, key, reach)
                    .map_err(|flaw| Error::Invalid(Violations::one("page_token", flaw)))?,
            ),
        };
        let after = after.as_ref().map(|after| &after.0);
        let Census { populations, next } = self.store.census(reach, after, page_size).await?;
        let next = next.map(|next| NamespaceCursor(next).seal(key, reach));
        Ok(NamespacesListed {
            populations,
            next_page_token: next.unwrap_or_default(),
        })
    }
}

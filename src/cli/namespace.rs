//! Looking at namespaces.

use clap::Subcommand;

use crate::transport::grpc::pb;

use super::Session;
use super::failure::{Exit, Failure};
use super::pages::{Extent, MORE};
use super::table;

#[derive(Subcommand, Debug)]
pub(super) enum NamespaceCommand {
    /// Print the namespaces that hold tokens, by name
    List(Extent),
}

pub(super) async fn run(
    session: &mut Session<'_>,
    command: NamespaceCommand,
) -> Result<Exit, Failure> {
    match command {
        NamespaceCommand::List(extent) => list(session, extent).await?,
    }
    Ok(Exit::Done)
}

async fn list(session: &mut Session<'_>, extent: Extent) -> Result<(), Failure> {
    let mut client = session.client().await?;
    let mut namespaces = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListNamespacesRequest {
            page_size: extent.page_size(namespaces.len()),
            page_token: page_token.clone(),
        };
        let page = session
            .listing(namespaces.len(), client.list_namespaces(request))
            .await?;
        namespaces.extend(page.namespaces);
        if !extent.turn(&mut page_token, page.next_page_token, namespaces.len())? {
            break;
        }
    }
    let listed = pb::ListNamespacesResponse {
        namespaces,
        next_page_token: page_token,
    };
    let palette = session.output.palette();
    session.answer(&listed, |listed| {
        let rows: Vec<_> = listed.namespaces.iter().map(row).collect();
        table::columns_in(palette, ["NAMESPACE", "TOKENS"], &rows)
    })?;
    if !session.json && !listed.next_page_token.is_empty() {
        session.output.note(MORE);
    }
    Ok(())
}

fn row(summary: &pb::NamespaceSummary) -> [String; 2] {
    let pb::NamespaceSummary { namespace, tokens } = summary;
    [namespace.clone(), tokens.to_string()]
}

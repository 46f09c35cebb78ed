//! Looking at pools of tokens, and filling them.

use clap::{Args, Subcommand};

use crate::transport::grpc::pb;

use super::Session;
use super::facts;
use super::failure::{Exit, Failure};
use super::json;
use super::limit_spec;
use super::pages::{Extent, MORE};
use super::table;
use super::token::create_request;
use super::token_args::Traits;

#[derive(Subcommand, Debug)]
pub(super) enum PoolCommand {
    /// Print pools, each with how many of its tokens are available, leased and unavailable
    List(ListArgs),
    /// Issue tokens that are alike into a pool; their secrets are printed this one time
    #[command(after_help = limit_spec::FORMS)]
    Fill(Box<FillArgs>),
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Tenant to list, if not the caller's own; - for all
    #[arg(long, default_value_t, hide_default_value = true)]
    pub namespace: String,

    #[command(flatten)]
    pub extent: Extent,
}

#[derive(Args, Debug)]
pub(super) struct FillArgs {
    /// Pool to fill
    pub pool: String,

    /// How many tokens to issue, 1 to 1000
    #[arg(long, value_name = "N")]
    pub count: u32,

    #[command(flatten)]
    pub traits: Traits,
}

pub(super) async fn run(session: &mut Session<'_>, command: PoolCommand) -> Result<Exit, Failure> {
    match command {
        PoolCommand::List(args) => list(session, args).await?,
        PoolCommand::Fill(args) => fill(session, *args).await?,
    }
    Ok(Exit::Done)
}

async fn list(session: &mut Session<'_>, args: ListArgs) -> Result<(), Failure> {
    let ListArgs { namespace, extent } = args;
    let mut client = session.client().await?;
    let mut pools = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListPoolsRequest {
            namespace: session.namespace(namespace.clone()),
            page_size: extent.page_size(pools.len()),
            page_token: page_token.clone(),
        };
        let page = session
            .listing(pools.len(), client.list_pools(request))
            .await?;
        pools.extend(page.pools);
        if !extent.turn(&mut page_token, page.next_page_token, pools.len())? {
            break;
        }
    }
    let listed = pb::ListPoolsResponse {
        pools,
        next_page_token: page_token,
    };
    let palette = session.output.palette();
    session.answer(&listed, |listed| {
        let rows: Vec<_> = listed.pools.iter().map(row).collect();
        table::columns_in(palette, HEAD, &rows)
    })?;
    if !session.json && !listed.next_page_token.is_empty() {
        session.output.note(MORE);
    }
    Ok(())
}

const HEAD: [&str; 6] = [
    "POOL",
    "NAMESPACE",
    "AVAILABLE",
    "LEASED",
    "UNAVAILABLE",
    "WAITING",
];

fn row(standing: &pb::PoolStanding) -> [String; 6] {
    let pb::PoolStanding {
        namespace,
        pool,
        available,
        leased,
        unavailable,
        waiting,
    } = standing;
    [
        pool.clone(),
        namespace.clone(),
        available.to_string(),
        leased.to_string(),
        unavailable.to_string(),
        waiting.to_string(),
    ]
}

async fn fill(session: &mut Session<'_>, args: FillArgs) -> Result<(), Failure> {
    let FillArgs {
        pool,
        count,
        traits,
    } = args;
    let secret_only = traits.secret_only;
    let request = pb::BatchCreateRequest {
        template: Some(create_request(session, pool.clone(), traits)?),
        count,
    };
    let mut client = session.client().await?;
    let doing = format!("issuing {count} tokens");
    let filled = session
        .meanwhile(&doing, client.batch_create(request))
        .await?;
    let printed = if session.json {
        let text = json::canonical(&filled)? + "\n";
        session.output.answer(&text)
    } else {
        let secrets: String = filled
            .created
            .iter()
            .map(|created| format!("{}\n", created.secret))
            .collect();
        let tokens = filled
            .created
            .iter()
            .filter_map(|created| created.token.as_ref());
        let rows: Vec<_> = tokens.map(facts::row).collect();
        match secret_only {
            true => session.output.answer(&secrets),
            false => {
                let palette = session.output.palette();
                let once = "The secrets, shown this one time; nobody can look them up again:";
                let text = format!(
                    "{secrets}\n{}",
                    table::columns_in(palette, facts::HEAD, &rows)
                );
                let remarked = session.output.remark(once);
                remarked.and_then(|()| session.output.answer(&text))
            }
        }
    };
    printed.map_err(|why| Failure::SecretsLost { pool, why })
}

//! Printing a token with its secret, which is shown this one time.

use crate::transport::grpc::pb;

use super::Session;
use super::facts::facts;
use super::failure::Failure;
use super::json;
use super::table;

/// Prints what `answer` holds: as JSON, as the secret alone, or as the secret and the token's facts.
pub(super) fn print<M: json::Answer>(
    session: &mut Session<'_>,
    answer: &M,
    token: &pb::Token,
    secret: &str,
    secret_only: bool,
) -> Result<(), Failure> {
    let printed = if session.json {
        let text = json::canonical(answer)? + "\n";
        session.output.answer(&text)
    } else if secret_only {
        session.output.answer(&format!("{secret}\n"))
    } else {
        let palette = session.output.palette();
        let once = "The secret, shown this one time; nobody can look it up again:";
        let text = format!("{secret}\n\n{}", table::pairs_in(palette, &facts(token)));
        let remarked = session.output.remark(once);
        remarked.and_then(|()| session.output.answer(&text))
    };
    printed.map_err(|why| Failure::SecretLost {
        token_id: token.token_id.clone(),
        version: token.secret_version,
        why,
    })
}

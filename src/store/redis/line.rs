//! One link, held for an act.
//!
//! Behind a proxy two links may lead to two servers. What was found absent over one of them says
//! nothing about the other, and the other's marker does not vouch for it: so an act reads, writes
//! and confirms over one link.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value, pipe};

use super::error::unexpected;
use super::identity::no_marker;
use super::link::{Link, Links, Request};
use super::replicas::Held;
use super::scripts::Call;
use crate::store::StoreError;

/// Commands that are sent at once at most, so that the calls of others come between.
pub(super) const PIPELINE_MAX: usize = 256;

/// A link, and all that may be asked over it.
pub(super) struct Line<'a> {
    links: &'a Links,
    link: Arc<Link>,
    /// Where nobody else uses the link: what waits for replicas over it.
    held: Option<Held<'a>>,
    /// Whether its exchanges are those of an act.
    counted: bool,
}

impl<'a> Line<'a> {
    pub(super) fn new(links: &'a Links, link: Arc<Link>) -> Self {
        Self {
            links,
            link,
            held: None,
            counted: true,
        }
    }

    /// The same for what no act waits for: its exchanges are not counted.
    pub(super) fn aside(self) -> Self {
        Self {
            counted: false,
            ..self
        }
    }

    /// One that no other act uses meanwhile, and over which each exchange waits for replicas.
    pub(super) fn holding(links: &'a Links, held: Held<'a>) -> Self {
        Self {
            links,
            link: held.link(),
            held: Some(held),
            counted: true,
        }
    }

    /// The link, where others are to use it, too.
    pub(super) fn into_link(self) -> Arc<Link> {
        self.link
    }

    /// Sends one command.
    pub(super) async fn command(&self, limit: Duration, cmd: &Cmd) -> Result<Value, StoreError> {
        let answer = self.exchange(limit, Request::One(cmd)).await?;
        self.accept(limit, answer)
    }

    /// Sends any number of commands, in few exchanges; an error of one is the error of all.
    pub(super) async fn commands(
        &self,
        limit: Duration,
        commands: Vec<Cmd>,
    ) -> Result<Vec<Value>, StoreError> {
        let answers = self.raw_commands(limit, commands).await?;
        let accept = |answer| self.accept(limit, answer);
        answers.into_iter().map(accept).collect()
    }

    /// Sends any number of commands, in few exchanges; errors of single ones are among the answers
    /// and to be given to [`Self::accept`].
    pub(super) async fn raw_commands(
        &self,
        limit: Duration,
        commands: Vec<Cmd>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let mut some = Pipeline::with_capacity(PIPELINE_MAX);
            commands.by_ref().take(PIPELINE_MAX).for_each(|command| {
                some.add_command(command);
            });
            answers.extend(self.pipeline(limit, &some).await?);
        }
        Ok(answers)
    }

    async fn pipeline(&self, limit: Duration, some: &Pipeline) -> Result<Vec<Value>, StoreError> {
        match self.exchange(limit, Request::Many(some)).await? {
            Value::Array(answers) if answers.len() == some.len() => Ok(answers),
            _ => Err(unexpected("not as many answers as commands")),
        }
    }

    /// Runs a script.
    pub(super) async fn script(&self, limit: Duration, call: &Call) -> Result<Value, StoreError> {
        self.script_behind(limit, &[], call).await
    }

    /// Runs a script after others, `first`, in the same exchange.
    ///
    /// Redis carries out in order what it gets over one connection, so the script is never run
    /// where one of `first` was not sent. They are sent whole: by its hash one might be unknown, and
    /// the script not.
    pub(super) async fn script_behind(
        &self,
        limit: Duration,
        first: &[Call],
        call: &Call,
    ) -> Result<Value, StoreError> {
        let (answer, _) = self.script_between(limit, first, call, &[]).await?;
        self.accept(limit, answer)
    }

    /// The same before some commands, in the same exchange; errors, of the script too, are inside of the
    /// answers and to be given to [`Self::accept`].
    ///
    /// What is behind is carried out whatever the script answered, and twice where Redis did not know the
    /// script.
    pub(super) async fn script_between(
        &self,
        limit: Duration,
        first: &[Call],
        call: &Call,
        behind: &[Cmd],
    ) -> Result<(Value, Vec<Value>), StoreError> {
        let answers = self.run(limit, first, call.by_hash(), behind).await?;
        if is_unknown_script(&answers.0) {
            return self.run(limit, &[], call.whole(), behind).await;
        }
        Ok(answers)
    }

    /// Runs a script and reads the marker after it, in one round trip; an error where the store
    /// has lost its marker, since it then has lost what the script wrote, or will.
    pub(super) async fn marked_script(
        &self,
        limit: Duration,
        call: &Call,
    ) -> Result<Value, StoreError> {
        self.marked_script_behind(limit, &[], call).await
    }

    /// The same after other scripts, as in [`Self::script_behind`].
    pub(super) async fn marked_script_behind(
        &self,
        limit: Duration,
        first: &[Call],
        call: &Call,
    ) -> Result<Value, StoreError> {
        let behind = [self.marker()];
        let answers = self.script_between(limit, first, call, &behind).await?;
        self.vouched(limit, answers)
    }

    /// Sends one command and reads the marker after it, as [`Self::marked_script`] does.
    pub(super) async fn marked_command(
        &self,
        limit: Duration,
        cmd: Cmd,
    ) -> Result<Value, StoreError> {
        let answers = self.run(limit, &[], cmd, &[self.marker()]).await?;
        self.vouched(limit, answers)
    }

    /// An answer, if the marker beside it is the one that was verified.
    fn vouched(
        &self,
        limit: Duration,
        (answer, mut behind): (Value, Vec<Value>),
    ) -> Result<Value, StoreError> {
        self.check_marker(limit, behind.pop().unwrap_or_default())?;
        self.accept(limit, answer)
    }

    /// Sends a script between others and some commands, and answers what it and those commands answered.
    async fn run(
        &self,
        limit: Duration,
        first: &[Call],
        script: Cmd,
        behind: &[Cmd],
    ) -> Result<(Value, Vec<Value>), StoreError> {
        if first.is_empty() && behind.is_empty() {
            let answer = self.exchange(limit, Request::One(&script)).await?;
            return Ok((answer, Vec::new()));
        }
        let mut all = pipe();
        let commands = first.iter().map(Call::whole).chain([script]);
        commands.chain(behind.iter().cloned()).for_each(|command| {
            all.add_command(command);
        });
        let mut answers = self.pipeline(limit, &all).await?.into_iter();
        for _ in first {
            self.accept(limit, answers.next().unwrap_or_default())?;
        }
        let answer = answers.next().unwrap_or_default();
        Ok((answer, answers.collect()))
    }

    /// Runs any number of scripts, in few exchanges and in any order; an error of one is the error
    /// of all.
    pub(super) async fn scripts(
        &self,
        limit: Duration,
        calls: &[Call],
    ) -> Result<Vec<Value>, StoreError> {
        let by_hash = calls.iter().map(Call::by_hash).collect();
        let mut answers = self.raw_commands(limit, by_hash).await?;
        let unknown = |at: &usize| is_unknown_script(&answers[*at]);
        let unknown: Vec<usize> = (0..calls.len()).filter(unknown).collect();
        let whole = unknown.iter().map(|at| calls[*at].whole()).collect();
        let again = self.raw_commands(limit, whole).await?;
        for (at, answer) in unknown.into_iter().zip(again) {
            answers[at] = answer;
        }
        let accept = |answer| self.accept(limit, answer);
        answers.into_iter().map(accept).collect()
    }

    /// Reads the marker, and makes sure that it is the one that was verified: then what was found
    /// absent over this line before is absent from this very store.
    pub(super) async fn confirm(&self, limit: Duration) -> Result<(), StoreError> {
        let marker = self.exchange(limit, Request::One(&self.marker())).await?;
        self.check_marker(limit, marker)
    }

    /// The command that reads the marker, for [`Self::check_marker`].
    pub(super) fn marker(&self) -> Cmd {
        self.links.marker()
    }

    /// Judges what reading the marker answered.
    pub(super) fn check_marker(&self, limit: Duration, marker: Value) -> Result<(), StoreError> {
        let marker = self.accept(limit, marker).map_err(no_marker)?;
        self.links.check_marker(&self.link, marker)
    }

    /// Names the run of the Redis at its other end, if that does.
    pub(super) fn server_run(&self) -> Option<String> {
        self.link.run()
    }

    /// An error if a digest under pepper `id` must not be written, because its check value could
    /// not be.
    pub(super) fn keeps_pepper(&self, id: u32) -> Result<(), StoreError> {
        self.link.keeps_pepper(id)
    }

    /// An error if no new secret can be made.
    pub(super) fn new_digests_may_be_kept(&self) -> Result<(), StoreError> {
        let present = self.links.acceptance().peppers().present();
        present.map_or(Ok(()), |id| self.keeps_pepper(id))
    }

    /// Sends and waits; errors of single commands are still inside of the answer.
    async fn exchange(&self, limit: Duration, request: Request<'_>) -> Result<Value, StoreError> {
        match &self.held {
            None if self.counted => self.links.exchange(&self.link, limit, request).await,
            None => self.links.exchange_aside(&self.link, limit, request).await,
            Some(held) => held.exchange(self.links, limit, request).await,
        }
    }

    /// Turns errors inside of an answer into errors of the call.
    pub(super) fn accept(&self, limit: Duration, answer: Value) -> Result<Value, StoreError> {
        self.links.accept(limit, answer)
    }
}

fn is_unknown_script(answer: &Value) -> bool {
    let Value::ServerError(error) = answer else {
        return false;
    };
    RedisError::from(error.clone()).kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

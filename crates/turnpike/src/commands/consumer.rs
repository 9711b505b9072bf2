//! `turnpike consumer`: the consumers of rated output, each with a cursor in every partition.

use std::cell::Cell;

use clap::{Args, Subcommand};
use tonic::{Code, Response};
use turnpike_proto::feed::v1::{
    ListConsumersRequest, RemoveConsumerRequest, RemoveConsumerResponse,
};

use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::Finish;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  turnpike consumer list
  turnpike consumer remove old-billing";

/// The commands for consumers.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ConsumerCommand {
    /// Lists all consumers
    List(ListConsumersArgs),
    /// Removes a consumer that nobody uses any more, with its cursors
    Remove(RemoveConsumerArgs),
}

const LIST_EXAMPLES: &str = "\
Examples:
  turnpike consumer list";

/// Options of `consumer list`.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListConsumersArgs {
    #[command(flatten)]
    client: ClientArgs,
}

const REMOVE_EXAMPLES: &str = "\
The place of the consumer becomes free. If a program pulls under the name later, it gets all output
from the beginning again.

Examples:
  turnpike consumer remove old-billing";

/// Options of `consumer remove`.
#[derive(Debug, Args)]
#[command(after_help = REMOVE_EXAMPLES)]
pub(crate) struct RemoveConsumerArgs {
    /// The name of the consumer
    consumer: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(command: ConsumerCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        ConsumerCommand::List(args) => list(&args.client.resolve(&context.config)?).await,
        ConsumerCommand::Remove(args) => {
            remove(&args.client.resolve(&context.config)?, &args.consumer).await
        }
    }
}

async fn list(client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let listed = front
        .call("the consumers could not be listed", || {
            let mut feed = front.feed();
            async move { feed.list_consumers(ListConsumersRequest {}).await }
        })
        .await?;
    for name in &listed.consumers {
        ui::print(name)?;
    }
    let (count, most) = (listed.consumers.len(), listed.consumers_max);
    ui::print_stderr(format_args!("{count} consumers of at most {most}"));
    Ok(Finish::Done)
}

async fn remove(client: &ClientSettings, name: &str) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let request = RemoveConsumerRequest { consumer: name.to_owned() };
    let attempts = Cell::new(0u32);
    let removed = front.call("the consumer could not be removed", || {
        attempts.set(attempts.get().saturating_add(1));
        let is_repeated = attempts.get() > 1;
        let (mut feed, request) = (front.feed(), request.clone());
        async move {
            match feed.remove_consumer(request).await {
                // After a lost answer the first attempt may have removed it.
                Err(status) if status.code() == Code::NotFound && is_repeated => {
                    Ok(Response::new(RemoveConsumerResponse::default()))
                }
                answered => answered,
            }
        }
    });
    removed.await?;
    ui::print(format_args!("consumer {name} is removed"))?;
    Ok(Finish::Done)
}

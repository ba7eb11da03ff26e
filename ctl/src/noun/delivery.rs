//! `vigilctl delivery`: what was owed to channels, what was tried, and trying it again.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use model::{Clock, Timestamp};
use proto::admin::v1::{
    Delivery, DeliveryAttempt, DeliveryState, GetDeliveryRequest, ListDeliveriesRequest, RedeliverRequest,
};

use super::{Context, Get, Ls, client};
use crate::duration;
use crate::exit::Failure;
use crate::moment::{self, Moment};
use crate::output::{Cell, Described, Listed, Sheet, Table, enum_word, one_line, say};

/// What can be done with deliveries.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List deliveries, newest first
    Ls(List),
    /// Show one delivery: its attempts with the receiver's answers, and what is sent
    Get(Get),
    /// Deliver again under the same id: dead letters, or what a receiver lost; what still waits is tried at once
    Redeliver(Redeliver),
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only to this channel, by id or name
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// Only of this incident
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Only those that stand so
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only those made since: a span before now, or RFC 3339
    #[arg(long, value_parser = Moment::parse, value_name = "WHEN")]
    since: Option<Moment>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    ls: Ls,
}

/// Arguments of `redeliver`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "channel"]))]
pub(crate) struct Redeliver {
    /// Ids of deliveries
    #[arg(value_name = "ID", conflicts_with_all = ["dead", "delivered", "since"])]
    ids: Vec<String>,
    /// All of this channel, by id or name, that were given up
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// With --channel: those that were given up (the default)
    #[arg(long, requires = "channel", conflicts_with = "delivered")]
    dead: bool,
    /// With --channel and --since: those that were delivered
    #[arg(long, requires = "channel", requires = "since")]
    delivered: bool,
    /// With --channel: only those made since: a span before now, or RFC 3339
    #[arg(long, requires = "channel", value_parser = Moment::parse, value_name = "WHEN")]
    since: Option<Moment>,
}

/// Where deliveries stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// Being tried, or waiting for another try
    Waiting,
    /// Taken by the receiver
    Delivered,
    /// Given up
    Dead,
    /// Told together with a later event
    Coalesced,
}

/// Does what the verb says.
pub(crate) async fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Ls(list) => self::list(&list, context).await,
        Verb::Get(get) => show(&get, context).await,
        Verb::Redeliver(redeliver) => self::redeliver(redeliver, context).await,
    }
}

async fn list(list: &List, context: &Context) -> Result<(), Failure> {
    let deliveries = client!(context, deliveries_client::DeliveriesClient);
    let state = match list.state {
        None => DeliveryState::Unspecified,
        Some(State::Waiting) => DeliveryState::Waiting,
        Some(State::Delivered) => DeliveryState::Delivered,
        Some(State::Dead) => DeliveryState::Dead,
        Some(State::Coalesced) => DeliveryState::Coalesced,
    };
    // The same for every page, because a page's token belongs to its filters.
    let since = list.since.map(|since| since.to_wire(context.clock.now()));
    let page = async |page_size, page_token| {
        let request = ListDeliveriesRequest {
            page_size,
            page_token,
            channel: list.channel.clone().unwrap_or_default(),
            incident_id: list.incident.clone().unwrap_or_default(),
            state: state.into(),
            since,
        };
        let answer = deliveries.clone().list_deliveries(request).await?.into_inner();
        Ok((answer.deliveries, answer.next_page_token))
    };
    context.list(&list.ls, Some(list.limit), page).await
}

async fn show(get: &Get, context: &Context) -> Result<(), Failure> {
    let deliveries = client!(context, deliveries_client::DeliveriesClient);
    context.one(get, async |id| deliveries.clone().get_delivery(GetDeliveryRequest { id }).await).await
}

async fn redeliver(redeliver: Redeliver, context: &Context) -> Result<(), Failure> {
    let state = match (redeliver.delivered, &redeliver.channel) {
        (true, _) => DeliveryState::Delivered,
        (false, Some(_)) => DeliveryState::Dead,
        (false, None) => DeliveryState::Unspecified,
    };
    let request = RedeliverRequest {
        ids: redeliver.ids,
        channel: redeliver.channel.unwrap_or_default(),
        state: state.into(),
        since: redeliver.since.map(|since| since.to_wire(context.clock.now())),
    };
    let mut deliveries = client!(context, deliveries_client::DeliveriesClient);
    let answer = deliveries.redeliver(request).await?.into_inner();
    say(&match answer.count {
        0 => "there is nothing to deliver again".to_owned(),
        1 => "delivering 1 again".to_owned(),
        count => format!("delivering {count} again"),
    });
    Ok(())
}

impl Listed for Delivery {
    const COLUMNS: &'static [&'static str] =
        &["CREATED", "CHANNEL", "EVENT", "STATE", "ATTEMPTS", "NEXT", "INCIDENT", "ID"];

    fn row(&self, now: Timestamp) -> Vec<Cell> {
        vec![
            Cell::text(moment::relative(self.created_at.as_ref(), now)),
            Cell::text(&self.channel),
            Cell::text(&self.event_type),
            Cell::state(state(self)),
            Cell::text(self.attempt_count.to_string()),
            Cell::text(moment::relative(self.next_attempt_at.as_ref(), now)),
            Cell::text(&self.incident_id),
            Cell::text(&self.id),
        ]
    }
}

impl Described for Delivery {
    fn sheet(&self, now: Timestamp) -> Sheet {
        let attempts = self.attempts.iter().map(|attempt| row(attempt, now)).collect();
        let headers = &["#", "STARTED", "TOOK", "STATUS", "DETAIL", "TIMING", "ANSWER"];
        let sheet = Sheet::default()
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("event", &self.event_type)
            .field("event id", &self.event_id)
            .field("incident", &self.incident_id)
            .field("subject", &self.subject_id)
            .state("state", state(self))
            .field("reason", &self.reason)
            .field("stands in for", &self.stands_in_for)
            .field("created", moment::both(self.created_at.as_ref(), now))
            .field("next attempt", moment::both(self.next_attempt_at.as_ref(), now))
            .field("finished", moment::both(self.finished_at.as_ref(), now))
            .part("attempts", Table { headers, rows: attempts });
        if self.body.is_empty() {
            return sheet;
        }
        let body = vec![vec![Cell::text(one_line(&String::from_utf8_lossy(&self.body)))]];
        sheet.part("body", Table { headers: &[""], rows: body })
    }
}

fn row(attempt: &DeliveryAttempt, now: Timestamp) -> Vec<Cell> {
    let status = if attempt.status == 0 { String::new() } else { attempt.status.to_string() };
    vec![
        Cell::text(attempt.number.to_string()),
        Cell::text(moment::relative(attempt.started_at.as_ref(), now)),
        Cell::text(duration::measured(attempt.duration.as_ref())),
        Cell::text(status),
        Cell::text(&attempt.detail),
        Cell::text(timing(attempt)),
        Cell::text(one_line(&String::from_utf8_lossy(&attempt.answer))),
    ]
}

/// `dns 1 ms, connect 20 ms, tls 41 ms, answer 80 ms`, as far as it came.
fn timing(attempt: &DeliveryAttempt) -> String {
    let steps = [
        ("dns", &attempt.resolve_duration),
        ("connect", &attempt.connect_duration),
        ("tls", &attempt.tls_duration),
        ("answer", &attempt.answer_duration),
    ];
    let taken = steps
        .into_iter()
        .filter_map(|(name, span)| Some(format!("{name} {}", duration::measured(Some(span.as_ref()?)))));
    taken.collect::<Vec<_>>().join(", ")
}

fn state(delivery: &Delivery) -> String {
    enum_word(delivery.state().as_str_name(), DeliveryState::Unspecified.as_str_name())
}

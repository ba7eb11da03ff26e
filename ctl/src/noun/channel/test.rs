//! `vigilctl channel test`: does what is sent arrive?

use clap::{Args, ValueEnum};
use proto::admin::v1::{ChannelSample, TestChannelRequest, TestChannelResponse};

use crate::duration;
use crate::exit::{Exit, Failure};
use crate::noun::{Context, client};
use crate::output::{Cell, Described, Sheet, Table, print};
use model::{Clock, Timestamp};

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Id or name
    id: String,
    /// What to tell of; recovered closes what down has opened at the provider
    #[arg(long, value_enum, default_value_t = Sample::Down)]
    sample: Sample,
}

/// What a test can tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sample {
    // Plain comments: documented, each would take a line of the help text.
    // A monitor that goes down.
    Down,
    // The same, up again.
    Recovered,
    // A heartbeat that did not come.
    Missed,
}

/// Sends a test; a receiver that does not take it is a negative answer.
pub(super) async fn run(test: Test, context: &Context) -> Result<(), Failure> {
    let sample = match test.sample {
        Sample::Down => ChannelSample::Down,
        Sample::Recovered => ChannelSample::Recovered,
        Sample::Missed => ChannelSample::Missed,
    };
    let request = TestChannelRequest { id: test.id, sample: sample.into() };
    let answer = client!(context, channels_client::ChannelsClient).test_channel(request).await?.into_inner();
    print(&context.output.one(&answer, context.clock.now())?)?;
    if answer.delivered {
        return Ok(());
    }
    Err(Failure::new(Exit::Negative, format!("not delivered: {}", answer.detail)))
}

impl Described for TestChannelResponse {
    fn sheet(&self, _now: Timestamp) -> Sheet {
        let lines = |text: &str| text.lines().map(|line| vec![Cell::text(line)]).collect::<Vec<_>>();
        let mut sent = lines(&self.title);
        sent.extend(lines(&self.text));
        Sheet::default()
            .state("delivered", if self.delivered { "yes" } else { "no" })
            .field("detail", &self.detail)
            .field("took", duration::measured(self.duration.as_ref()))
            .part("sent", Table { headers: &[""], rows: sent })
            .part("answer", Table { headers: &[""], rows: lines(&self.answer) })
    }
}

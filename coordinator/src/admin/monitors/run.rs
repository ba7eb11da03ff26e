//! One check from every region, now: what a monitor would find, before there is one.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use model::{AgentId, CheckResult, CheckSpec, MonitorId, RegionId};
use proto::admin::v1 as wire;
use proto::probe::convert::{Assignment, Role};
use tonic::Status;

use super::answer;
use crate::admin::Admin;
use crate::admin::convert;
use crate::fleet::once::Asked;

/// What the regions find, in the order in which they do.
pub(in crate::admin) type Findings =
    Pin<Box<dyn Stream<Item = Result<wire::RunCheckResponse, Status>> + Send>>;

/// How much longer than its check an answer may take.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

impl Admin {
    /// Asks every region for one check.
    pub(super) fn run_check_everywhere(&self, spec: &CheckSpec, regions: &[RegionId]) -> Findings {
        let asked: FuturesUnordered<_> =
            regions.iter().map(|region| self.run_check_from(spec, region.clone())).collect();
        Box::pin(asked.map(Ok))
    }

    /// Asks one region. It is asked at once, the answer is what is waited for.
    fn run_check_from(
        &self,
        spec: &CheckSpec,
        region: RegionId,
    ) -> impl Future<Output = wire::RunCheckResponse> + Send + use<> {
        let assignment = Assignment {
            monitor: MonitorId::new(self.clock.now(), self.random.as_ref()),
            spec_revision: 1,
            check: Some(spec.check.clone()),
            options: spec.options.clone(),
            interval: spec.interval,
            timeout: spec.timeout,
            phase: Duration::ZERO,
            role: Role::Primary,
            check_now: false,
        };
        let asked = self.fleet.check_once(&region, assignment);
        let (clock, patience) = (self.clock.clone(), spec.timeout + ANSWER_MARGIN);
        async move {
            let nothing = |agent: Option<(AgentId, String)>, why: String| {
                let (agent_id, agent_name) =
                    agent.map(|(id, name)| (id.to_string(), name)).unwrap_or_default();
                let started_at = convert::instant(clock.now());
                let (region, outcome) = (region.to_string(), "error".into());
                let result = wire::Result {
                    region,
                    agent_id,
                    started_at,
                    outcome,
                    detail: why,
                    ..wire::Result::default()
                };
                wire::RunCheckResponse {
                    result: Some(result),
                    agent_name,
                    ..wire::RunCheckResponse::default()
                }
            };
            match asked {
                Err(unasked) => nothing(None, unasked.to_string()),
                Ok(Asked { agent, agent_name, answer }) => {
                    match tokio::time::timeout(patience, answer).await {
                        Ok(Ok(found)) => response(agent, agent_name, &found),
                        Ok(Err(_)) | Err(_) => {
                            nothing(Some((agent, agent_name)), "the agent did not answer".into())
                        }
                    }
                }
            }
        }
    }
}

fn response(agent: AgentId, agent_name: String, found: &CheckResult) -> wire::RunCheckResponse {
    let failing = found.health.iter().flat_map(|health| health.failing());
    wire::RunCheckResponse {
        result: Some(wire::Result {
            committed_at: None,
            ..answer::result(found.started_at, agent, 0, 0, found)
        }),
        agent_name,
        failing_components: failing.map(convert::component).collect(),
    }
}

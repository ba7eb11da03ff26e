//! From what happens to an incident to the events that channels are told (`engine::alert`).
//!
//! Every incident that is told of by itself has an alert beside it, from its opening until the last who was told of that
//! has been told of the end: so long it is an open one, one whose group goes on, or one that is *owed*.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::alert::{self, Effect, News, Policy, Transition};
use model::{ChannelId, IncidentId, SubjectId};
use store::{EventRow, IncidentState, TimelineRow};

use super::Stage;
use crate::acknowledge_link::AcknowledgeLinks;
use crate::alert::Book;
use crate::incident::{Acknowledgement, Incident, Telling, about};
use crate::notify::event::{EventKind, EventSubject};
use crate::shard::input::ChangeError;

/// Incidents that are over, but of whose end somebody has yet to be told.
pub(in crate::shard) type Owed = BTreeMap<IncidentId, Arc<Incident>>;

/// What an incident is about, and what holds for it.
pub(super) struct Concern {
    pub(super) about: EventSubject,
    pub(super) policy: Policy,
    /// The names of those who failed together with it.
    pub(super) members: Vec<String>,
}

/// What an incident is taken one step further by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// It opens, and is told of by itself.
    Opened,
    /// Something happens to it.
    Happened(alert::Event),
}

impl Step {
    /// What an incident that is to be told of as it stands has come to.
    pub(super) const fn of(incident: &Incident) -> Self {
        match (incident.state, incident.body.events) {
            (IncidentState::Open, 0) => Self::Opened,
            (IncidentState::Open, _) => Self::Happened(alert::Event::Updated),
            (IncidentState::Resolved | IncidentState::Closed, _) => Self::Happened(alert::Event::Ended),
        }
    }
}

impl Stage<'_> {
    /// The policies, silences and links that hold in this turn.
    pub(in crate::shard) fn keep_alerts(&mut self, book: Arc<Book>, links: Arc<AcknowledgeLinks>) {
        self.book = book;
        self.links = Some(links);
    }

    /// Looks at every incident again, because policies or silences have changed.
    pub(in crate::shard) fn review_alerts(&mut self) {
        for id in self.ids() {
            self.review_alert(id);
        }
        self.review_others(|_| true);
    }

    /// Tells what has come to be due of incidents that no subject's deadline reminds of.
    pub(in crate::shard) fn tell_what_is_due(&mut self) {
        let now = self.now;
        self.review_others(|incident| due_at(incident).is_some_and(|at| at <= now));
    }

    /// Looks again at a subject's open incident.
    pub(in crate::shard) fn review_alert(&mut self, id: SubjectId) {
        self.step_alert(id, alert::Event::Reviewed);
    }

    /// Nothing could be heard until now: what the clock would tell of may be over.
    pub(super) fn blind_alerts(&mut self) {
        for id in self.ids() {
            let incident = self.get(id).and_then(|subject| subject.incident.as_ref());
            if incident.is_some_and(|incident| due_at(incident).is_some()) {
                self.step_alert(id, alert::Event::Blind);
            }
        }
    }

    /// Somebody takes care of an open incident.
    ///
    /// # Errors
    /// When it is over, or told of by another one.
    pub(in crate::shard) fn acknowledge(
        &mut self,
        subject: SubjectId,
        id: IncidentId,
        by: &str,
        reason: &str,
    ) -> Result<(), ChangeError> {
        let incident = self.alerting(subject, id).ok_or(ChangeError::IncidentOver)?;
        if let Some(lead) = incident.body.lead {
            return Err(ChangeError::ToldOfBy(lead));
        }
        if incident.body.acknowledged.is_some() {
            return Ok(());
        }
        let mut incident = Incident::clone(&incident);
        let acknowledged = Acknowledgement { at: self.now, by: by.to_owned(), reason: reason.to_owned() };
        let line = match reason {
            "" => format!("acknowledged by {by}"),
            reason => format!("acknowledged by {by}: {reason}"),
        };
        incident.body.acknowledged = Some(acknowledged);
        self.write(&mut incident, line);
        let concern = self.concern(&incident);
        let told = self.tell_of(incident, concern, Step::Happened(alert::Event::Acknowledged));
        self.keep(told);
        Ok(())
    }

    /// Takes an incident one step further: decides who is told what, and puts the incident as it stands then and the
    /// events among the rows.
    pub(super) fn tell_of(&mut self, mut incident: Incident, concern: Concern, step: Step) -> Arc<Incident> {
        let Concern { about, policy, members } = concern;
        let (severity, opened_at) = (incident.severity(), incident.opened_at);
        let state = incident.body.alert.take();
        let known = || {
            let told: Vec<ChannelId> = policy.channels(severity).into_iter().collect();
            alert::told_before(severity, opened_at, &told)
        };
        let Transition { state, effects } = match step {
            Step::Opened => alert::open(severity, opened_at, &policy, self.now),
            Step::Happened(event) => alert::apply(state.unwrap_or_else(known), &policy, event, self.now),
        };
        // Said even if nobody is told: the outbox is the record of what happened.
        let main = match step {
            Step::Opened => Some(News::Opened),
            Step::Happened(alert::Event::Ended) => Some(News::Ended),
            Step::Happened(_) => None,
        };
        let told = |effect: &Effect| matches!(effect, Effect::Tell { news, .. } if Some(*news) == main);
        if let Some(news) = main.filter(|_| !effects.iter().any(told)) {
            self.push_event(&mut incident, &about, &members, news, vec![]);
        }
        for effect in effects {
            match effect {
                Effect::Record(text) => self.write(&mut incident, text),
                Effect::Tell { news, channels } => {
                    self.push_event(&mut incident, &about, &members, news, channels);
                }
            }
        }
        let owes = incident.state != IncidentState::Open && !state.is_over();
        // Its subject may be deleted by the time the end is told.
        incident.body.about = owes.then_some(about);
        incident.body.alert = (!state.is_over()).then_some(state);
        let incident = Arc::new(incident);
        self.put_incident(Arc::clone(&incident));
        if owes && !self.kinship().ended_leads.contains_key(&incident.id) {
            self.owed_mut().insert(incident.id, Arc::clone(&incident));
        } else if self.owed().contains_key(&incident.id) {
            self.owed_mut().remove(&incident.id);
        }
        incident
    }

    fn push_event(
        &mut self,
        incident: &mut Incident,
        about: &EventSubject,
        members: &[String],
        news: News,
        channels: Vec<ChannelId>,
    ) {
        let transition = incident.body.events;
        let kind = kind_of(news, incident);
        let invites = matches!(
            kind,
            EventKind::Opened | EventKind::Updated | EventKind::Reminder | EventKind::Escalated
        );
        let links = self.links.as_ref().filter(|_| invites && !channels.is_empty());
        let telling = Telling {
            kind,
            // What is told late happened when it did.
            at: if kind == EventKind::Opened && transition > 0 { incident.opened_at } else { self.now },
            reminder: if let News::Reminder(number) = news { Some(number) } else { None },
            escalation_step: if let News::Escalated(number) = news { Some(number) } else { None },
            acknowledge_url: links
                .filter(|_| incident.body.acknowledged.is_none())
                .and_then(|links| links.url(incident.id, self.now)),
        };
        let event = incident.event(about.clone(), members.to_vec(), telling, self.config);
        self.commit.events.push(EventRow {
            id: event.id,
            incident: incident.id,
            subject: incident.subject,
            transition,
            at: self.now,
            body: String::from_utf8(event.encode()).expect("JSON is UTF-8"),
            channels,
        });
    }

    /// Takes the alert of a subject's open incident one step further.
    fn step_alert(&mut self, id: SubjectId, event: alert::Event) {
        let Some(subject) = self.get(id) else { return };
        let Some(incident) = subject.incident.clone() else { return };
        self.advance(&incident, event);
    }

    /// Looks again at those incidents that are no subject's open one.
    fn review_others(&mut self, concerns: impl Fn(&Incident) -> bool) {
        let owed = self.owed().values();
        let leads = self.kinship().ended_leads.values();
        let operated = self.operated_incidents();
        let all: Vec<Arc<Incident>> =
            owed.chain(leads).cloned().chain(operated).filter(|incident| concerns(incident)).collect();
        for incident in all {
            self.advance(&incident, alert::Event::Reviewed);
        }
    }

    /// Takes an alert one step further, if that changes anything.
    fn advance(&mut self, incident: &Arc<Incident>, event: alert::Event) {
        let Some(state) = incident.body.alert.clone() else { return };
        let concern = self.concern(incident);
        let next = alert::apply(state.clone(), &concern.policy, event, self.now);
        if next.state == state && next.effects.is_empty() {
            return;
        }
        let told = self.tell_of(Incident::clone(incident), concern, Step::Happened(event));
        self.keep(told);
    }

    /// What an incident is about, and what holds for it now.
    pub(super) fn concern(&self, incident: &Incident) -> Concern {
        let definition = self.get(incident.subject).map(|subject| Arc::clone(&subject.definition));
        let members = self.members_of(incident.id);
        match (definition, &incident.body.about) {
            (Some(definition), _) => Concern {
                about: about(&definition),
                policy: self.book.policy_for(&definition, self.now),
                members,
            },
            (None, Some(about)) if !incident.subject.is_operational() => {
                let policy = self.book.policy_for_deleted(incident.subject, self.now);
                Concern { about: about.clone(), policy, members }
            }
            (None, _) => Concern {
                about: self.event_subject(incident.subject),
                policy: self.book.policy_for_operators(self.config, self.now),
                members,
            },
        }
    }

    /// The incident with this id, if it is one that can be acknowledged.
    fn alerting(&self, subject: SubjectId, id: IncidentId) -> Option<Arc<Incident>> {
        let open = self.get(subject).and_then(|subject| subject.incident.clone());
        let operated = || self.operated_incident(subject);
        let lead = || self.kinship().ended_leads.get(&id).cloned();
        [open, operated(), lead()].into_iter().flatten().find(|incident| incident.id == id)
    }

    /// Puts an incident back where it is held.
    fn keep(&mut self, incident: Arc<Incident>) {
        let (id, subject) = (incident.id, incident.subject);
        if self.kinship().ended_leads.contains_key(&id) {
            self.kinship_mut().ended_leads.insert(id, incident);
        } else if incident.state != IncidentState::Open {
            // `tell_of` holds it as long as it is owed.
        } else if subject.is_operational() {
            self.set_operated_incident(subject, Some(incident));
        } else if let Some(subject) = self.copy(subject) {
            subject.incident = Some(incident);
        }
    }

    fn write(&mut self, incident: &mut Incident, text: String) {
        let ordinal = incident.next_line();
        self.commit.timeline.push(TimelineRow { incident: incident.id, ordinal, at: self.now, text });
    }

    fn owed(&self) -> &Owed {
        self.owed.as_ref().unwrap_or(&self.base.owed)
    }

    fn owed_mut(&mut self) -> &mut Owed {
        self.owed.get_or_insert_with(|| self.base.owed.clone())
    }
}

/// When somebody may have to be told of an incident.
fn due_at(incident: &Incident) -> Option<model::Timestamp> {
    incident.body.alert.as_ref().and_then(alert::State::due_at)
}

const fn kind_of(news: News, incident: &Incident) -> EventKind {
    match (news, incident.state) {
        (News::Opened, _) => EventKind::Opened,
        (News::Updated, _) => EventKind::Updated,
        (News::Reminder(_), _) => EventKind::Reminder,
        (News::Escalated(_), _) => EventKind::Escalated,
        (News::Acknowledged, _) => EventKind::Acknowledged,
        (News::Ended, IncidentState::Closed) => EventKind::Closed,
        (News::Ended, IncidentState::Open | IncidentState::Resolved) => EventKind::Resolved,
    }
}

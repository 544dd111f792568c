//! What was seen lately: a bounded ring of events, and a bounded queue for each follower. Nobody who reads slowly
//! holds anything up; who falls behind is told how much was left out.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::api::types::{FlowLine, FlowsQuery, Verdict};

/// Events that are kept for who asks later.
const KEPT: usize = 4096;
/// Events that a follower may be behind.
const BEHIND: usize = 1024;

/// Recent events, and those who follow them.
#[derive(Debug)]
pub(super) struct EventLog {
    recent: Mutex<VecDeque<FlowLine>>,
    followers: broadcast::Sender<FlowLine>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { recent: Mutex::default(), followers: broadcast::Sender::new(BEHIND) }
    }
}

impl EventLog {
    /// Keeps `line` and hands it to every follower.
    pub(super) fn push(&self, line: FlowLine) {
        let mut recent = self.lock();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(line.clone());
        // Sent under the lock, so that `recent_and_follow` neither misses nor repeats a line. No follower is no fault.
        let _ = self.followers.send(line);
    }

    /// Recent events that `query` asks for, the oldest first.
    pub(super) fn recent(&self, query: &FlowsQuery) -> Vec<FlowLine> {
        self.lock().iter().filter(|line| wanted(query, line)).cloned().collect()
    }

    /// Recent events, and a follower that goes on exactly where they end.
    pub(super) fn recent_and_follow(&self, query: &FlowsQuery) -> (Vec<FlowLine>, Follower) {
        let recent = self.lock();
        let lines = recent.iter().filter(|line| wanted(query, line)).cloned().collect();
        (lines, Follower { query: query.clone(), queue: self.followers.subscribe() })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FlowLine>> {
        // A panic cannot leave a half-pushed line behind.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a follower gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// An event.
    Line(Box<FlowLine>),
    /// The follower fell behind; so many events were left out, of which some may not have been asked for.
    Lost(u64),
}

/// One who follows events as they come.
#[derive(Debug)]
pub struct Follower {
    query: FlowsQuery,
    queue: broadcast::Receiver<FlowLine>,
}

impl Follower {
    /// The next event that was asked for; `None` when the daemon stops.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.queue.recv().await {
                Ok(line) if wanted(&self.query, &line) => return Some(Followed::Line(Box::new(line))),
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => return Some(Followed::Lost(lost)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Whether `query` asks for this line.
pub(super) fn wanted(query: &FlowsQuery, line: &FlowLine) -> bool {
    let FlowsQuery { blocked, from, to, follow: _, since: _ } = query;
    let dropped_or_would_be = line.verdict == Verdict::Deny || line.reason == "audit";
    let named = |asked: &Option<String>, zone: &str| asked.as_deref().is_none_or(|asked| asked == zone);
    (!blocked || dropped_or_would_be) && named(from, &line.from_zone) && named(to, &line.to_zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(port: u16, verdict: Verdict, reason: &str) -> FlowLine {
        FlowLine {
            time: jiff::Timestamp::UNIX_EPOCH,
            src: "10.0.0.1".into(),
            dst: "10.0.1.1".into(),
            proto: "tcp".into(),
            src_port: port,
            dst_port: 80,
            from_zone: "dev".into(),
            to_zone: "web".into(),
            verdict,
            reason: reason.into(),
            rule: None,
            would_be: None,
            state: None,
            interface: None,
            connections: None,
            first: None,
        }
    }

    fn query(blocked: bool, from: Option<&str>, to: Option<&str>) -> FlowsQuery {
        FlowsQuery { blocked, from: from.map(str::to_owned), to: to.map(str::to_owned), ..FlowsQuery::default() }
    }

    #[test]
    fn blocked_means_dropped_or_let_pass_by_audit_only() {
        let blocked = query(true, None, None);
        assert!(wanted(&blocked, &line(1, Verdict::Deny, "no-rule")));
        assert!(wanted(&blocked, &line(1, Verdict::Allow, "audit")));
        assert!(!wanted(&blocked, &line(1, Verdict::Allow, "rule")));
    }

    #[test]
    fn zones_are_asked_for_by_name() {
        let seen = line(1, Verdict::Allow, "rule");
        assert!(wanted(&query(false, Some("dev"), Some("web")), &seen));
        assert!(!wanted(&query(false, Some("web"), None), &seen));
        assert!(!wanted(&query(false, None, Some("dev")), &seen));
    }

    #[test]
    fn the_ring_keeps_the_newest() {
        let log = EventLog::default();
        for port in 0..=u16::try_from(KEPT).unwrap() {
            log.push(line(port, Verdict::Allow, "rule"));
        }
        let ports: Vec<u16> = log.recent(&FlowsQuery::default()).iter().map(|line| line.src_port).collect();
        assert_eq!((ports.len(), ports[0], ports[KEPT - 1]), (KEPT, 1, KEPT as u16));
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes_and_one_that_falls_behind_is_told_how_much_it_lost() {
        let log = EventLog::default();
        log.push(line(7, Verdict::Deny, "no-rule"));
        let (recent, mut follower) = log.recent_and_follow(&query(true, None, None));
        assert_eq!(recent, [line(7, Verdict::Deny, "no-rule")]);
        log.push(line(8, Verdict::Allow, "rule"));
        log.push(line(9, Verdict::Deny, "no-rule"));
        assert_eq!(follower.next().await, Some(Followed::Line(Box::new(line(9, Verdict::Deny, "no-rule")))));
        for _ in 0..BEHIND + 3 {
            log.push(line(10, Verdict::Deny, "no-rule"));
        }
        assert_eq!(follower.next().await, Some(Followed::Lost(3)));
        assert_eq!(follower.next().await, Some(Followed::Line(Box::new(line(10, Verdict::Deny, "no-rule")))));
    }
}

//! # Clients
//!
//! librdkafka retries by itself, with growing pauses: what it meets on the way is only told, and a run goes on when the brokers
//! are back. What no retry can mend, such as a wrong password, ends the run.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::pace::Deadline;
use crate::source::ConnectorError;

/// One request to the brokers, while a client starts: the first is short, so that what a client is told meanwhile is soon looked at.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_millis(500);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Events that are served in one go.
const EVENTS_MAX: usize = 100;

/// How a client is: what its callbacks have told.
#[derive(Debug, Default)]
pub(super) struct Health {
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fatal: Option<String>,
    trouble: Option<String>,
}

/// What an error means for a run.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// No retry mends it.
    Fatal,
    /// It may pass.
    Passing,
    /// Not worth a word.
    Nothing,
}

fn meaning(code: Code, detail: &str) -> Meaning {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::UnsupportedSASLMechanism
        | Code::Fatal
        | Code::AutoOffsetReset
        | Code::OffsetOutOfRange => Meaning::Fatal,
        // A connection that breaks in the middle of the handshake is told like a certificate that is refused.
        Code::SSL if ["verify failed", "wrong version", "unknown ca", "alert"].iter().any(|it| detail.contains(it)) => Meaning::Fatal,
        Code::PartitionEOF | Code::NoError => Meaning::Nothing,
        _ => Meaning::Passing,
    }
}

/// The code inside an error.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    error.rdkafka_error_code()
}

/// An error in plain words.
pub(super) fn sentence(code: Code, detail: &str) -> String {
    let plain = match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve | Code::OperationTimedOut | Code::TimedOutQueue => {
            "no broker can be reached"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => "the brokers refuse the login",
        Code::UnsupportedSASLMechanism => "the brokers do not take this SASL mechanism",
        Code::SSL => "TLS with the brokers failed",
        Code::TopicAuthorizationFailed => "the login may not use the topic",
        Code::GroupAuthorizationFailed => "the login may not use the group",
        Code::ClusterAuthorizationFailed => "the login may not do this in the cluster",
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => "the topic does not exist",
        Code::LeaderNotAvailable | Code::NotLeaderForPartition => "a partition has no leader",
        Code::MessageTimedOut => "a record could not be delivered in time",
        Code::MessageSizeTooLarge => {
            "a record is larger than the brokers take; raise max.message.bytes of the topic and properties.message.max.bytes"
        }
        Code::AutoOffsetReset | Code::OffsetOutOfRange => {
            "the records to read next are gone: they were deleted before they were read; \
             start = 'earliest' or 'latest' begins anew, properties.auto.offset.reset = 'earliest' or 'latest' goes on without them"
        }
        _ => return if detail.is_empty() { code.to_string() } else { detail.to_owned() },
    };
    if detail.is_empty() { plain.to_owned() } else { format!("{plain} ({detail})") }
}

impl Health {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::default() }
    }

    /// The relation's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole values are put in and taken out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an error a client met.
    pub(super) fn note(&self, code: Code, detail: &str) {
        let mut state = self.lock();
        match meaning(code, detail) {
            Meaning::Nothing => {}
            Meaning::Fatal => {
                state.fatal.get_or_insert_with(|| sentence(code, detail));
            }
            Meaning::Passing => {
                if state.trouble.is_none() {
                    tracing::warn!("{}: {}; trying again until it passes", self.name, sentence(code, detail));
                }
                state.trouble = Some(sentence(code, detail));
            }
        }
    }

    /// Something has gone well: the trouble is over.
    pub(super) fn well(&self) {
        let mut state = self.lock();
        if state.trouble.take().is_some() {
            tracing::warn!("{}: the brokers answer again", self.name);
        }
    }

    /// Offsets could not be committed. Nothing is lost: the records would be read again.
    pub(super) fn not_committed(&self, error: &KafkaError) {
        let reason = code(error).map_or_else(|| error.to_string(), |code| sentence(code, ""));
        tracing::warn!("{}: offsets could not be committed: {reason}; trying again until it passes", self.name);
    }

    /// Ends the run when it is next asked.
    pub(super) fn fail(&self, reason: String) {
        self.lock().fatal.get_or_insert(reason);
    }

    /// What keeps the client waiting now.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Why the run must end, if it must.
    pub(super) fn fatal(&self) -> Option<ConnectorError> {
        self.lock().fatal.clone().map(|reason| ConnectorError::new(&self.name, reason))
    }
}

/// Takes what librdkafka says of itself.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) health: Health,
}

impl Context {
    pub(super) fn new(name: &str) -> Self {
        Self { health: Health::new(name) }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "{}: {message}", self.health.name);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = code(&error) {
            self.health.note(code, reason);
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Context {}

/// Serves the events of a consumer that reads nothing yet, such as a login that is refused: they reach its context.
pub(super) fn listen(consumer: &BaseConsumer<Context>) {
    (0..EVENTS_MAX).map_while(|_| consumer.poll(Duration::ZERO)).for_each(drop);
}

/// Makes a request until it is answered, or the time is over. `poll` serves the client's events in between.
pub(super) fn patiently<T>(
    health: &Health,
    patience: Duration,
    poll: impl Fn(),
    mut request: impl FnMut(Duration) -> Result<T, KafkaError>,
) -> Result<T, ConnectorError> {
    let deadline = Deadline::after(patience);
    let mut timeout = REQUEST_TIMEOUT_MIN;
    let ask = || {
        let answer = request(timeout.min(patience).max(Duration::from_millis(100)));
        timeout = REQUEST_TIMEOUT.min(2 * timeout);
        poll();
        answer
    };
    let goes_on = |error: &KafkaError| {
        health.fatal().is_none() && !deadline.over() && code(error).is_none_or(|code| meaning(code, "") == Meaning::Passing)
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter();
    let answer = ask.retry(pauses).when(goes_on).call();
    if let Some(fatal) = health.fatal() {
        return Err(fatal);
    }
    answer.map_err(|error| {
        let trouble = health.trouble();
        let reason = trouble.unwrap_or_else(|| code(&error).map_or_else(|| error.to_string(), |code| sentence(code, "")));
        ConnectorError::new(&health.name, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_passes_and_a_refused_login_does_not() {
        let health = Health::new("t");
        health.note(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(health.trouble().as_deref(), Some("no broker can be reached (1/1 brokers are down)"));
        assert!(health.fatal().is_none());
        health.well();
        assert_eq!(health.trouble(), None);
        health.note(Code::SSL, "disconnected");
        health.note(Code::Authentication, "wrong password");
        health.note(Code::SSL, "certificate verify failed");
        assert_eq!(health.fatal().expect("fatal").to_string(), "t: the brokers refuse the login (wrong password)");
    }
}

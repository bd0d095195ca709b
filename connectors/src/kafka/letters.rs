//! Dead letters in a topic, which an address names: `kafka://host:port,host:port/topic?property=value&…`. Each letter is a record: its
//! id is the key, and the value is what would be its line in a file.

use std::time::Duration;

use rdkafka::producer::BaseRecord;
use tidemark_planner::connector::Options;

use super::options::client_config;
use super::outlet::Outlet;
use crate::dead_letters::write_json;
use crate::io::{DeadLetter, DeadLetters};
use crate::source::ConnectorError;

const SCHEME: &str = "kafka://";
/// How long brokers that cannot be reached are waited for when a run starts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A topic, and how its cluster is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Brokers, with commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Properties of librdkafka.
    pub properties: Vec<(String, String)>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Address {
    /// Reads an address; `None`: it is none, but perhaps a path.
    ///
    /// # Errors
    /// One sentence, when something is missing in it.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if let Some(rest) = text.strip_prefix("kafka:").filter(|_| !text.starts_with(SCHEME)) {
            let place = rest.trim_start_matches('/').split('?').next().unwrap_or_default();
            return Some(Err(format!("\"kafka:{place}\" is no address of a topic; write {SCHEME}host:port/topic")));
        }
        let rest = text.strip_prefix(SCHEME)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let wrong = || format!("\"{SCHEME}{place}\" is no address of a topic; write kafka://host:port/topic");
        let (brokers, topic) = match place.split_once('/') {
            Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() && !topic.contains('/') => (brokers, topic),
            _ => return Some(Err(wrong())),
        };
        // A property that is not understood may be a part of a password, and is not shown.
        let properties = (1..).zip(query.split('&').filter(|pair| !pair.is_empty())).map(|(nth, pair)| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("property {nth} behind \"{SCHEME}{place}?\" is none; write name=value, and %26 for & in a value"))?;
            let plain = |text| decoded(text).ok_or_else(|| format!("property {nth} behind \"{SCHEME}{place}?\" is no text"));
            Ok((plain(name)?, plain(value)?))
        });
        let properties = properties.collect::<Result<_, String>>();
        Some(properties.map(|properties| Self { brokers: brokers.to_owned(), topic: topic.to_owned(), properties }))
    }

    /// The address without its properties, which may be secret.
    pub fn shown(&self) -> String {
        format!("{SCHEME}{}/{}", self.brokers, self.topic)
    }

    fn config(&self) -> Result<rdkafka::ClientConfig, String> {
        let mut options = Options::default();
        options.0.insert("brokers".into(), self.brokers.clone());
        options.0.extend(self.properties.iter().map(|(name, value)| (format!("properties.{name}"), value.clone())));
        let own = [("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "5"), ("compression.type", "lz4")];
        client_config(&options, &own.map(|(name, value)| (name, value.to_owned())))
    }

    /// Whether letters can be sent there, as far as it is known without asking.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.config().map(drop)
    }
}

/// Text with `%20` and the like.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        rest = match (first, more) {
            (b'%', [a, b, more @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                bytes.push((hex(*a).unwrap_or_default() * 16 + hex(*b).unwrap_or_default()) as u8);
                more
            }
            _ => {
                bytes.push(*first);
                more
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// Writes records to a topic.
pub struct TopicWriter {
    outlet: Outlet,
    topic: String,
    /// What is being written.
    buffer: Vec<u8>,
}

impl TopicWriter {
    /// A writer to a topic.
    ///
    /// # Errors
    /// When a property is wrong, no broker answers, or the topic cannot be written.
    pub fn open(address: &Address) -> Result<Self, ConnectorError> {
        let name = address.shown();
        let config = address.config().map_err(|reason| ConnectorError::new(&name, reason))?;
        let outlet = Outlet::open(&name, &config, &address.topic, CONNECT_TIMEOUT)?;
        Ok(Self { outlet, topic: address.topic.clone(), buffer: Vec::new() })
    }

    /// Sends a value without a key.
    ///
    /// # Errors
    /// When it cannot be delivered.
    pub fn send(&self, value: &[u8]) -> Result<(), ConnectorError> {
        self.outlet.send(BaseRecord::to(&self.topic).payload(value))
    }

    /// Waits until all is delivered.
    ///
    /// # Errors
    /// When something cannot be.
    pub fn finish(&self) -> Result<(), ConnectorError> {
        self.outlet.wait()
    }
}

impl DeadLetters for TopicWriter {
    fn write(&mut self, letter: &DeadLetter<'_>) -> Result<(), ConnectorError> {
        self.buffer.clear();
        write_json(letter, &mut self.buffer).map_err(|error| ConnectorError::new(self.outlet.name(), error))?;
        let id = letter.id_text();
        let record = BaseRecord::to(&self.topic).key(id.as_bytes()).payload(self.buffer.as_slice());
        self.outlet.send(record.timestamp(letter.at_us.div_euclid(1_000)))
    }

    fn settled(&mut self) -> Result<bool, ConnectorError> {
        self.outlet.settled()
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_brokers_topic_and_properties() {
        let parse = |text: &str| Address::parse(text).expect("an address");
        let address = parse("kafka://a:1,b:2/bad?sasl.username=me&sasl.password=a%26b%").expect("valid");
        assert_eq!((address.brokers.as_str(), address.topic.as_str()), ("a:1,b:2", "bad"));
        assert_eq!(address.properties[1], ("sasl.password".into(), "a&b%".into()));
        assert_eq!(address.shown(), "kafka://a:1,b:2/bad");
        assert_eq!(format!("{address:?}"), address.shown());
        assert_eq!(Address::parse("letters.ndjson"), None);
        let error = Address::parse("kafka://a:1/t?sasl.password=a&b%ff").expect("an address").expect_err("no pair");
        assert!(error.contains("property 2 behind \"kafka://a:1/t?\"") && !error.contains("b%ff"), "{error}");
        for wrong in ["kafka://a:1", "kafka:///t", "kafka://a:1/", "kafka://a:1/t/u", "kafka://a:1/t?x", "kafka:a:1/t"] {
            assert!(parse(wrong).expect_err(wrong).contains("write "), "{wrong}");
        }
        assert!(parse("kafka://a:1/t?nonsense=1").expect("parsed").check().expect_err("unknown").contains("no property \"nonsense\""));
    }
}

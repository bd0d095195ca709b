//! A schema registry that speaks Confluent's REST: schemas by number, and numbers for schemas.

use std::time::Duration;

use backon::{BlockingRetryable, ExponentialBuilder};
use base64::Engine as _;
use serde_json::{Value, json};
use tidemark_planner::connector::Options;
use tidemark_planner::secrets;

/// One request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a request that nobody answered is made.
const TRIES: usize = 6;

/// Whose schema it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaKind {
    /// Of keys.
    Key,
    /// Of values.
    Value,
}

/// A registry, and the subjects a sink registers its schemas under.
#[derive(Clone)]
pub(crate) struct Registry {
    url: String,
    /// The header `Authorization`, if one is sent.
    login: Option<String>,
    topic: String,
    /// The subject of values, if it is not the usual.
    subject: Option<String>,
    agent: ureq::Agent,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({})", secrets::address(&self.url))
    }
}

impl Registry {
    /// A registry at an address; `login` is `user:password`.
    pub(crate) fn new(url: &str, login: Option<&str>, topic: &str, subject: Option<&str>) -> Result<Self, String> {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(format!("option \"schema-registry\" is \"{}\"; write http://host:port", secrets::address(url)));
        }
        let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().new_agent();
        let login = login.map(|login| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login)));
        Ok(Self { url: url.trim_end_matches('/').to_owned(), login, topic: topic.to_owned(), subject: subject.map(str::to_owned), agent })
    }

    /// The registry that options name, if they do.
    pub(crate) fn from_options(options: &Options) -> Result<Option<Self>, String> {
        let (login, topic) = (options.get("schema-registry.login"), options.get("topic").unwrap_or_default());
        let of = |url| Self::new(url, login, topic, options.get("schema-registry.subject"));
        options.get("schema-registry").map(of).transpose()
    }

    /// The schema of a number; inside, why the number has none.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub(crate) fn schema(&self, number: u32) -> Result<Result<String, String>, String> {
        let body = match self.find(number, "AVRO")? {
            Ok(body) => body,
            Err(reason) => return Ok(Err(reason)),
        };
        Ok(match body["schema"].as_str() {
            _ if body["references"].as_array().is_some_and(|all| !all.is_empty()) => {
                Err(format!("schema {number} refers to others, which is not supported"))
            }
            Some(schema) => Ok(schema.to_owned()),
            None => Err(format!("the schema registry gives nothing for schema {number}")),
        })
    }

    /// Whether a schema is of a kind; inside, what it is instead.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub(crate) fn is_of(&self, number: u32, kind: &str) -> Result<Result<(), String>, String> {
        Ok(self.find(number, kind)?.map(drop))
    }

    fn find(&self, number: u32, kind: &str) -> Result<Result<Value, String>, String> {
        let url = format!("{}/schemas/ids/{number}", self.url);
        let (status, body) = self.ask(|| {
            let mut request = self.agent.get(&url);
            if let Some(login) = &self.login {
                request = request.header("Authorization", login);
            }
            request.call()
        })?;
        let found = body["schemaType"].as_str().unwrap_or("AVRO");
        match status {
            200 if found != kind => Ok(Err(format!("schema {number} is one of {found}, not of {kind}"))),
            200 => Ok(Ok(body)),
            404 => Ok(Err(format!("the schema registry has no schema {number}"))),
            _ => Err(self.refused(status, &body)),
        }
    }

    /// The number of a schema of the topic's keys or values, which is registered if it is new.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses the schema.
    pub(crate) fn register(&self, kind: SchemaKind, schema: &str) -> Result<u32, String> {
        self.register_as(kind, schema, "AVRO")
    }

    /// The same for a schema of another kind.
    pub(crate) fn register_as(&self, kind: SchemaKind, schema: &str, of: &str) -> Result<u32, String> {
        let subject = match (kind, &self.subject) {
            (SchemaKind::Value, Some(subject)) => subject.clone(),
            (SchemaKind::Value, None) => format!("{}-value", self.topic),
            (SchemaKind::Key, _) => format!("{}-key", self.topic),
        };
        let url = format!("{}/subjects/{subject}/versions", self.url);
        let (status, body) = self.ask(|| {
            let mut request = self.agent.post(&url).header("Content-Type", "application/vnd.schemaregistry.v1+json");
            if let Some(login) = &self.login {
                request = request.header("Authorization", login);
            }
            request.send(if of == "AVRO" { json!({"schema": schema}) } else { json!({"schema": schema, "schemaType": of}) }.to_string())
        })?;
        match body["id"].as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) if status == 200 => Ok(id),
            _ => Err(self.refused(status, &body)),
        }
    }

    fn refused(&self, status: u16, body: &Value) -> String {
        let reason = body["message"].as_str().unwrap_or("no reason was given");
        format!("the schema registry at {} answers {status}: {reason}", secrets::address(&self.url))
    }

    /// Asks until somebody answers; the status and what came with it.
    fn ask(&self, request: impl Fn() -> Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, Value), String> {
        let once = || -> Result<(u16, Value), String> {
            let mut answer =
                request().map_err(|error| format!("the schema registry at {} cannot be reached: {error}", secrets::address(&self.url)))?;
            let status = answer.status().as_u16();
            if status >= 500 {
                return Err(format!("the schema registry at {} answers {status}", self.url));
            }
            let text = answer.body_mut().read_to_string().map_err(|error| format!("the schema registry at {}: {error}", self.url))?;
            Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(TRIES)
            .with_jitter();
        once.retry(pauses).call()
    }
}

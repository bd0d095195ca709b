//! A secret that stands in any option is in nothing that the program says, whatever is wrong with the statements around it.

mod support;

use proptest::prelude::*;
use support::{Ran, start};

/// Options that hold a secret, of a Kafka source: by name.
const SECRET: &[&str] = &[
    "properties.sasl.password",
    "properties.ssl.key.password",
    "properties.ssl.keystore.password",
    "properties.sasl.oauthbearer.config",
    "schema-registry.login",
    "avro-confluent.basic-auth.user-info",
];

/// How a secret is written.
#[derive(Clone, Copy, Debug)]
enum Written {
    Plainly,
    AsVariable,
    AsDefault,
}

/// What is wrong with the statements.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Nothing,
    /// The name of the option.
    Option,
    /// A property that librdkafka does not take, as it says when a client is made.
    Property,
    /// A column, beside the options.
    Column,
    /// A text is not closed.
    Syntax,
    /// The address of the dead letters.
    Letters,
}

#[derive(Clone, Debug)]
struct Case {
    secret: String,
    option: &'static str,
    written: Written,
    wrong: Wrong,
}

fn cases() -> impl Strategy<Value = Case> {
    let secret = "[a-zA-Z0-9+/_-]{3,20}".prop_map(|text| format!("Zq{text}7xQ"));
    let written = prop::sample::select(vec![Written::Plainly, Written::AsVariable, Written::AsDefault]);
    let wrong = prop::sample::select(vec![
        Wrong::Nothing,
        Wrong::Nothing,
        Wrong::Option,
        Wrong::Property,
        Wrong::Column,
        Wrong::Syntax,
        Wrong::Letters,
    ]);
    (secret, prop::sample::select(SECRET), written, wrong).prop_map(|(secret, option, written, wrong)| Case {
        secret,
        option,
        written,
        wrong,
    })
}

impl Case {
    fn text(&self, what: &str) -> String {
        let text = match self.written {
            Written::Plainly => self.secret.clone(),
            Written::AsVariable => "${THE_SECRET}".to_owned(),
            Written::AsDefault => format!("${{NOT_SET:-{}}}", self.secret),
        };
        what.replace('#', &text)
    }

    fn sql(&self) -> String {
        let option = match self.wrong {
            Wrong::Option => format!("no.such.{}", self.option),
            _ => self.option.to_owned(),
        };
        let property = match self.wrong {
            Wrong::Property => self.text("properties.ssl.key.pem = '#',"),
            _ => String::new(),
        };
        let letters = match self.wrong {
            Wrong::Letters => self.text("kafka:/127.0.0.1:9/bad?sasl.password=#"),
            _ => self.text("kafka://127.0.0.1:9/bad?sasl.password=#&client.id=a"),
        };
        let column = if matches!(self.wrong, Wrong::Column) { "no_such_column" } else { "i" };
        let close = if matches!(self.wrong, Wrong::Syntax) { "" } else { "'" };
        self.text(&format!(
            "CREATE SOURCE r (i BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'kafka', brokers = '127.0.0.1:9', topic = 't',
                 connect-timeout = '100ms', {property} '{option}' = '#{close}, schema-registry = 'http://me:#@127.0.0.1:9')
             ON ERROR DEAD_LETTER '{letters}' LIMIT 5 PERCENT;
             CREATE SINK k WITH (connector = 'kafka', brokers = '127.0.0.1:9', topic = 't', changes = 'op', connect-timeout = '100ms',
                 'properties.ssl.key.password' = '#') AS
             SELECT {column}, count(*) AS n FROM r
             WINDOW TUMBLING(1m) LATE_DATA_STRATEGY DEAD_LETTER_QUEUE '{letters}' GROUP BY i;"
        ))
    }

    fn ran(&self, args: &[&str]) -> Ran {
        let sql = self.sql();
        // Through the environment: a process's arguments are for all to see in any case.
        let mut command = start(args);
        command.env("THE_SECRET", &self.secret).env("TIDEMARK_LOG", "debug");
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), sql.as_bytes()).expect("read");
        Ran::from(child.wait_with_output().expect("ended"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn a_secret_is_in_nothing_that_is_said(case in cases()) {
        for args in [
            &["explain", "-"][..],
            &["explain", "--format", "json", "-"],
            &["explain", "--level", "optimized", "--format", "json", "-"],
            &["check", "-"],
            &["check", "--format", "json", "-"],
            &["run", "-w", "1", "-"],
        ] {
            let ran = case.ran(args);
            let said = ran.stdout.clone() + &ran.stderr;
            prop_assert!(!said.contains(&case.secret), "{:?}\n{}\n{}", args, case.sql(), said);
            // It says what it has to say all the same.
            prop_assert!(!said.is_empty() || args[0] == "check", "{:?}: {:?}", args, ran);
            prop_assert_eq!(ran.code == Some(0), matches!(case.wrong, Wrong::Nothing | Wrong::Property) && args[0] != "run", "{:?}\n{}", args, said);
        }
    }
}

/// What `dlq` and `kafka` are told beside an address is not repeated.
#[test]
fn an_address_is_repeated_without_its_properties() {
    for args in [
        &["dlq", "list", "kafka://127.0.0.1:9/bad?sasl.password=Zq7xQ&nonsense=1"][..],
        &["dlq", "show", "kafka://127.0.0.1:9?sasl.password=Zq7xQ"],
        &["dlq", "list", "kafka://127.0.0.1:9/bad?sasl.password=a&Zq7xQ"],
        &["kafka", "topics", "-b", "127.0.0.1:9", "--timeout", "100ms", "-X", "ssl.key.pem=Zq7xQ"],
        &["kafka", "topics", "-b", "127.0.0.1:9", "--timeout", "100ms", "-X", "sasl.password=Zq7xQ"],
    ] {
        let ran = support::tidemark(args);
        assert!(ran.code != Some(0) && !(ran.stdout.clone() + &ran.stderr).contains("Zq7xQ"), "{args:?}: {ran:?}");
    }
}

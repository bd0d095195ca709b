//! # Secrets
//!
//! Options hold passwords and keys. They reach the connector that needs them and nothing else: plans, messages and logs show them as
//! [`HIDDEN`], and the text of a statement is drawn with them covered. Which option is secret is told by its name, as other tools
//! that read such options do; in an address, it is who asks, and what stands behind the question mark.

use std::borrow::Cow;

/// What is shown for a secret.
pub const HIDDEN: &str = "(hidden)";

/// What the names of secret options hold.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "login",
    "user-info",
    "userinfo",
    "jaas",
    "oauthbearer.config",
    "oauthbearer.extensions",
    "kinit.cmd",
    "key.pem",
    "private.key",
    "apikey",
    "api.key",
    "api-key",
];

/// Whether an option of this name holds a secret. What options say of generated columns is none, whatever the columns are called.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with("fields.") && SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// An option's value as it may be shown.
pub fn shown<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if is_secret(name) { Cow::Borrowed(HIDDEN) } else { address(value) }
}

/// An address, or a path, without what may be secret in it: `user:password@` before the host, and everything behind `?`.
pub fn address(text: &str) -> Cow<'_, str> {
    let places = secret_places(text);
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(replaced(text, &places, |out, _| out.push_str(HIDDEN)))
}

/// Statements, or any other text that holds some, with secrets covered by as many stars as they have bytes: places in the text stay
/// where they are. A variable, `${NAME}`, is no secret, but its default is.
pub fn covered(sql: &str) -> Cow<'_, str> {
    let mut places = secret_values(sql);
    // An address ends where the text that it stands in does.
    let mut from = 0;
    while let Some(colon) = sql[from..].find(":/").map(|at| from + at) {
        let start = sql[..colon].rfind(|c: char| !is_scheme(c)).map_or(0, |at| at + sql[at..].chars().next().map_or(1, char::len_utf8));
        let end = sql[colon..].find(['\'', '"', '\n']).map_or(sql.len(), |at| colon + at);
        places.extend(secret_places(&sql[start..end]).into_iter().map(|(from, to)| (start + from, start + to)));
        from = end.max(colon + 2).min(sql.len());
    }
    places.sort_unstable();
    if places.is_empty() {
        return Cow::Borrowed(sql);
    }
    Cow::Owned(replaced(sql, &places, |out, secret| out.extend(std::iter::repeat_n('*', secret.len()))))
}

/// A text in which some places, in order, are put otherwise.
fn replaced(text: &str, places: &[(usize, usize)], mut put: impl FnMut(&mut String, &str)) -> String {
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for &(from, to) in places {
        // Places may overlap: an address may stand in a value that is secret as a whole.
        let from = from.max(done);
        if from < to {
            out.push_str(&text[done..from]);
            put(&mut out, &text[from..to]);
            done = to;
        }
    }
    out.push_str(&text[done..]);
    out
}

fn is_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Where secrets stand in an address.
fn secret_places(text: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let Some(colon) = text.find(":/").filter(|at| *at > 0 && text[..*at].chars().all(is_scheme)) else { return places };
    let host = colon + 1 + text[colon + 1..].len() - text[colon + 1..].trim_start_matches('/').len();
    let question = text[host..].find('?').map(|at| host + at);
    // A password may hold a slash, though it should not: whatever stands before the last @ may be one.
    if let Some(at) = text[host..question.unwrap_or(text.len())].rfind('@').filter(|at| *at > 0) {
        places.push((host, host + at));
    }
    if let Some(question) = question.filter(|at| at + 1 < text.len()) {
        places.push((question + 1, text.len()));
    }
    places
}

/// Where the values of secret options stand: `'sasl.password' = '…'`, however the text is broken otherwise.
fn secret_values(sql: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    for (equals, _) in sql.match_indices('=') {
        let before = sql[..equals].trim_end();
        let quoted = before.ends_with(['\'', '"']);
        let before = before.strip_suffix(['\'', '"']).unwrap_or(before);
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_')))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let key = &before[start..];
        // A bare word may as well be a column that is compared.
        if !is_secret(key) || !(quoted || key.contains(['.', '-'])) {
            continue;
        }
        let rest = &sql[equals + 1..];
        let from = equals + 1 + rest.len() - rest.trim_start().len();
        match sql[from..].strip_prefix('\'') {
            Some(value) => places.extend(hidden_part(value, from + 1)),
            None => {
                let end = sql[from..]
                    .find(|c: char| c.is_whitespace() || matches!(c, ',' | ')' | ';' | '\'' | '"'))
                    .map_or(sql.len(), |at| from + at);
                places.extend(without_variable(&sql[from..end], from));
            }
        }
    }
    places
}

/// The place of a text in quotes, up to the one that closes it.
fn hidden_part(value: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = value.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        match (bytes[end], bytes.get(end + 1)) {
            (b'\'', Some(b'\'')) => end += 2,
            (b'\'', _) => break,
            _ => end += 1,
        }
    }
    without_variable(&value[..end], from)
}

/// The place of a value, but for the name of a variable that is all of it.
fn without_variable(value: &str, from: usize) -> Option<(usize, usize)> {
    let whole = (!value.is_empty()).then_some((from, from + value.len()));
    let Some(inside) = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return whole };
    let name = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
    match inside[name..].strip_prefix(":-") {
        _ if name == inside.len() => None,
        Some(default) if !default.contains("${") => Some((from + 2 + name + 2, from + 2 + name + 2 + default.len())),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_told_by_the_names_of_options() {
        for name in [
            "properties.sasl.password",
            "properties.ssl.key.password",
            "properties.ssl.keystore.password",
            "properties.ssl.key.pem",
            "properties.sasl.jaas.config",
            "properties.sasl.oauthbearer.config",
            "properties.sasl.oauthbearer.client.secret",
            "properties.sasl.oauthbearer.assertion.private.key.passphrase",
            "schema-registry.login",
            "avro-confluent.basic-auth.user-info",
            "SASL.Password",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["topic", "key.fields", "properties.sasl.username", "properties.ssl.ca.location", "fields.token.kind", "group"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        for (text, shown) in [
            ("kafka://a:1,b:2/bad?sasl.password=x&y=z", "kafka://a:1,b:2/bad?(hidden)"),
            ("http://me:pw@host:8081", "http://(hidden)@host:8081"),
            ("http://me:p/w@host:8081/x", "http://(hidden)@host:8081/x"),
            ("https://host/a?", "https://host/a?"),
            ("kafka:/a/t?sasl.password=x", "kafka:/a/t?(hidden)"),
            ("bad rows?.ndjson", "bad rows?.ndjson"),
            ("/tmp/a:/b?c", "/tmp/a:/b?c"),
        ] {
            assert_eq!(address(text), shown);
        }
        assert_eq!(shown("properties.sasl.password", "x"), HIDDEN);
        assert_eq!(shown("topic", "x"), "x");
    }

    #[test]
    fn statements_are_drawn_with_secrets_covered() {
        for (sql, shown) in [
            ("WITH (properties.sasl.password = 'it''s', a = 'b')", "WITH (properties.sasl.password = '*****', a = 'b')"),
            ("'schema-registry.login'='me:pw'", "'schema-registry.login'='*****'"),
            ("properties.sasl.password = '${PW}'", "properties.sasl.password = '${PW}'"),
            ("properties.sasl.password = '${PW:-abc}'", "properties.sasl.password = '${PW:-***}'"),
            ("properties.sasl.password = ${PW:-abc})", "properties.sasl.password = ${PW:-***})"),
            ("properties.sasl.password = hunter2, x = 1", "properties.sasl.password = *******, x = 1"),
            ("properties.sasl.password = 'open", "properties.sasl.password = '****"),
            ("DEAD_LETTER 'kafka://a:1/t?sasl.password=x' LIMIT", "DEAD_LETTER 'kafka://a:1/t?***************' LIMIT"),
            ("DEAD_LETTER 'kafka://a:1/t?sasl.password=x';", "DEAD_LETTER 'kafka://a:1/t?***************';"),
            ("é = 'http://ü:é@h/'", "é = 'http://*****@h/'"),
            ("WHERE token = 'abc' AND a = 1", "WHERE token = 'abc' AND a = 1"),
        ] {
            assert_eq!(covered(sql), shown);
        }
    }

    proptest! {
        /// Whatever a text holds, covering keeps its length, and what stands at each place outside is what stood there.
        #[test]
        fn covering_keeps_places(parts in prop::collection::vec(prop::sample::select(vec![
            "'", "''", "=", " ", "sasl.password", "'a.token'", "${X:-", "}", "kafka://", "u:p@", "/", "?", "é", "\n", "\"", ",", "x",
        ]), 0..30)) {
            let sql = parts.concat();
            let covered = covered(&sql);
            prop_assert_eq!(covered.len(), sql.len());
            prop_assert!(covered.bytes().zip(sql.bytes()).all(|(shown, was)| shown == was || shown == b'*'));
        }
    }
}

//! Why a value or a record cannot be read. Built on the slow path only: the hot paths carry one pointer.

/// What is wrong, and in which field. Names are added from the inside outwards while the fault rises.
#[derive(Debug)]
pub(crate) struct Fault {
    path: Vec<String>,
    reason: String,
}

/// The result of reading a value.
pub(crate) type Fallible<T> = Result<T, Box<Fault>>;

impl Fault {
    /// A fault for a reason.
    #[cold]
    pub(crate) fn new(reason: impl Into<String>) -> Box<Self> {
        Box::new(Self { path: Vec::new(), reason: reason.into() })
    }

    /// The same, inside a field.
    #[cold]
    pub(crate) fn within(mut self: Box<Self>, field: &str) -> Box<Self> {
        self.path.push(field.to_owned());
        self
    }

    /// The sentence for the data's owner.
    pub(crate) fn sentence(&self) -> String {
        if self.path.is_empty() {
            return self.reason.clone();
        }
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        format!("field \"{}\": {}", path.join("."), self.reason)
    }
}

/// What was found, short enough for a message, always one line.
pub(crate) fn excerpt(found: &[u8]) -> String {
    const MOST: usize = 40;
    let text = String::from_utf8_lossy(&found[..found.len().min(4 * MOST)]);
    let mut out: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > MOST || found.len() > 4 * MOST {
        out.push('…');
    }
    out
}

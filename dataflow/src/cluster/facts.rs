//! What must be equal in all processes before any row flows, and how a difference is said.

/// Named values, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(Vec<(String, String)>);

/// Bytes of facts that are read from a peer at most.
pub(super) const FACTS_BYTES_MAX: usize = 1 << 20;

impl Facts {
    /// Adds a fact. Its name completes the sentence "its … is …".
    pub(crate) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first difference to a peer's facts, as the end of a sentence that begins with the peer; `own` is this process.
    pub(super) fn difference(&self, own: usize, peers: &Self) -> Option<String> {
        for position in 0..self.0.len().max(peers.0.len()) {
            match (self.0.get(position), peers.0.get(position)) {
                (Some(ours), Some(theirs)) if ours == theirs => {}
                (Some((name, ours)), Some((other, theirs))) if name == other => {
                    return Some(format!("does not fit: its {name} is {theirs}, that of process {own} is {ours}"));
                }
                _ => return Some("does not fit: it runs another program".into()),
            }
        }
        None
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut texts = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            texts.push(std::str::from_utf8(text).ok()?.to_owned());
            bytes = rest;
        }
        let pairs = texts.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return None;
        }
        Some(Self(pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(of: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        of.iter().for_each(|(name, value)| facts.add(*name, *value));
        facts
    }

    #[test]
    fn a_difference_says_what_it_is() {
        let ours = facts(&[("build", "1"), ("plan", "aa")]);
        assert_eq!(ours.difference(0, &ours), None);
        let theirs = facts(&[("build", "1"), ("plan", "bb")]);
        assert_eq!(ours.difference(0, &theirs).unwrap(), "does not fit: its plan is bb, that of process 0 is aa");
        assert!(ours.difference(0, &facts(&[("build", "1")])).is_some());
    }

    #[test]
    fn facts_survive_the_wire_and_damage_is_seen() {
        let some = facts(&[("build", "0.1 é"), ("plan", "")]);
        let bytes = some.to_bytes();
        assert_eq!(Facts::from_bytes(&bytes), Some(some));
        for end in 1..bytes.len() {
            let read = Facts::from_bytes(&bytes[..end]);
            assert!(read.is_none() || read.is_some_and(|read| read.0.len() < 2), "{end}");
        }
        assert_eq!(Facts::from_bytes(&[0xff; 9]), None);
    }
}

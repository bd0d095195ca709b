//! The shared secret, and proofs of knowing it that do not show it.

use std::io::Read;

/// Least length of a secret: shorter ones can be guessed from one proof that was overheard.
const BYTES_MIN: usize = 16;

/// A key that all processes of a group derive from the same secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A proof.
pub(super) type Proof = [u8; 32];

impl Secret {
    /// A secret from its text; white space at the ends, such as the last line's end, is no part of it.
    ///
    /// # Errors
    /// When it is too short.
    pub fn new(text: &[u8]) -> Result<Self, String> {
        let text = text.trim_ascii();
        if text.len() < BYTES_MIN {
            return Err(format!("a cluster secret has at least {BYTES_MIN} characters, this one has {}", text.len()));
        }
        Ok(Self(blake3::derive_key("tidemark cluster secret v1", text)))
    }

    /// The key of a group without a secret: guards against mistakes, not against people.
    pub(super) fn open() -> Self {
        Self(blake3::derive_key("tidemark cluster without secret v1", b""))
    }

    /// Proof of knowing the secret, bound to a role and to what was said. Compared in constant time by [`Secret::accepts`].
    pub(super) fn prove(&self, role: &str, said: &[&[u8]]) -> Proof {
        *self.hash(role, said).as_bytes()
    }

    /// Whether a proof is right.
    pub(super) fn accepts(&self, role: &str, said: &[&[u8]], proof: &Proof) -> bool {
        // Equality of hashes takes the same time for any two.
        self.hash(role, said) == blake3::Hash::from_bytes(*proof)
    }

    /// A key for one conversation.
    pub(super) fn session(&self, said: &[&[u8]]) -> Self {
        Self(*self.hash("session", said).as_bytes())
    }

    fn hash(&self, role: &str, said: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [role.as_bytes()].iter().chain(said) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// Bytes from the system that nobody can foretell.
///
/// # Errors
/// When the system has none to give.
pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_secret_role_and_conversation() {
        let secret = Secret::new(b"correct horse battery\n").unwrap();
        assert_eq!(secret, Secret::new(b"  correct horse battery").unwrap());
        let proof = secret.prove("a", &[b"one", b"two"]);
        assert!(secret.accepts("a", &[b"one", b"two"], &proof));
        assert!(!secret.accepts("b", &[b"one", b"two"], &proof));
        assert!(!secret.accepts("a", &[b"onet", b"wo"], &proof));
        assert!(!Secret::new(b"another horse battery").unwrap().accepts("a", &[b"one", b"two"], &proof));
        assert!(!Secret::open().accepts("a", &[b"one", b"two"], &proof));
        assert!(Secret::new(b"short").is_err());
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random_bytes::<32>().unwrap(), random_bytes::<32>().unwrap());
    }
}

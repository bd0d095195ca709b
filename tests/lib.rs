//! Tidemark.

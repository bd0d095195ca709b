//! Batch oracles for the streaming engine: DataFusion's own engine and SQLite answer the same query over the same tables.

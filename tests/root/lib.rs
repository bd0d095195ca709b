//! The root package holds no code: it is there so that `tests/` and `benches/` belong to cargo as they stand. The engine is in
//! `planner/`, `connectors/` and `dataflow/`, the command line in `bin/`, the tests' own tools in `testing/`.

//! Which field of a record is which column.

use arrow::datatypes::Schema;

use super::CsvOptions;

/// The names of the fields of a record, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvLayout {
    names: Vec<String>,
}

impl CsvLayout {
    /// Records that hold the declared columns in their order: files without a header.
    pub fn positional(declared: &Schema) -> Self {
        Self { names: declared.fields().iter().map(|field| field.name().clone()).collect() }
    }

    /// Records whose fields have these names.
    pub fn named(names: Vec<String>) -> Self {
        Self { names }
    }

    /// From a header record, with or without its line end and the byte order mark before it.
    ///
    /// # Errors
    /// One sentence, when it is not text, or a name is empty or there twice.
    pub fn from_header(record: &[u8], options: &CsvOptions) -> Result<Self, String> {
        let _ = (record, options);
        Err("csv headers are not read yet".into())
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether all columns of a schema are there.
    ///
    /// # Errors
    /// One sentence that names a column that is not.
    pub fn check(&self, columns: &Schema) -> Result<(), String> {
        for field in columns.fields() {
            if !self.names.contains(field.name()) {
                return Err(format!("the header has no column \"{}\"; it has {}", field.name(), self.names.join(", ")));
            }
        }
        Ok(())
    }
}

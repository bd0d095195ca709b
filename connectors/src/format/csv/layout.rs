//! Which field of a record is which column.

use arrow::datatypes::Schema;

use super::CsvOptions;
use super::record::header_fields;

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

    /// From a header record, with or without its line end and the byte order mark and comments before it. A field without a
    /// name is called by its place: `column3`.
    ///
    /// # Errors
    /// One sentence, when it is not text, or a name is there twice.
    pub fn from_header(record: &[u8], options: &CsvOptions) -> Result<Self, String> {
        let fields = header_fields(record, options)?;
        let mut names: Vec<String> = Vec::with_capacity(fields.len());
        for (at, name) in fields.into_iter().enumerate() {
            let name = if name.is_empty() { format!("column{}", at + 1) } else { name };
            if names.contains(&name) {
                return Err(format!("the header has the column \"{name}\" twice"));
            }
            names.push(name);
        }
        Ok(Self { names })
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

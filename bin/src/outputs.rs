//! What SHOW, DESCRIBE and EXPLAIN put out, in the format asked for.

use tidemark_planner::Output;

use crate::args::StdoutFormat;

/// All outputs as text, in order, a blank line between them.
pub(crate) fn text(outputs: &[Output], format: Option<StdoutFormat>) -> String {
    let mut text = String::new();
    for (position, output) in outputs.iter().enumerate() {
        // Lines for programs stand without anything between them.
        let for_eyes = !matches!(format, Some(StdoutFormat::Ndjson | StdoutFormat::Csv));
        if position > 0 && for_eyes {
            text.push('\n');
        }
        match output {
            Output::Text(lines) => {
                text.push_str(lines.trim_end_matches('\n'));
                text.push('\n');
            }
            Output::Table { columns, rows } => match format {
                Some(StdoutFormat::Ndjson) => rows.iter().for_each(|row| json_line(columns, row, &mut text)),
                Some(StdoutFormat::Csv) => std::iter::once(columns).chain(rows).for_each(|row| csv_line(row, &mut text)),
                Some(StdoutFormat::Table | StdoutFormat::Changelog) | None => table(columns, rows, &mut text),
            },
        }
    }
    text
}

/// A table as results are drawn.
fn table(columns: &[String], rows: &[Vec<String>], text: &mut String) {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_style(comfy_table::TableComponent::VerticalLines, '|');
    table.set_style(comfy_table::TableComponent::HeaderLines, '-');
    table.set_style(comfy_table::TableComponent::MiddleHeaderIntersections, '+');
    table.set_header(columns);
    table.add_rows(rows);
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn json_line(columns: &[String], row: &[String], text: &mut String) {
    let object: Vec<String> = columns
        .iter()
        .zip(row)
        .map(|(column, value)| format!("{}:{}", serde_json::Value::from(column.as_str()), serde_json::Value::from(value.as_str())))
        .collect();
    text.push_str(&format!("{{{}}}\n", object.join(",")));
}

fn csv_line(row: &[String], text: &mut String) {
    for (position, field) in row.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        if field.contains([',', '"', '\n', '\r']) {
            text.push_str(&format!("\"{}\"", field.replace('"', "\"\"")));
        } else {
            text.push_str(field);
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Vec<Output> {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        vec![
            Output::Text("n0 Source trades\n".into()),
            Output::Table { columns: row(["column", "type"]), rows: vec![row(["a", "BIGINT"]), row(["say \"b\", c", "VARCHAR"])] },
        ]
    }

    #[test]
    fn tables_are_drawn_for_eyes() {
        let expected = "\
n0 Source trades

 column     | type
------------+---------
 a          | BIGINT
 say \"b\", c | VARCHAR
";
        assert_eq!(text(&outputs(), None), expected);
    }

    #[test]
    fn tables_are_lines_for_programs() {
        assert_eq!(text(&outputs()[1..], Some(StdoutFormat::Csv)), "column,type\na,BIGINT\n\"say \"\"b\"\", c\",VARCHAR\n");
        let json = "{\"column\":\"a\",\"type\":\"BIGINT\"}\n{\"column\":\"say \\\"b\\\", c\",\"type\":\"VARCHAR\"}\n";
        assert_eq!(text(&outputs()[1..], Some(StdoutFormat::Ndjson)), json);
    }
}

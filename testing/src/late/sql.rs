//! A case as SQL and rows.

use std::collections::BTreeMap;

use super::{Case, Event, Promise, Shape, Strategy};
use crate::memory::{TextPartition, TextRow};
use crate::run::Job;
use crate::value::Value;

/// The statements of a case.
pub fn statements(case: &Case) -> String {
    let mut sql = String::new();
    for (s, source) in case.sources.iter().enumerate() {
        let promise = match source.promise {
            Promise::Bounded(delay) => format!("ts AS ts - INTERVAL '{}' MILLISECOND", delay / 1_000),
            Promise::Strict => "ts WITH ASCENDING_TIMESTAMPS(STRICT)".to_owned(),
            Promise::Carried => "ts AS mark".to_owned(),
        };
        let changelog = if source.retracts { ", changelog = 'retract'" } else { "" };
        let idle = source.idle_steps.map_or_else(String::new, |steps| format!(", 'watermark.idle-timeout' = '{steps}s'"));
        sql.push_str(&format!(
            "CREATE SOURCE t{s} (id BIGINT, ts TIMESTAMP, mark TIMESTAMP, k BIGINT, v BIGINT, WATERMARK FOR {promise}) \
             WITH (connector = 'test'{changelog}{idle}) ON ERROR SKIP;\n"
        ));
    }
    let mut from = "t0".to_owned();
    if case.sources.len() > 1 {
        sql.push_str("CREATE VIEW both AS SELECT id, ts, k, v FROM t0 UNION ALL SELECT id, ts, k, v FROM t1;\n");
        from = "both".to_owned();
    }
    let query = query(case, &from);
    let emit = match (&case.firing, case.fin) {
        (Some(_), true) => "",
        (None, true) => " EMIT FINAL",
        (_, false) => " EMIT CHANGES",
    };
    sql.push_str(&format!("CREATE SINK out WITH (connector = 'test') AS {query}{emit};\n"));
    if case.late_sink {
        let columns = "id, ts, window_start, window_end, _watermark, _lateness_us";
        sql.push_str(&format!("CREATE SINK late WITH (connector = 'test') AS SELECT {columns} FROM LATE(({query}));\n"));
    }
    for (s, _) in case.sources.iter().enumerate().filter(|_| case.idles()) {
        sql.push_str(&format!("CREATE SINK judged{s} WITH (connector = 'test') AS SELECT id, CURRENT_WATERMARK() AS w FROM t{s};\n"));
    }
    if let Some(size) = case.outer {
        sql.push_str(&format!(
            "CREATE VIEW inside AS {};\n\
             CREATE SINK outside WITH (connector = 'test') AS \
             SELECT window_start, count(*) AS windows, sum(n) AS total FROM inside WINDOW TUMBLING({}ms, at) EMIT FINAL;\n",
            query.replacen("window_start, window_end", "window_time AS at", 1).replace(TOLD, ""),
            size / 1_000
        ));
    }
    sql
}

/// The columns that tell of a firing.
const TOLD: &str = ", _trigger_reason, _revision, _is_final, _fired_at";

fn query(case: &Case, from: &str) -> String {
    let ms = |us: i64| format!("{}ms", us / 1_000);
    let shape = match case.shape {
        Shape::Tumble { size, offset: 0 } => format!("TUMBLING({})", ms(size)),
        Shape::Tumble { size, offset } => format!("TUMBLING({}, {})", ms(size), ms(offset)),
        Shape::Hop { size, slide } => format!("SLIDING({}, {})", ms(size), ms(slide)),
        Shape::Cumulate { size, step } => format!("CUMULATING({}, {})", ms(step), ms(size)),
        Shape::Session { gap } => format!("SESSION({} TIMEOUT)", ms(gap)),
    };
    let own = match case.own_delay {
        None => String::new(),
        Some(0) => " WITH WATERMARK ASCENDING_TIMESTAMPS".to_owned(),
        Some(delay) => format!(" WITH WATERMARK BOUNDED_OUT_OF_ORDERNESS({})", ms(delay)),
    };
    let lateness = if case.lateness == 0 { String::new() } else { format!(" ALLOWED_LATENESS {}", ms(case.lateness)) };
    let strategy = match case.strategy {
        Strategy::Drop => "DROP",
        Strategy::UpdatePrevious => "UPDATE_PREVIOUS",
        Strategy::DeadLetter => "DEAD_LETTER_QUEUE",
        Strategy::NextWindow => "INCLUDE_IN_NEXT_WINDOW",
    };
    let key = if case.keyed { "k, " } else { "" };
    let lists = if case.lists { ", array_agg(id ORDER BY id) AS ids" } else { "" };
    let filter = if case.filter { " WHERE v % 2 = 0" } else { "" };
    let (mut told, mut trigger) = ("", String::new());
    if let Some(firing) = &case.firing {
        let when = firing.when.sql();
        let when = if case.gap().is_some() { when.replace("ON WATERMARK", "ON SESSION_END") } else { when };
        trigger = format!(" TRIGGER {when}{}", if firing.purge { " FIRE AND PURGE" } else { "" });
        told = if firing.told { TOLD } else { "" };
    }
    let by = if case.keyed { " GROUP BY k" } else { "" };
    format!(
        "SELECT {key}window_start, window_end, count(*) AS n, sum(v) AS s, max(v) AS m{lists}{told} FROM {from}{filter} \
         WINDOW {shape} ON EVENT_TIME(ts){own}{trigger}{lateness} LATE_DATA_STRATEGY {strategy}{by}"
    )
}

/// The job of a case.
pub fn job(case: &Case, workers: usize) -> Job {
    let mut tables: BTreeMap<String, Vec<TextPartition>> = BTreeMap::new();
    for (s, source) in case.sources.iter().enumerate() {
        let row = |event: &Event| -> TextRow {
            let time = |time: Option<i64>| time.map(|time| Value::Time(time).to_string());
            let mut row = vec![
                Some(event.id.to_string()),
                time(event.ts),
                time(event.mark),
                Some(event.key.to_string()),
                Some(event.value.to_string()),
            ];
            if source.retracts {
                row.push(Some(event.diff.to_string()));
            }
            row
        };
        let partitions =
            source.partitions.iter().map(|partition| partition.iter().map(|step| step.iter().map(row).collect()).collect()).collect();
        tables.insert(format!("t{s}"), partitions);
    }
    Job { sql: statements(case), tables, workers, chunking: Some(case.chunking) }
}

/// The rows of a case, a line for each step of each partition.
pub fn rows(case: &Case) -> String {
    let mut text = String::new();
    for (name, partitions) in job(case, 1).tables {
        for (p, partition) in partitions.iter().enumerate() {
            for (t, step) in partition.iter().enumerate() {
                let row = |row: &TextRow| row.iter().map(|cell| cell.as_deref().unwrap_or("null")).collect::<Vec<_>>().join(" ");
                text.push_str(&format!("\n{name}/{p} step {t}: {}", step.iter().map(row).collect::<Vec<_>>().join("; ")));
            }
        }
    }
    text
}

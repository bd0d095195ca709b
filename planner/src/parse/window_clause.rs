//! The WINDOW clause, read in full: window, time domain, watermark, trigger, lateness and strategy for late rows.
//!
//! ```text
//! WINDOW TUMBLING(5m) | SLIDING(1h, 10m) | HOPPING(size, slide) | CUMULATING(step, size) | SESSION(30m TIMEOUT)
//!      | TUMBLING(100 ROWS) | SLIDING(100 ROWS, 10 ROWS)
//!   [ON EVENT_TIME(col) | ON PROCESSING_TIME()]
//!   [WITH WATERMARK BOUNDED_OUT_OF_ORDERNESS(10s) | ASCENDING_TIMESTAMPS]
//!   [TRIGGER trigger [FIRE AND PURGE]] [ALLOWED_LATENESS 30s]
//!   [LATE_DATA_STRATEGY DROP | UPDATE_PREVIOUS | DEAD_LETTER_QUEUE ['path'] | INCLUDE_IN_NEXT_WINDOW]
//! ```
//!
//! The parts behind the window stand in any order, and GROUP BY, HAVING and EMIT may stand among them. What they mean together is
//! worked out in `window_options`; nothing is passed over.

use datafusion_sql::sqlparser::ast::Ident;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::columns::take_watermark_strategy;
use super::cursor::{Cursor, Parsed, quote};
use super::window_call::divisor_near;
use super::window_table::LettersPath;
use super::{durations, options};
use crate::error::nearest;
use crate::plan::LateStrategy;
use crate::{PlanError, Span};

/// The clause of one SELECT.
#[derive(Clone, Debug)]
pub(super) struct WindowClause {
    /// The window.
    pub(super) shape: Shape,
    /// A column given as an argument of the window, or by ON EVENT_TIME, or processing time.
    pub(super) time: Option<(Time, Span)>,
    /// A watermark of this query alone: its delay in microseconds.
    pub(super) watermark: Option<(i64, Span)>,
    /// When results come out.
    pub(super) trigger: Option<(Trigger, Span)>,
    /// `FIRE AND PURGE` behind the trigger.
    pub(super) purge: bool,
    /// How long a closed window is kept for late rows, in microseconds.
    pub(super) lateness: Option<(i64, Span)>,
    /// What becomes of late rows.
    pub(super) late: Option<(LateStrategy, Span)>,
    /// The file of the dead letters.
    pub(super) letters: Option<LettersPath>,
    /// `TUMBLING(5m)`.
    pub(super) span: Span,
    /// The word WINDOW.
    pub(super) word: Span,
}

/// The window, durations in microseconds as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Tumbling { size: (i64, Span), offset: Option<(i64, Span)> },
    Sliding { size: (i64, Span), slide: (i64, Span), offset: Option<(i64, Span)> },
    Cumulating { step: (i64, Span), size: (i64, Span), offset: Option<(i64, Span)> },
    Session { gap: (i64, Span), keys: Vec<(Vec<Ident>, Span)> },
    Rows { size: i64, slide: i64 },
}

/// The time of a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Time {
    Column(Vec<Ident>),
    Processing,
}

/// When results come out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trigger {
    Watermark,
    SessionEnd,
    Every(i64),
    EveryRecords(u64),
    And(Vec<Trigger>),
    Or(Vec<Trigger>),
    First(Vec<Trigger>),
}

/// Names of windows in the clause.
const SHAPES: [&str; 9] = ["TUMBLING", "TUMBLE", "SLIDING", "HOPPING", "HOP", "CUMULATING", "CUMULATE", "SESSION", "SESSIONS"];

/// Triggers may nest this deep.
const DEPTH_MAX: usize = 32;

/// The clause begins here, not SQL's `WINDOW name AS (…)`.
pub(super) fn begins(cursor: &Cursor<'_>) -> bool {
    cursor.sees(&["WINDOW"])
        && cursor.peek_at(1).is_some_and(|tok| tok.word().is_some())
        && cursor.peek_at(2).is_some_and(|tok| tok.is_mark(&Token::LParen))
}

/// A part of the clause begins here.
pub(super) fn part_begins(cursor: &Cursor<'_>) -> bool {
    let open = |ahead: usize| cursor.peek_at(ahead).is_some_and(|tok| tok.is_mark(&Token::LParen));
    (cursor.sees(&["ON", "EVENT_TIME"]) && open(2))
        || (cursor.sees(&["ON", "PROCESSING_TIME"]) && open(2))
        || cursor.sees(&["WITH", "WATERMARK"])
        || cursor.sees(&["TRIGGER"])
        || cursor.sees(&["ALLOWED_LATENESS"])
        || cursor.sees(&["LATE_DATA_STRATEGY"])
}

/// Takes WINDOW and the window behind it.
pub(super) fn take(cursor: &mut Cursor<'_>) -> Parsed<WindowClause> {
    let word = cursor.expect("WINDOW")?;
    let start = cursor.at;
    let name = cursor.name("a window")?;
    if !SHAPES.iter().any(|shape| shape.eq_ignore_ascii_case(&name.value)) {
        let near = nearest(&name.value, SHAPES);
        return Err(PlanError::new("parse::unknown_window", format!("unknown window {}", quote(&name.value)), name.span)
            .label(near.map_or_else(|| "not a window".into(), |near| format!("did you mean {near}?")))
            .help("The windows are TUMBLING(size), SLIDING(size, slide), CUMULATING(step, size) and SESSION(gap)."));
    }
    let close = {
        let mut inside = cursor.clone();
        inside.at += 1;
        inside.closing()
    };
    cursor.expect_mark(&Token::LParen)?;
    let args = take_arguments(&mut cursor.until(close))?;
    cursor.at = close + 1;
    let span = cursor.since(start);
    let upper = name.value.to_ascii_uppercase();
    let (shape, columns) = if args.rows.is_empty() { shape(&upper, args, span)? } else { (rows_shape(&upper, &args, span)?, vec![]) };
    let time = match columns.as_slice() {
        [] => None,
        [column] => Some((Time::Column(column.0.clone()), column.1)),
        [_, second, ..] => {
            return Err(PlanError::new("parse::window", format!("{upper} takes one time column"), second.1)
                .label("a second one")
                .help("Keys of the grouping stand in GROUP BY."));
        }
    };
    Ok(WindowClause { shape, time, watermark: None, trigger: None, purge: false, lateness: None, late: None, letters: None, span, word })
}

/// The arguments of a window, by what they are.
#[derive(Default)]
struct Arguments {
    durations: Vec<(i64, Span)>,
    rows: Vec<(i64, Span)>,
    columns: Vec<(Vec<Ident>, Span)>,
    offset: Option<(i64, Span)>,
}

fn take_arguments(cursor: &mut Cursor<'_>) -> Parsed<Arguments> {
    let mut args = Arguments::default();
    if cursor.at_end() {
        return Ok(args);
    }
    loop {
        if let Some(rows) = take_rows(cursor)? {
            args.rows.push(rows);
        } else if durations::begins(cursor) {
            args.durations.push(durations::take(cursor, "a duration")?);
            cursor.take(&["TIMEOUT"]);
        } else if cursor.sees(&["OFFSET"]) && durations::begins(&Cursor { at: cursor.at + 1, ..cursor.clone() }) {
            cursor.take(&["OFFSET"]);
            args.offset = Some(durations::take(cursor, "an offset")?);
        } else {
            args.columns.push(take_column(cursor)?);
        }
        if cursor.at_end() {
            return Ok(args);
        }
        cursor.expect_mark(&Token::Comma)?;
    }
}

/// Takes `100 ROWS`, if it is there.
fn take_rows(cursor: &mut Cursor<'_>) -> Parsed<Option<(i64, Span)>> {
    let (Some(Token::Number(digits, _)), Some(unit)) = (cursor.peek().map(|tok| &tok.token.token), cursor.peek_at(1)) else {
        return Ok(None);
    };
    if !unit.is_any(&["ROWS", "ROW", "RECORDS", "RECORD", "EVENTS", "EVENT"]) {
        return Ok(None);
    }
    // Twice the size of a window and its number must fit into 64 bits.
    let rows = digits.parse::<i64>().ok().filter(|rows| (1..=i64::from(u32::MAX)).contains(rows));
    let Some(rows) = rows else { return Err(cursor.expected("a whole number of rows, from 1 to 4294967295")) };
    let span = cursor.here().to(unit.span);
    cursor.at += 2;
    Ok(Some((rows, span)))
}

/// Takes `a`, `a.b` or `DESCRIPTOR(a)`.
fn take_column(cursor: &mut Cursor<'_>) -> Parsed<(Vec<Ident>, Span)> {
    if cursor.sees(&["DESCRIPTOR"]) && cursor.peek_at(1).is_some_and(|tok| tok.is_mark(&Token::LParen)) {
        cursor.at += 2;
        let column = take_column(cursor)?;
        cursor.expect_mark(&Token::RParen)?;
        return Ok(column);
    }
    let start = cursor.at;
    let mut parts = Vec::new();
    loop {
        let Some(Token::Word(word)) = cursor.peek().map(|tok| &tok.token.token) else {
            return Err(cursor.expected("a duration, such as 5m, or a column"));
        };
        let span = cursor.peek().map_or_else(datafusion_sql::sqlparser::tokenizer::Span::empty, |tok| tok.token.span);
        parts.push(word.clone().into_ident(span));
        cursor.at += 1;
        if !cursor.take_mark(&Token::Period) {
            return Ok((parts, cursor.since(start)));
        }
    }
}

type Column = (Vec<Ident>, Span);

fn shape(name: &str, args: Arguments, span: Span) -> Parsed<(Shape, Vec<Column>)> {
    let Arguments { durations, mut columns, offset, .. } = args;
    let wrong = |help: &str| {
        Err(PlanError::new("parse::window", format!("{name} with {}", count(durations.len())), span)
            .label("durations do not fit")
            .help(help.to_string()))
    };
    let both = |own: Option<(i64, Span)>| match (own, offset) {
        (Some(_), Some((_, span))) => Err(PlanError::new("parse::window", "the offset is given twice", span).label("again")),
        (own, offset) => Ok(own.or(offset)),
    };
    let shape = match name {
        "TUMBLING" | "TUMBLE" => match durations.as_slice() {
            [size] => Shape::Tumbling { size: *size, offset: both(None)? },
            [size, own] => Shape::Tumbling { size: *size, offset: both(Some(*own))? },
            _ => return wrong("Write TUMBLING(size), for example TUMBLING(5m), or TUMBLING(size, offset)."),
        },
        "SLIDING" | "HOPPING" | "HOP" => match durations.as_slice() {
            [size, slide] => Shape::Sliding { size: *size, slide: *slide, offset: both(None)? },
            [size, slide, own] => Shape::Sliding { size: *size, slide: *slide, offset: both(Some(*own))? },
            _ => return wrong("Write SLIDING(size, slide), for example SLIDING(1h, 10m): an hour, every ten minutes."),
        },
        "CUMULATING" | "CUMULATE" => match durations.as_slice() {
            [step, size] => Shape::Cumulating { step: *step, size: *size, offset: both(None)? },
            [step, size, own] => Shape::Cumulating { step: *step, size: *size, offset: both(Some(*own))? },
            _ => return wrong("Write CUMULATING(step, size), for example CUMULATING(10m, 1d): a day, growing by ten minutes."),
        },
        _ => match durations.as_slice() {
            [gap] => {
                // The first column is the time, those behind it are keys.
                let keys = if columns.len() > 1 { columns.split_off(1) } else { Vec::new() };
                Shape::Session { gap: *gap, keys }
            }
            _ => return wrong("Write SESSION(gap), for example SESSION(30m)."),
        },
    };
    Ok((shape, columns))
}

/// A window of so many rows.
fn rows_shape(name: &str, args: &Arguments, span: Span) -> Parsed<Shape> {
    let others = args.durations.iter().chain(&args.offset).map(|(_, span)| *span).chain(args.columns.iter().map(|(_, span)| *span));
    if let Some(other) = others.min_by_key(|span| span.start) {
        return Err(PlanError::new("parse::window", "a window of so many rows has no time", other)
            .label("neither a number of rows")
            .help("Write TUMBLING(100 ROWS) or SLIDING(100 ROWS, 10 ROWS); rows are counted for each value of the columns in GROUP BY."));
    }
    let wrong = |message: String, label: &str, help: String| Err(PlanError::new("parse::window", message, span).label(label).help(help));
    match (name, args.rows.as_slice()) {
        ("TUMBLING" | "TUMBLE", [(size, _)]) => Ok(Shape::Rows { size: *size, slide: *size }),
        ("SLIDING" | "HOPPING" | "HOP", [(size, _), (slide, _)]) if size % slide == 0 => Ok(Shape::Rows { size: *size, slide: *slide }),
        ("SLIDING" | "HOPPING" | "HOP", [(size, _), (slide, _)]) => {
            let help = if slide > size && slide % size == 0 {
                format!("The two look swapped: the size is {slide} ROWS and the slide {size} ROWS.")
            } else {
                format!("Choose a slide that divides the size, for example {} ROWS.", divisor_near(*size, *slide))
            };
            wrong(format!("slide {slide} ROWS does not divide size {size} ROWS"), "cannot be", help)
        }
        ("TUMBLING" | "TUMBLE", _) => {
            wrong(format!("{name} with {} numbers of rows", args.rows.len()), "one is its size", "Write TUMBLING(100 ROWS).".into())
        }
        ("SLIDING" | "HOPPING" | "HOP", _) => {
            let message = format!("{name} with {} of rows", if args.rows.len() == 1 { "one number" } else { "many numbers" });
            wrong(message, "its size, then its slide", "Write SLIDING(100 ROWS, 10 ROWS): a hundred rows, every ten rows.".into())
        }
        _ => wrong(
            format!("{name} of a number of rows"),
            "only TUMBLING and SLIDING can be cut by rows",
            "Write TUMBLING(100 ROWS) or SLIDING(100 ROWS, 10 ROWS), or give durations.".into(),
        ),
    }
}

fn count(number: usize) -> String {
    match number {
        0 => "no duration".into(),
        1 => "1 duration".into(),
        more => format!("{more} durations"),
    }
}

/// Takes one part of the clause into it.
pub(super) fn take_part(cursor: &mut Cursor<'_>, clause: &mut WindowClause) -> Parsed<()> {
    let start = cursor.at;
    if cursor.take(&["ON", "EVENT_TIME"]) {
        cursor.expect_mark(&Token::LParen)?;
        let (column, _) = take_column(cursor)?;
        cursor.expect_mark(&Token::RParen)?;
        put(&mut clause.time, Time::Column(column), "the time of the window", cursor.since(start))
    } else if cursor.take(&["ON", "PROCESSING_TIME"]) {
        cursor.expect_mark(&Token::LParen)?;
        cursor.expect_mark(&Token::RParen)?;
        put(&mut clause.time, Time::Processing, "the time of the window", cursor.since(start))
    } else if cursor.sees(&["WITH", "WATERMARK"]) {
        let (delay_us, _) = take_watermark_strategy(cursor)?;
        put(&mut clause.watermark, delay_us, "WITH WATERMARK", cursor.since(start))
    } else if cursor.take(&["TRIGGER"]) {
        let trigger = take_trigger(cursor, 0)?;
        clause.purge = cursor.take(&["FIRE", "AND", "PURGE"]);
        put(&mut clause.trigger, trigger, "TRIGGER", cursor.since(start))
    } else if cursor.take(&["ALLOWED_LATENESS"]) {
        let (us, span) = durations::take(cursor, "a duration")?;
        if us < 0 {
            return Err(PlanError::new("parse::window", "the lateness is negative", span).label("below 0"));
        }
        put(&mut clause.lateness, us, "ALLOWED_LATENESS", cursor.since(start))
    } else {
        cursor.expect("LATE_DATA_STRATEGY")?;
        let words = [
            ("DROP", LateStrategy::Drop),
            ("UPDATE_PREVIOUS", LateStrategy::UpdatePrevious),
            ("DEAD_LETTER_QUEUE", LateStrategy::DeadLetterQueue),
            ("INCLUDE_IN_NEXT_WINDOW", LateStrategy::IncludeInNextWindow),
        ];
        for (word, late) in words {
            if cursor.take(&[word]) {
                if late == LateStrategy::DeadLetterQueue
                    && let Some(tok) = cursor.peek()
                    && let Token::SingleQuotedString(path) = &tok.token.token
                {
                    let path = options::substitute(cursor, path, tok.span)?;
                    clause.letters = Some(LettersPath { path, span: tok.token.span });
                    cursor.at += 1;
                }
                return put(&mut clause.late, late, "LATE_DATA_STRATEGY", cursor.since(start));
            }
        }
        Err(cursor.expected_words("DROP, UPDATE_PREVIOUS, DEAD_LETTER_QUEUE or INCLUDE_IN_NEXT_WINDOW", &words.map(|(word, _)| word)))
    }
}

fn put<T>(slot: &mut Option<(T, Span)>, value: T, what: &str, span: Span) -> Parsed<()> {
    if slot.is_some() {
        return Err(PlanError::new("parse::window", format!("{what} is said twice"), span)
            .label("said again here")
            .help("Keep one of the two."));
    }
    *slot = Some((value, span));
    Ok(())
}

fn take_trigger(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Trigger> {
    let mut any = vec![take_all(cursor, depth)?];
    while cursor.take(&["OR"]) {
        any.push(take_all(cursor, depth)?);
    }
    Ok(one_or(any, Trigger::Or))
}

fn take_all(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Trigger> {
    let mut all = vec![take_one(cursor, depth)?];
    while cursor.take(&["AND"]) {
        all.push(take_one(cursor, depth)?);
    }
    Ok(one_or(all, Trigger::And))
}

fn one_or(mut triggers: Vec<Trigger>, many: fn(Vec<Trigger>) -> Trigger) -> Trigger {
    match triggers.pop() {
        Some(only) if triggers.is_empty() => only,
        Some(last) => {
            triggers.push(last);
            many(triggers)
        }
        None => many(triggers),
    }
}

fn take_one(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Trigger> {
    if depth > DEPTH_MAX {
        return Err(PlanError::new("parse::too_deep", "trigger is nested too deeply", cursor.here()).label("too many levels"));
    }
    if cursor.take_mark(&Token::LParen) {
        let inside = take_trigger(cursor, depth + 1)?;
        cursor.expect_mark(&Token::RParen)?;
        return Ok(inside);
    }
    if cursor.take(&["FIRST"]) {
        cursor.expect_mark(&Token::LParen)?;
        let mut first = vec![take_trigger(cursor, depth + 1)?];
        while cursor.take_mark(&Token::Comma) {
            first.push(take_trigger(cursor, depth + 1)?);
        }
        cursor.expect_mark(&Token::RParen)?;
        return Ok(Trigger::First(first));
    }
    cursor.take(&["ON"]);
    if cursor.take(&["WATERMARK"]) {
        return Ok(Trigger::Watermark);
    }
    if cursor.take(&["SESSION_END"]) {
        return Ok(Trigger::SessionEnd);
    }
    if cursor.take(&["EVERY"]) {
        if let (Some(Token::Number(digits, false)), true) = (
            cursor.peek().map(|tok| &tok.token.token),
            cursor.peek_at(1).is_some_and(|tok| tok.is_any(&["RECORDS", "RECORD", "ROWS", "EVENTS"])),
        ) {
            return match digits.parse::<u64>() {
                Ok(records) if records > 0 => {
                    cursor.at += 2;
                    Ok(Trigger::EveryRecords(records))
                }
                _ => Err(cursor.expected("a whole number of records, at least 1")),
            };
        }
        let (us, span) = durations::take(cursor, "a duration, or a number of RECORDS")?;
        if us <= 0 {
            return Err(PlanError::new("parse::window", "a trigger needs a positive interval", span).label("not above 0"));
        }
        return Ok(Trigger::Every(us));
    }
    Err(cursor.expected_words(
        "ON WATERMARK, ON SESSION_END, EVERY duration, EVERY n RECORDS or FIRST(…)",
        &["WATERMARK", "SESSION_END", "EVERY", "FIRST"],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::cursor::Context;
    use crate::parse::line_index::LineIndex;
    use crate::parse::tokens;

    /// Reads a clause in full, and says what is wrong with it.
    fn read(text: &str) -> (WindowClause, Vec<String>) {
        let lines = LineIndex::new(text);
        let context = Context { lines: &lines, variables: &|_| None };
        let statements = tokens::statements(&lines, &mut Vec::new());
        let mut cursor = Cursor::new(&context, &statements[0]);
        let mut clause = take(&mut cursor).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        while !cursor.at_end() {
            take_part(&mut cursor, &mut clause).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        }
        let refused = clause.options().err().unwrap_or_default();
        let refused = refused.iter().map(|error| error.span.map_or("", |span| &text[span.start..span.end]).to_string()).collect();
        (clause, refused)
    }

    #[test]
    fn every_clause_of_the_specification_is_read_in_full() {
        let (clause, refused) = read(
            "WINDOW TUMBLING(5m) ON EVENT_TIME(trade_timestamp) WITH WATERMARK BOUNDED_OUT_OF_ORDERNESS(10s)
             TRIGGER ON WATERMARK ALLOWED_LATENESS 30s LATE_DATA_STRATEGY UPDATE_PREVIOUS",
        );
        assert!(matches!(clause.shape, Shape::Tumbling { size: (300_000_000, _), offset: None }));
        assert!(matches!(&clause.time, Some((Time::Column(parts), _)) if parts[0].value == "trade_timestamp"));
        assert_eq!(clause.watermark.map(|it| it.0), Some(10_000_000));
        assert_eq!(clause.trigger.map(|it| it.0), Some(Trigger::Watermark));
        assert_eq!(clause.lateness.map(|it| it.0), Some(30_000_000));
        assert_eq!(clause.late.map(|it| it.0), Some(LateStrategy::UpdatePrevious));
        assert!(refused.is_empty(), "{refused:?}");

        let (clause, refused) = read(
            "WINDOW SLIDING(1h, 10m) LATE_DATA_STRATEGY DROP TRIGGER EVERY 30s OR EVERY 1000 RECORDS ON PROCESSING_TIME() ALLOWED_LATENESS 0s",
        );
        assert!(matches!(clause.shape, Shape::Sliding { size: (3_600_000_000, _), slide: (600_000_000, _), offset: None }));
        assert!(matches!(clause.time, Some((Time::Processing, _))));
        assert_eq!(clause.trigger.map(|it| it.0), Some(Trigger::Or(vec![Trigger::Every(30_000_000), Trigger::EveryRecords(1000)])));
        assert!(refused.is_empty(), "{refused:?}");

        let (clause, refused) = read(
            "WINDOW SESSION(30m TIMEOUT) ON EVENT_TIME(login_time) WITH WATERMARK ASCENDING_TIMESTAMPS
             TRIGGER ON SESSION_END OR EVERY 5m LATE_DATA_STRATEGY DEAD_LETTER_QUEUE",
        );
        assert!(matches!(&clause.shape, Shape::Session { gap: (1_800_000_000, _), keys } if keys.is_empty()));
        assert_eq!(clause.watermark.map(|it| it.0), Some(0));
        assert_eq!(clause.trigger.map(|it| it.0), Some(Trigger::Or(vec![Trigger::SessionEnd, Trigger::Every(300_000_000)])));
        assert_eq!(clause.late.map(|it| it.0), Some(LateStrategy::DeadLetterQueue));
        assert!(refused.is_empty(), "{refused:?}");
    }

    #[test]
    fn triggers_nest_and_sessions_have_keys() {
        let (clause, _) = read("WINDOW TUMBLING(5m) TRIGGER (ON WATERMARK AND EVERY 1 minute) OR FIRST(EVERY 10 RECORDS, ON WATERMARK)");
        assert_eq!(
            clause.trigger.map(|it| it.0),
            Some(Trigger::Or(vec![
                Trigger::And(vec![Trigger::Watermark, Trigger::Every(60_000_000)]),
                Trigger::First(vec![Trigger::EveryRecords(10), Trigger::Watermark]),
            ]))
        );
        let (clause, refused) = read("WINDOW SESSION(ts, 30m, user_id) LATE_DATA_STRATEGY INCLUDE_IN_NEXT_WINDOW");
        assert!(matches!(&clause.shape, Shape::Session { keys, .. } if keys.len() == 1 && keys[0].0[0].value == "user_id"));
        assert!(matches!(&clause.time, Some((Time::Column(parts), _)) if parts[0].value == "ts"));
        assert!(refused.is_empty(), "{refused:?}");
        let (_, refused) = read("WINDOW CUMULATING(10m, 1d, OFFSET 1m) TRIGGER ON WATERMARK");
        assert!(refused.is_empty(), "{refused:?}");
    }
}

//! `tidemark demo`: a built-in query over generated auctions, to see the engine at work before there is any data.

use crate::args::DemoArgs;
use crate::cluster::PlaceArgs;
use crate::diagnose::Text;
use crate::exit::{self, Color, Exit};
use crate::run;
use crate::session::Session;

/// What the demo runs. Generated events are 100 µs of event time apart: two million are 200 seconds, 20 windows.
fn sql(events: u64) -> String {
    format!(
        "\
-- {events} events of an auction site, made in this process: the same on every run.
CREATE SOURCE bid WITH (
    connector = 'nexmark',
    shape = 'bid',
    events = {events}
);

-- Every ten seconds of event time: how much was bid, by how many, and for what most.
SELECT window_start                       AS \"from\",
       count(*)                           AS bids,
       approx_distinct(bidder)            AS bidders,
       count(*) FILTER (WHERE price > 1000000) AS \"over 10,000\",
       round(avg(price) / 100, 2)         AS \"mean price\",
       round(median(price) / 100, 2)      AS \"median price\",
       round(max(price) / 100, 2)         AS \"highest price\",
       arg_max(auction, price)            AS \"for auction\"
FROM bid
WINDOW TUMBLING(10s)
GROUP BY window_start, window_end
EMIT FINAL;
"
    )
}

/// Runs the demo, or prints what it runs.
pub(crate) fn command(args: &DemoArgs, color: Color) -> Exit {
    let sql = sql(args.events);
    if args.sql {
        return exit::print(&sql, color);
    }
    let text = Text { name: "demo".to_owned(), sql, from_stdin: false };
    run::session_run(&Session::of(text, args.how.format, color), &args.how, &PlaceArgs::default())
}

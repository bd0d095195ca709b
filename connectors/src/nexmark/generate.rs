//! Event `n` of the Nexmark stream as a pure function of `n`, written straight into columns.
//!
//! The events are those of the `nexmark` crate, draw for draw (a test compares them): each event seeds its own generator with
//! its number, so any worker can make any range, and a column that nobody reads need not be built. Only the clock differs: the
//! crate computes times in `f32`, which loses milliseconds after some ten million events; here they are exact integers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use nexmark::config::NexmarkConfig;
use rand_08::rngs::SmallRng;
use rand_08::{Rng, SeedableRng};

use crate::source::ConnectorError;

/// Fraction of persons and auctions that may be hot: one over this.
const HOT_RATIO: u64 = 100;
/// Of so many events in a row, the first are persons, the next auctions, the others bids. Constants, as in every published use of the
/// benchmark: the numbers of the last person and auction are divisions by them, several for each event.
const PERSONS: u64 = 1;
const AUCTIONS: u64 = 3;
const BIDS: u64 = 46;
const TURN: u64 = PERSONS + AUCTIONS + BIDS;
/// How many channels there are beside the hot ones.
const CHANNELS: u32 = 10_000;

/// What kind of event a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Auction,
    Bid,
}

/// Makes events. Shared by all decoders of a source.
#[derive(Debug)]
pub(super) struct Generator {
    config: NexmarkConfig,
    /// Events per second of event time.
    rate: u64,
    channels: Vec<(String, String)>,
}

impl Generator {
    /// A generator of the standard configuration.
    pub(super) fn new(base_time_ms: u64, rate: u64, out_of_order_group: usize) -> Self {
        let mut config = NexmarkConfig { base_time: base_time_ms, out_of_order_group_size: out_of_order_group, ..NexmarkConfig::default() };
        // In capitals, as Nexmark's own generator has them and its third query asks for them.
        config.us_states.iter_mut().for_each(|state| state.make_ascii_uppercase());
        Self { config, rate, channels: (0..CHANNELS).map(channel_and_url).collect() }
    }

    /// How many events of a kind come before event `n`, when events are in order.
    pub(super) fn before(kind: Kind, n: u64) -> u64 {
        let (turns, rest) = (n / TURN, n % TURN);
        match kind {
            Kind::Person => turns * PERSONS + rest.min(PERSONS),
            Kind::Auction => turns * AUCTIONS + rest.saturating_sub(PERSONS).min(AUCTIONS),
            Kind::Bid => turns * BIDS + rest.saturating_sub(PERSONS + AUCTIONS),
        }
    }

    /// At most so many events of a kind are among some events in a row.
    pub(super) fn share(kind: Kind, events: u64) -> u64 {
        Self::before(kind, events + TURN)
    }

    /// The event that stands at a place of the stream: itself, unless events are shuffled in groups.
    pub(super) fn event_at(&self, place: u64) -> u64 {
        let group = self.config.out_of_order_group_size as u64;
        if group == 1 { place } else { place / group * group + place % group * 953 % group }
    }

    /// What kind an event is.
    pub(super) fn kind(n: u64) -> Kind {
        let rest = n % TURN;
        if rest < PERSONS {
            Kind::Person
        } else if rest < PERSONS + AUCTIONS {
            Kind::Auction
        } else {
            Kind::Bid
        }
    }

    /// Event time in milliseconds.
    pub(super) fn time_ms(&self, n: u64) -> u64 {
        self.config.base_time + (n * 1000 + self.rate / 2) / self.rate
    }

    /// Event time in microseconds, as columns hold it.
    pub(super) fn time_us(&self, n: u64) -> i64 {
        (self.time_ms(n) * 1000) as i64
    }

    /// Greatest distance that a row stands behind one before it, in microseconds.
    pub(super) fn disorder_us(&self) -> i64 {
        let group = self.config.out_of_order_group_size as u64;
        // Milliseconds are rounded at both ends: one more than the gap of the outermost events.
        if group == 1 { 0 } else { (((group - 1) * 1000).div_ceil(self.rate) + 1) as i64 * 1000 }
    }

    #[allow(clippy::unnecessary_min_or_max)] // Right for any share of persons, also the one that makes it idle.
    fn last_person(n: u64) -> u64 {
        n / TURN * PERSONS + (n % TURN).min(PERSONS - 1)
    }

    fn last_auction(n: u64) -> u64 {
        let (turns, rest) = (n / TURN, n % TURN);
        if rest < PERSONS {
            // Asked of auctions and bids only.
            (turns * AUCTIONS).saturating_sub(1)
        } else {
            turns * AUCTIONS + (rest - PERSONS).min(AUCTIONS - 1)
        }
    }

    fn next_person(&self, n: u64, rng: &mut SmallRng) -> u64 {
        let people = Self::last_person(n) + 1;
        let active = people.min(self.config.active_people as u64);
        people - active + range(rng, active + self.config.person_id_lead as u64)
    }

    fn next_auction(&self, n: u64, rng: &mut SmallRng) -> u64 {
        let last = Self::last_auction(n);
        let first = last.saturating_sub(self.config.in_flight_auctions as u64);
        first + range(rng, last - first + 1 + self.config.auction_id_lead as u64)
    }
}

fn range(rng: &mut SmallRng, below: u64) -> u64 {
    rng.gen_range(0..below as usize) as u64
}

fn price(rng: &mut SmallRng) -> i64 {
    (10.0_f32.powf(rng.r#gen::<f32>() * 6.0) * 100.0).round() as i64
}

fn pick<'a>(rng: &mut SmallRng, list: &'a [String]) -> &'a str {
    &list[rng.gen_range(0..list.len() as u32) as usize]
}

fn letters(rng: &mut SmallRng, length: usize, out: &mut Vec<u8>) {
    out.extend((0..length).map(|_| rng.gen_range(b'a'..=b'z')));
}

/// Draws how long `extra` is, so that the event has about its size.
fn extra_length(rng: &mut SmallRng, size: usize, average: usize) -> usize {
    if size > average {
        return 0;
    }
    let rest = average - size;
    let delta = (rest + 2) / 5;
    rest - delta + if delta == 0 { 0 } else { rng.gen_range(0..2 * delta) }
}

fn channel_and_url(number: u32) -> (String, String) {
    let mut rng = SmallRng::seed_from_u64(u64::from(number));
    let part = |rng: &mut SmallRng| -> String {
        let length = rng.gen_range(3..5_usize);
        (0..length).map(|_| if rng.gen_range(0..13) == 0 { '_' } else { char::from(rng.gen_range(b'a'..=b'z')) }).collect()
    };
    let parts = [part(&mut rng), part(&mut rng), part(&mut rng)];
    let mut url = format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", parts[0], parts[1], parts[2]);
    let mut rng = SmallRng::seed_from_u64(u64::from(number));
    if rng.gen_range(0..10) > 0 {
        url.push_str(&format!("&channel_id={}", i64::from((number as i32).reverse_bits()).abs()));
    }
    (format!("channel-{number}"), url)
}

/// A column of text under construction.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Text {
    fn new(rows: usize, row_bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(rows * row_bytes), ends }
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len() as i32);
    }

    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.end();
    }

    fn finish(self) -> Result<ArrayRef, ConnectorError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let array =
            StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None).map_err(|error| ConnectorError::new("nexmark", error))?;
        Ok(Arc::new(array))
    }
}

fn want<T>(wanted: bool, make: impl FnOnce() -> T) -> Option<T> {
    wanted.then(make)
}

fn numbers(column: Option<Vec<i64>>) -> Option<Result<ArrayRef, ConnectorError>> {
    column.map(|values| Ok(Arc::new(Int64Array::from(values)) as ArrayRef))
}

fn times(column: Option<Vec<i64>>) -> Option<Result<ArrayRef, ConnectorError>> {
    column.map(|values| Ok(Arc::new(TimestampMicrosecondArray::from(values)) as ArrayRef))
}

fn texts(column: Option<Text>) -> Option<Result<ArrayRef, ConnectorError>> {
    column.map(Text::finish)
}

/// Rows of one kind of event under construction: the columns that are wanted.
pub(super) trait Rows: Sized {
    /// Empty columns; `wanted` in the order of the table.
    fn new(wanted: &[bool], rows: usize) -> Self;
    /// Appends an event of this kind.
    fn push(&mut self, generator: &Generator, n: u64);
    /// Appends a row that a null covers.
    fn push_hidden(&mut self);
    /// The wanted columns, in the order of the table.
    fn finish(self) -> Result<Vec<ArrayRef>, ConnectorError>;
}

fn hide_number(column: &mut Option<Vec<i64>>) {
    if let Some(values) = column {
        values.push(0);
    }
}

fn hide_text(column: &mut Option<Text>) {
    if let Some(text) = column {
        text.end();
    }
}

/// Bids.
#[derive(Debug)]
pub(super) struct Bids {
    /// The last draw that some wanted column needs.
    last: BidDraw,
    auction: Option<Vec<i64>>,
    bidder: Option<Vec<i64>>,
    price: Option<Vec<i64>>,
    channel: Option<Text>,
    url: Option<Text>,
    time: Option<Vec<i64>>,
    extra: Option<Text>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BidDraw {
    None,
    Auction,
    Bidder,
    Price,
    Channel,
    Extra,
}

impl Rows for Bids {
    fn new(wanted: &[bool], rows: usize) -> Self {
        let draws = [BidDraw::Auction, BidDraw::Bidder, BidDraw::Price, BidDraw::Channel, BidDraw::Channel, BidDraw::None, BidDraw::Extra];
        let last = draws.into_iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(draw, _)| draw).max().unwrap_or(BidDraw::None);
        Self {
            last,
            auction: want(wanted[0], || Vec::with_capacity(rows)),
            bidder: want(wanted[1], || Vec::with_capacity(rows)),
            price: want(wanted[2], || Vec::with_capacity(rows)),
            channel: want(wanted[3], || Text::new(rows, 12)),
            url: want(wanted[4], || Text::new(rows, 64)),
            time: want(wanted[5], || Vec::with_capacity(rows)),
            extra: want(wanted[6], || Text::new(rows, 70)),
        }
    }

    fn push(&mut self, generator: &Generator, n: u64) {
        let config = &generator.config;
        if let Some(time) = &mut self.time {
            time.push(generator.time_us(n));
        }
        if self.last == BidDraw::None {
            return;
        }
        let rng = &mut SmallRng::seed_from_u64(n);
        let auction = if range(rng, config.hot_auction_ratio as u64) > 0 {
            Generator::last_auction(n) / HOT_RATIO * HOT_RATIO
        } else {
            generator.next_auction(n, rng)
        };
        if let Some(values) = &mut self.auction {
            values.push((auction + config.first_auction_id as u64) as i64);
        }
        if self.last < BidDraw::Bidder {
            return;
        }
        let bidder = if range(rng, config.hot_bidder_ratio as u64) > 0 {
            Generator::last_person(n) / HOT_RATIO * HOT_RATIO + 1
        } else {
            generator.next_person(n, rng)
        };
        if let Some(values) = &mut self.bidder {
            values.push((bidder + config.first_person_id as u64) as i64);
        }
        if self.last < BidDraw::Price {
            return;
        }
        match &mut self.price {
            Some(values) => values.push(price(rng)),
            None => {
                rng.r#gen::<f32>();
            }
        }
        if self.last < BidDraw::Channel {
            return;
        }
        let (channel, url) = if range(rng, config.hot_channel_ratio as u64) > 0 {
            let index = rng.gen_range(0..config.hot_channels.len());
            (config.hot_channels[index].as_str(), config.hot_urls[index].as_str())
        } else {
            let (channel, url) = &generator.channels[rng.gen_range(0..CHANNELS) as usize];
            (channel.as_str(), url.as_str())
        };
        if let Some(text) = &mut self.channel {
            text.push(channel);
        }
        if let Some(text) = &mut self.url {
            text.push(url);
        }
        if let Some(text) = &mut self.extra {
            let length = extra_length(rng, 32, config.avg_bid_byte_size);
            letters(rng, length, &mut text.bytes);
            text.end();
        }
    }

    fn push_hidden(&mut self) {
        for column in [&mut self.auction, &mut self.bidder, &mut self.price, &mut self.time] {
            hide_number(column);
        }
        for column in [&mut self.channel, &mut self.url, &mut self.extra] {
            hide_text(column);
        }
    }

    fn finish(self) -> Result<Vec<ArrayRef>, ConnectorError> {
        [
            numbers(self.auction),
            numbers(self.bidder),
            numbers(self.price),
            texts(self.channel),
            texts(self.url),
            times(self.time),
            texts(self.extra),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// New persons: one event in fifty, so only the long text is skipped when it is not wanted.
#[derive(Debug)]
pub(super) struct Persons {
    id: Option<Vec<i64>>,
    /// Name, e-mail address, credit card, city, state.
    texts: [Option<Text>; 5],
    time: Option<Vec<i64>>,
    extra: Option<Text>,
    scratch: [Vec<u8>; 5],
}

impl Rows for Persons {
    fn new(wanted: &[bool], rows: usize) -> Self {
        Self {
            id: want(wanted[0], || Vec::with_capacity(rows)),
            texts: std::array::from_fn(|column| want(wanted[1 + column], || Text::new(rows, 12))),
            time: want(wanted[6], || Vec::with_capacity(rows)),
            extra: want(wanted[7], || Text::new(rows, 110)),
            scratch: Default::default(),
        }
    }

    fn push(&mut self, generator: &Generator, n: u64) {
        let config = &generator.config;
        let rng = &mut SmallRng::seed_from_u64(n);
        if let Some(values) = &mut self.id {
            values.push((Generator::last_person(n) + config.first_person_id as u64) as i64);
        }
        if let Some(values) = &mut self.time {
            values.push(generator.time_us(n));
        }
        self.scratch.iter_mut().for_each(Vec::clear);
        let [name, email, card, city, state] = &mut self.scratch;
        name.extend_from_slice(pick(rng, &config.first_names).as_bytes());
        name.push(b' ');
        name.extend_from_slice(pick(rng, &config.last_names).as_bytes());
        letters(rng, 7, email);
        email.push(b'@');
        letters(rng, 5, email);
        email.extend_from_slice(b".com");
        for group in 0..4 {
            let number: i32 = rng.gen_range(0..10_000);
            card.extend_from_slice(if group == 0 { b"" } else { b" " });
            card.extend([number / 1000, number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8));
        }
        city.extend_from_slice(pick(rng, &config.us_cities).as_bytes());
        state.extend_from_slice(pick(rng, &config.us_states).as_bytes());
        for (column, value) in self.texts.iter_mut().zip(&self.scratch) {
            if let Some(text) = column {
                text.bytes.extend_from_slice(value);
                text.end();
            }
        }
        if let Some(text) = &mut self.extra {
            let size = 8 + self.scratch.iter().map(Vec::len).sum::<usize>();
            let length = extra_length(rng, size, config.avg_person_byte_size);
            letters(rng, length, &mut text.bytes);
            text.end();
        }
    }

    fn push_hidden(&mut self) {
        hide_number(&mut self.id);
        hide_number(&mut self.time);
        self.texts.iter_mut().for_each(hide_text);
        hide_text(&mut self.extra);
    }

    fn finish(self) -> Result<Vec<ArrayRef>, ConnectorError> {
        let mut columns = vec![numbers(self.id)];
        columns.extend(self.texts.map(texts));
        columns.extend([times(self.time), texts(self.extra)]);
        columns.into_iter().flatten().collect()
    }
}

/// New auctions: three events in fifty.
#[derive(Debug)]
pub(super) struct Auctions {
    id: Option<Vec<i64>>,
    item: Option<Text>,
    description: Option<Text>,
    initial_bid: Option<Vec<i64>>,
    reserve: Option<Vec<i64>>,
    time: Option<Vec<i64>>,
    expires: Option<Vec<i64>>,
    seller: Option<Vec<i64>>,
    category: Option<Vec<i64>>,
    extra: Option<Text>,
    scratch: Vec<u8>,
}

impl Rows for Auctions {
    fn new(wanted: &[bool], rows: usize) -> Self {
        let column = |index: usize| want(wanted[index], || Vec::with_capacity(rows));
        Self {
            id: column(0),
            item: want(wanted[1], || Text::new(rows, 20)),
            description: want(wanted[2], || Text::new(rows, 100)),
            initial_bid: column(3),
            reserve: column(4),
            time: column(5),
            expires: column(6),
            seller: column(7),
            category: column(8),
            extra: want(wanted[9], || Text::new(rows, 340)),
            scratch: Vec::new(),
        }
    }

    fn push(&mut self, generator: &Generator, n: u64) {
        let config = &generator.config;
        let rng = &mut SmallRng::seed_from_u64(n);
        let time_ms = generator.time_ms(n);
        for (column, length) in [(&mut self.item, 20), (&mut self.description, 100)] {
            let bytes = column.as_mut().map_or(&mut self.scratch, |text| &mut text.bytes);
            letters(rng, length, bytes);
            if let Some(text) = column {
                text.end();
            }
        }
        self.scratch.clear();
        let initial_bid = price(rng);
        let reserve = initial_bid + price(rng);
        let future = n + (config.in_flight_auctions as u64 * TURN) / AUCTIONS;
        let horizon = generator.time_ms(future) - time_ms;
        let expires = time_ms + 1 + rng.gen_range(0..(horizon * 2).max(1));
        let seller = if range(rng, config.hot_seller_ratio as u64) > 0 {
            Generator::last_person(n) / HOT_RATIO * HOT_RATIO
        } else {
            generator.next_person(n, rng)
        };
        let category = config.first_category_id as u64 + range(rng, config.num_categories as u64);
        for (column, value) in [
            (&mut self.id, (Generator::last_auction(n) + config.first_auction_id as u64) as i64),
            (&mut self.initial_bid, initial_bid),
            (&mut self.reserve, reserve),
            (&mut self.time, (time_ms * 1000) as i64),
            (&mut self.expires, (expires * 1000) as i64),
            (&mut self.seller, (seller + config.first_person_id as u64) as i64),
            (&mut self.category, category as i64),
        ] {
            if let Some(values) = column {
                values.push(value);
            }
        }
        if let Some(text) = &mut self.extra {
            let length = extra_length(rng, 8 + 20 + 100 + 40, config.avg_auction_byte_size);
            letters(rng, length, &mut text.bytes);
            text.end();
        }
    }

    fn push_hidden(&mut self) {
        for column in [
            &mut self.id,
            &mut self.initial_bid,
            &mut self.reserve,
            &mut self.time,
            &mut self.expires,
            &mut self.seller,
            &mut self.category,
        ] {
            hide_number(column);
        }
        for column in [&mut self.item, &mut self.description, &mut self.extra] {
            hide_text(column);
        }
    }

    fn finish(self) -> Result<Vec<ArrayRef>, ConnectorError> {
        [
            numbers(self.id),
            texts(self.item),
            texts(self.description),
            numbers(self.initial_bid),
            numbers(self.reserve),
            times(self.time),
            times(self.expires),
            numbers(self.seller),
            numbers(self.category),
            texts(self.extra),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::cast::AsArray;
    use arrow::array::types::{Int64Type, TimestampMicrosecondType};
    use nexmark::EventGenerator;
    use nexmark::event::Event;

    use super::*;

    /// The crate's own times, for rates and numbers at which its `f32` is exact.
    const RATE: u64 = 10_000;

    fn crate_events(first: u64) -> impl Iterator<Item = Event> {
        let config =
            NexmarkConfig { base_time: 1_000_000, first_rate: RATE as usize, next_rate: RATE as usize, ..NexmarkConfig::default() };
        EventGenerator::new(config).with_offset(first)
    }

    fn rows<R: Rows>(generator: &Generator, kind: Kind, columns: usize, first: u64, count: u64) -> Vec<ArrayRef> {
        let mut rows = R::new(&vec![true; columns], 16);
        for n in first..first + count {
            if Generator::kind(n) == kind {
                rows.push(generator, n);
            }
        }
        rows.finish().expect("valid columns")
    }

    #[test]
    fn events_are_those_of_the_crate() {
        let generator = Generator::new(1_000_000, RATE, 1);
        for (first, count) in [(0, 30_000), (100_000, 5_000)] {
            let persons = rows::<Persons>(&generator, Kind::Person, 8, first, count);
            let auctions = rows::<Auctions>(&generator, Kind::Auction, 10, first, count);
            let bids = rows::<Bids>(&generator, Kind::Bid, 7, first, count);
            let number = |columns: &[ArrayRef], column: usize, row: usize| columns[column].as_primitive::<Int64Type>().value(row) as usize;
            let text = |columns: &[ArrayRef], column: usize, row: usize| columns[column].as_string::<i32>().value(row).to_string();
            let time = |columns: &[ArrayRef], column: usize, row: usize| {
                columns[column].as_primitive::<TimestampMicrosecondType>().value(row) as u64 / 1000
            };
            let (mut person, mut auction, mut bid) = (0, 0, 0);
            for event in crate_events(first).take(count as usize) {
                match event {
                    Event::Person(e) => {
                        assert_eq!((number(&persons, 0, person), time(&persons, 6, person)), (e.id, e.date_time));
                        let expected = [e.name, e.email_address, e.credit_card, e.city, e.state.to_uppercase()];
                        for (column, expected) in expected.into_iter().enumerate() {
                            assert_eq!(text(&persons, column + 1, person), expected);
                        }
                        assert_eq!(text(&persons, 7, person), e.extra);
                        person += 1;
                    }
                    Event::Auction(e) => {
                        assert_eq!(number(&auctions, 0, auction), e.id);
                        assert_eq!(text(&auctions, 1, auction), e.item_name);
                        assert_eq!(text(&auctions, 2, auction), e.description);
                        assert_eq!(number(&auctions, 3, auction), e.initial_bid);
                        assert_eq!(number(&auctions, 4, auction), e.reserve);
                        assert_eq!((time(&auctions, 5, auction), time(&auctions, 6, auction)), (e.date_time, e.expires));
                        assert_eq!((number(&auctions, 7, auction), number(&auctions, 8, auction)), (e.seller, e.category));
                        assert_eq!(text(&auctions, 9, auction), e.extra);
                        auction += 1;
                    }
                    Event::Bid(e) => {
                        assert_eq!(number(&bids, 0, bid), e.auction);
                        assert_eq!((number(&bids, 1, bid), number(&bids, 2, bid)), (e.bidder, e.price));
                        assert_eq!((text(&bids, 3, bid), text(&bids, 4, bid)), (e.channel, e.url));
                        assert_eq!(time(&bids, 5, bid), e.date_time);
                        assert_eq!(text(&bids, 6, bid), e.extra);
                        bid += 1;
                    }
                }
            }
            assert_eq!((person, auction, bid), (persons[0].len(), auctions[0].len(), bids[0].len()));
        }
    }

    #[test]
    fn a_column_is_the_same_whatever_else_is_read() {
        let generator = Generator::new(0, RATE, 1);
        let all = rows::<Bids>(&generator, Kind::Bid, 7, 5_000, 2_000);
        for mask in 0_u32..128 {
            let wanted: Vec<bool> = (0..7).map(|column| mask >> column & 1 == 1).collect();
            let mut bids = Bids::new(&wanted, 16);
            (5_000..7_000).filter(|n| Generator::kind(*n) == Kind::Bid).for_each(|n| bids.push(&generator, n));
            let expected: Vec<ArrayRef> =
                all.iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(column, _)| column.clone()).collect();
            assert_eq!(bids.finish().expect("valid columns"), expected);
        }
    }

    #[test]
    fn counts_before_an_event_are_counts() {
        for kind in [Kind::Person, Kind::Auction, Kind::Bid] {
            let mut count = 0;
            for n in 0..300 {
                assert_eq!(Generator::before(kind, n), count, "{kind:?} before {n}");
                count += u64::from(Generator::kind(n) == kind);
            }
        }
    }

    #[test]
    fn disorder_stays_within_what_is_promised() {
        for (group, rate) in [(1, 10_000), (7, 10_000), (100, 333), (1000, 1_000_000)] {
            let generator = Generator::new(0, rate, group);
            let mut greatest = i64::MIN;
            let mut seen = vec![false; 3 * group];
            for place in 0..3 * group as u64 {
                let n = generator.event_at(place);
                assert!(!std::mem::replace(&mut seen[n as usize], true), "event {n} comes twice");
                let time = generator.time_us(n);
                assert!(time + generator.disorder_us() >= greatest, "group {group} rate {rate} place {place}");
                greatest = greatest.max(time);
            }
        }
    }
}

//! Columns of the Nexmark tables, under the names and types that Flink's benchmark gives them. Times are in microseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Which table the source presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One row per event: `event_type` and one nested row for each kind, of which one is not null.
    Combined,
    /// Only new persons: 2 % of the events.
    Person,
    /// Only new auctions: 6 % of the events.
    Auction,
    /// Only bids: 92 % of the events.
    Bid,
}

impl Shape {
    /// The shape of a word; validated text is one of them.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "combined" => Some(Self::Combined),
            "person" => Some(Self::Person),
            "auction" => Some(Self::Auction),
            "bid" => Some(Self::Bid),
            _ => None,
        }
    }

    /// The columns.
    pub fn schema(self) -> SchemaRef {
        Arc::new(match self {
            Self::Person => Schema::new(person()),
            Self::Auction => Schema::new(auction()),
            Self::Bid => Schema::new(bid()),
            Self::Combined => Schema::new(vec![
                Field::new("event_type", DataType::Int32, true),
                Field::new("person", DataType::Struct(person()), true),
                Field::new("auction", DataType::Struct(auction()), true),
                Field::new("bid", DataType::Struct(bid()), true),
                Field::new("dateTime", time(), true),
            ]),
        })
    }
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn fields(columns: &[(&str, DataType)]) -> Fields {
    columns.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect()
}

pub(super) fn person() -> Fields {
    use DataType::{Int64, Utf8};
    fields(&[
        ("id", Int64),
        ("name", Utf8),
        ("emailAddress", Utf8),
        ("creditCard", Utf8),
        ("city", Utf8),
        ("state", Utf8),
        ("dateTime", time()),
        ("extra", Utf8),
    ])
}

pub(super) fn auction() -> Fields {
    use DataType::{Int64, Utf8};
    fields(&[
        ("id", Int64),
        ("itemName", Utf8),
        ("description", Utf8),
        ("initialBid", Int64),
        ("reserve", Int64),
        ("dateTime", time()),
        ("expires", time()),
        ("seller", Int64),
        ("category", Int64),
        ("extra", Utf8),
    ])
}

pub(super) fn bid() -> Fields {
    use DataType::{Int64, Utf8};
    fields(&[
        ("auction", Int64),
        ("bidder", Int64),
        ("price", Int64),
        ("channel", Utf8),
        ("url", Utf8),
        ("dateTime", time()),
        ("extra", Utf8),
    ])
}

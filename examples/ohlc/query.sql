-- Candles of one minute from trades that come out of order, and candles of five minutes from those of one.
CREATE SOURCE trades (
    trade_id   BIGINT,
    symbol     VARCHAR,
    price      DECIMAL(10, 2),
    volume     BIGINT,
    trade_time TIMESTAMP(3),
    WATERMARK FOR trade_time AS trade_time - INTERVAL '10' SECOND
) WITH (
    connector = 'file',
    path = 'examples/ohlc/trades.csv',
    format = 'csv'
);

-- Which trade is the first is told by its time, not by when it came: arg_min, not first_value.
CREATE VIEW minutes AS
SELECT symbol,
       window_time                AS minute,
       arg_min(price, trade_time) AS open,
       max(price)                 AS high,
       min(price)                 AS low,
       arg_max(price, trade_time) AS close,
       sum(volume)                AS volume,
       count(*)                   AS trade_count,
       min(trade_time)            AS first_trade_time,
       max(trade_time)            AS last_trade_time
FROM trades
WINDOW TUMBLING(1m)
GROUP BY symbol;

-- A window over windows: each minute counts at its last instant.
SELECT window_start,
       symbol,
       arg_min(open, minute)  AS open,
       max(high)              AS high,
       min(low)               AS low,
       arg_max(close, minute) AS close,
       sum(volume)            AS volume,
       sum(trade_count)       AS trade_count,
       count(*)               AS minutes,
       min(first_trade_time)  AS first_trade_time,
       max(last_trade_time)   AS last_trade_time
FROM minutes
WINDOW TUMBLING(5m, minute)
GROUP BY symbol
EMIT FINAL;

-- The candles of examples/trades, from one topic into another.
CREATE SOURCE trades (
    trade_id   BIGINT,
    symbol     VARCHAR,
    price      DECIMAL(10, 2),
    volume     BIGINT,
    trade_time TIMESTAMP(3),
    WATERMARK FOR trade_time AS trade_time - INTERVAL '5' SECOND
) WITH (
    connector = 'kafka',
    brokers = '${BROKERS:-localhost:9092}',
    topic = 'trades',
    group = 'candles',
    watermark.idle-timeout = '5s'
) ON ERROR SKIP;

CREATE SINK candles WITH (
    connector = 'kafka',
    brokers = '${BROKERS:-localhost:9092}',
    topic = 'candles',
    key.fields = 'symbol',
    key.format = 'json'
) AS
SELECT window_start,
       symbol,
       arg_min(price, trade_time) AS open,
       max(price)                 AS high,
       min(price)                 AS low,
       arg_max(price, trade_time) AS close,
       sum(volume)                AS volume,
       count(*)                   AS trades
FROM trades
WINDOW TUMBLING(5m)
GROUP BY symbol
EMIT FINAL;

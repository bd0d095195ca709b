-- Open, high, low, close and volume of each symbol, every five minutes.
CREATE SOURCE trades (
    trade_id   BIGINT,
    symbol     VARCHAR,
    price      DECIMAL(10, 2),
    volume     BIGINT,
    trade_time TIMESTAMP(3),
    WATERMARK FOR trade_time AS trade_time - INTERVAL '5' SECOND
) WITH (
    connector = 'file',
    path = 'examples/trades/trades.ndjson',
    format = 'json'
) ON ERROR SKIP;

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

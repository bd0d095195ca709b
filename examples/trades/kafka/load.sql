-- Puts the trades of the file into a topic, as a feed would.
CREATE SOURCE file (
    trade_id   BIGINT,
    symbol     VARCHAR,
    price      DECIMAL(10, 2),
    volume     BIGINT,
    trade_time TIMESTAMP(3)
) WITH (
    connector = 'file',
    path = 'examples/trades/trades.ndjson',
    format = 'json'
) ON ERROR SKIP;

CREATE SINK trades WITH (
    connector = 'kafka',
    brokers = '${BROKERS:-localhost:9092}',
    topic = 'trades',
    key.fields = 'symbol',
    key.format = 'raw',
    timestamp.field = 'trade_time'
) AS
SELECT trade_id, symbol, price, volume, trade_time FROM file;

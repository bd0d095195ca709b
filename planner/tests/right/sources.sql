-- Columns of every kind, options in both spellings.
CREATE SOURCE trades (
  symbol VARCHAR NOT NULL,
  price DECIMAL(18, 4),
  qty BIGINT,
  trade_time TIMESTAMP(3),
  "Mixed Case" INT COMMENT 'a comment',
  value AS price * CAST(qty AS DECIMAL(18, 4)),
  recent AS trade_time > now() - 5m COMMENT 'computed',
  part INT METADATA FROM 'partition' VIRTUAL,
  ts TIMESTAMP_LTZ(3) NOT NULL METADATA,
  PRIMARY KEY (symbol, trade_time) NOT ENFORCED,
  WATERMARK FOR trade_time AS trade_time - INTERVAL '5' SECOND
) WITH (connector = 'file', path = '${DIR}/trades.ndjson', format = ndjson, 'follow' = true, scan.rate = 1.5, tick = 10ms, idle = 1h 30m,
  wait = INTERVAL '2' MINUTE, brokers = '${BROKERS:-localhost:9092}', empty = '${EMPTY:-none}', plain = '$${DIR}', bare = ${DIR}, rows-per-second = -5)
ON ERROR DEAD_LETTER '${DIR}/dead.ndjson';

CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY NOT ENFORCED, a ARRAY<INT>, b MAP<VARCHAR, ARRAY<ROW<x INT NOT NULL, y STRING>>>, c ROW(p DOUBLE, q INT ARRAY),
  d STRUCT<k: TINYINT UNSIGNED>, e BYTES, f DATE, g TIME(6), h TIMESTAMP WITH TIME ZONE, i BOOLEAN, j INT[], k DOUBLE PRECISION, l DECIMAL, m DECIMAL(5), n VARCHAR(20),
  WATERMARK FOR h AS h) ON ERROR SKIP WITH ('connector' = 'filesystem', 'path' = 'x',);

CREATE SOURCE inferred WITH (connector = datagen, rows = 100);
CREATE SOURCE w1 (ts TIMESTAMP, WATERMARK FOR ts WITH BOUNDED_OUT_OF_ORDERNESS(10s)) WITH (connector = 'x');
CREATE SOURCE w2 (ts TIMESTAMP, WATERMARK FOR ts WITH ASCENDING_TIMESTAMPS) WITH (connector = 'x');
CREATE SOURCE w3 (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '0.001' SECOND) WITH (connector = 'x');
CREATE SOURCE w4 (ts TIMESTAMP, WATERMARK FOR ts AS (ts - 2m)) WITH (connector = 'x');
CREATE SOURCE w5 (ts TIMESTAMP) TIMESTAMP BY ts WITH (connector = 'x');
CREATE SOURCE w6 (ts TIMESTAMP) WITH (connector = 'x') TIMESTAMP BY ts WITH BOUNDED_OUT_OF_ORDERNESS(5 seconds) ON ERROR FAIL;
CREATE SOURCE w7 (a INT) WITH (connector = 'x') ON ERROR SKIP LIMIT 100 ROWS, 0.5 PERCENT OF 200 ROWS;
CREATE SOURCE w9 (a INT) WITH (connector = 'x') ON ERROR SKIP LIMIT 100 ROWS WITHIN 1m, 0.5 PERCENT WITHIN INTERVAL '1' HOUR, 9 ROWS;
CREATE SOURCE w8 (a INT) WITH (connector = 'x') ON ERROR DEAD_LETTER 'bad' LIMIT 5 PERCENT;

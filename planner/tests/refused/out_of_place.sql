CREATE SOURCE a (id BIGINT, x BIGINT, d DATE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (connector = 'stream');
CREATE SOURCE b (id BIGINT, y BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE VIEW c AS SELECT id, ts, y FROM (SELECT id, ts, y, row_number() OVER (PARTITION BY id ORDER BY ts) AS n FROM b) WHERE n <= 1;
CREATE SOURCE e (id BIGINT, y BIGINT) WITH (connector = 'file', path = 'e.ndjson');
----
CREATE SOURCE f (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream', 'scan.watermark.idle-timeout' = '-5s');
----
SELECT count(*) FROM (SELECT ts, 1 AS window_start FROM a) AS t WINDOW TUMBLING(5m) ON EVENT_TIME(ts);
----
SELECT id, x + 1 FROM a GROUP BY id;
----
SELECT a.x, b.y FROM a ASOF JOIN b MATCH_CONDITION (a.ts >= a.ts) ON a.id = b.id;
----
SELECT * FROM LATE(SELECT id, date_trunc('day', window_start) AS day, count(*) FROM a WINDOW SESSION(5m) ON EVENT_TIME(ts) GROUP BY id, day) AS l;
----
SELECT * FROM LATE(SELECT id, count(*) FROM c WINDOW SESSION(5m) ON EVENT_TIME(ts) GROUP BY id) AS l;
----
SELECT id, count(*) FROM c WINDOW SESSION(5m) ON EVENT_TIME(ts) LATE_DATA_STRATEGY DEAD_LETTER_QUEUE GROUP BY id;
----
SELECT id, sum(y) OVER (PARTITION BY id ORDER BY y ROWS 1.5 PRECEDING) FROM e;
----
SELECT id, sum(y) OVER (ORDER BY y, id RANGE 5 PRECEDING) FROM e;
----
SELECT id FROM e ORDER BY id LIMIT 1 + (SELECT 1);
----
SELECT id FROM e ORDER BY id LIMIT y;
----
EXPLAIN LOGICAL CREATE SOURCE z (x INT) WITH (connector = 'stream');
----
SELECT id FROM e ORDER BY id FETCH FIRST 3 ROWS WITH TIES;
----
SELECT TOP 3 id FROM e;
----
SELECT * RENAME (y AS z) FROM e;
----
SELECT listagg(id, ',') WITHIN GROUP (ORDER BY id) FROM e;
----
SELECT id FROM e WHERE row_number() OVER (ORDER BY id) = 1;
----
SELECT id FROM e LIMIT -1;
----
SELECT ? FROM e WHERE id = $1;
----
SELECT id INTO z FROM e;
----
SELECT * FROM generate_series(1, 10) AS g (n);
----
SELECT * FROM e MATCH_RECOGNIZE (ORDER BY id MEASURES A.y AS y PATTERN (A) DEFINE A AS y > 1);
----
SELECT * FROM e TABLESAMPLE BERNOULLI (10);

CREATE SOURCE t (k VARCHAR, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE SOURCE u (k VARCHAR, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE VIEW counts AS SELECT k, count(*) AS n FROM t GROUP BY k EMIT CHANGES;
CREATE VIEW tens AS SELECT k, count(*) AS n FROM t WINDOW TUMBLING(10 ROWS) GROUP BY k;
----
SELECT n, count(*) FROM counts WINDOW TUMBLING(10 ROWS) GROUP BY n;
----
SELECT t.k, sum(w) AS total FROM t JOIN u ON t.k = u.k AND t.ts BETWEEN u.ts - INTERVAL '1' MINUTE AND u.ts WINDOW TUMBLING(10 ROWS) GROUP BY t.k;
----
SELECT k, sum(n) AS total FROM tens WINDOW TUMBLING(10 ROWS) GROUP BY k;
----
SELECT k, count(*) AS n, _revision FROM t WINDOW TUMBLING(10 ROWS) GROUP BY k;
----
SELECT * FROM LATE(tens);
----
SELECT k, window_start + 1 AS s, count(*) AS n FROM t WINDOW TUMBLING(10 ROWS) GROUP BY k, window_start + 1, window_end;
----
SELECT k, count(*) AS n FROM t WINDOW TUMBLING(10 ROWS) GROUP BY k OPTIONS ('state.max_rows_per_group' = '100');
----
SELECT k, count(*) AS n FROM t WINDOW TUMBLING(10 ROWS) GROUP BY k OPTIONS ('state.max_bytes' = '1000000', 'state.at_limit' = 'lru');
----
SELECT k, count(*) AS n FROM t WINDOW TUMBLING(10 ROWS) GROUP BY k OPTIONS ('state.ttl' = '1h', 'state.evicted' = 'forget');

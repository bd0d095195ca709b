CREATE SOURCE t (ts TIMESTAMP(3), k STRING, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (connector = 'stream');
CREATE SOURCE plain (k STRING, v BIGINT) WITH (connector = 'stream');
CREATE VIEW totals AS SELECT k, sum(v) AS total FROM t GROUP BY k;
----
SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.tll' = '1h', 'state.max_groups' = 0, 'workers' = 4);
----
SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.ttl' = 'soon', 'state.at_limit' = 'lur');
----
SELECT k, v FROM t OPTIONS ('state.ttl' = '1h');
----
SELECT count(*) FROM t OPTIONS ('state.max_groups' = 10);
----
SELECT k FROM (SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.ttl' = '1h'));
----
SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.ttl' = '1h') OPTIONS ('state.max_groups' = 10);
----
SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.ttl' = '1h', 'state.ttl' = '2h');
----
SELECT total, count(*) FROM totals GROUP BY total OPTIONS ('state.max_groups' = 10, 'state.at_limit' = 'lru');
----
SELECT k, window_end, sum(v) FROM t WINDOW TUMBLING(5m) GROUP BY k OPTIONS ('state.ttl' = '1h', 'state.evicted' = 'forget');
----
SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.max_rows_per_group' = 10, 'state.at_limit' = 'refuse');
----
SELECT k, sum(v) FROM plain GROUP BY k OPTIONS ('state.ttl' = '1h', 'state.time' = 'event');
----
SELECT k, sum(v) FROM t WINDOW SESSION(5m) GROUP BY k OPTIONS ('state.max_groups' = 10, 'state.at_limit' = 'lru', 'state.evicted' = 'forget');
----
SELECT k, array_agg(v) FROM t GROUP BY k OPTIONS ('state.ttl' = '1h');
----
SELECT t.k, p.v FROM t JOIN plain AS p ON t.k = p.k OPTIONS ('state.ttl' = '1h', 'state.time' = 'event');
----
SELECT t.k, p.v FROM t JOIN plain AS p ON t.k = p.k OPTIONS ('state.ttl' = '1h', 'state.evicted' = 'seal');
----
SELECT t.k, p.total FROM (SELECT k, count(*) AS n FROM t GROUP BY k HAVING count(*) > 1) AS t JOIN (SELECT k, min(v) OVER (PARTITION BY k ORDER BY v) AS total FROM plain) AS p ON t.k = p.k OPTIONS ('state.ttl' = '1h');
----
SELECT k, sum(v) OVER (PARTITION BY k ORDER BY v) FROM t OPTIONS ('state.ttl' = '1h', 'state.evicted' = 'forget');
----
SELECT k, v FROM t INTERSECT SELECT k, v FROM plain OPTIONS ('state.ttl' = '1h', 'state.time' = 'event');
----
SELECT t.k, p.v FROM t JOIN plain AS p ON t.k = p.k OPTIONS ('state.max_bytes' = 1000000, 'state.at_limit' = 'lru');
----
SELECT k, window_end, sum(v) FROM t WINDOW TUMBLING(5m) TRIGGER EVERY 2 RECORDS FIRE AND PURGE GROUP BY k OPTIONS ('state.ttl' = '1h', 'state.evicted' = 'retract');
----
SELECT /*+ STATE_TTL('t' = '1h', 'q' = '2h') */ t.k, p.v FROM t JOIN plain AS p ON t.k = p.k;
----
SELECT /*+ STATE_TTL('t' = 'soon') */ k, sum(v) FROM t GROUP BY k;
----
SELECT /*+ STATE_TTL('t' = '1h', 't' = '2h') */ k, sum(v) FROM t GROUP BY k;
----
SELECT /*+ STATE_TTL('t') */ k, sum(v) FROM t GROUP BY k;
----
SELECT /*+ STATE_TTL('t' = '1h') */ t.k, p.v FROM t JOIN plain AS p ON t.k = p.k;
----
SELECT /*+ STATE_TTL('t' = '1h', 'q' = '2h') */ k, sum(v) FROM t GROUP BY k;

CREATE SOURCE t (ts TIMESTAMP(3), k STRING, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (connector = 'stream');
CREATE SOURCE plain (ts TIMESTAMP(3), k STRING, v BIGINT) WITH (connector = 'stream');
----
EXPLAIN SELECT k, sum(v) FROM t GROUP BY k OPTIONS ('state.ttl' = '1h', 'state.max_groups' = 1000, 'state.at_limit' = 'lru', 'state.evicted' = 'seal');
----
SET 'table.exec.state.ttl' = '1 h';
EXPLAIN SELECT k, count(*) AS n FROM (SELECT DISTINCT k, v FROM t) GROUP BY k;
----
EXPLAIN SELECT k, array_agg(v) AS list FROM plain GROUP BY k OPTIONS ('state.max_bytes' = 1000000, 'state.at_limit' = 'largest');
----
EXPLAIN SELECT k, window_end, sum(v) AS total FROM plain WINDOW TUMBLING(5m) ON EVENT_TIME(ts) GROUP BY k EMIT CHANGES OPTIONS ('state.max_age' = '1h');
----
EXPLAIN SELECT k, window_end, sum(v) AS total FROM t WINDOW TUMBLING(5m) GROUP BY k
OPTIONS ('state.max_windows_per_key' = 10, 'state.at_limit' = 'refuse', 'state.ttl' = '1d', 'state.time' = 'event');
----
EXPLAIN SELECT t.k, t.v, p.v AS w FROM t JOIN plain AS p ON t.k = p.k OPTIONS ('state.ttl' = '1h');
----
EXPLAIN SELECT t.k, t.v, p.v AS w FROM t LEFT JOIN plain AS p ON t.k = p.k WHERE t.v > 1 OPTIONS ('state.ttl' = '1d 1h');
----
EXPLAIN SELECT k, v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM plain) WHERE n <= 2 OPTIONS ('state.ttl' = '10m');
----
EXPLAIN SELECT k, v FROM t EXCEPT SELECT k, v FROM plain OPTIONS ('state.ttl' = '10m');
----
EXPLAIN SELECT t.k, p.v FROM t JOIN plain AS p ON t.k = p.k OPTIONS ('state.max_bytes' = 1000000);
----
EXPLAIN SELECT k, sum(v) OVER (PARTITION BY k ORDER BY v) AS total FROM plain OPTIONS ('state.max_bytes' = 1000000);
----
EXPLAIN SELECT k, window_end, sum(v) AS total FROM t WINDOW TUMBLING(5m) TRIGGER EVERY 2 RECORDS FIRE AND PURGE GROUP BY k
OPTIONS ('state.max_windows_per_key' = 10, 'state.at_limit' = 'lfu', 'state.ttl' = '1d');
----
EXPLAIN SELECT k, window_start, sum(v) AS total FROM t WINDOW SESSION(5m) GROUP BY k OPTIONS ('state.max_groups' = 10, 'state.at_limit' = 'lru', 'state.evicted' = 'seal');
----
EXPLAIN SELECT /*+ STATE_TTL('t' = '1h', 'p' = '2h') */ t.k, t.v, p.v AS w FROM t JOIN plain AS p ON t.k = p.k;
----
EXPLAIN SELECT /*+ STATE_TTL('p' = '2h') */ DISTINCT t.k, p.v AS w FROM t JOIN plain AS p ON t.k = p.k OPTIONS ('state.ttl' = '1h', 'state.evicted' = 'forget');
----
EXPLAIN SELECT /*+ BROADCAST(t) */ /*+ state_ttl('t' = '1d') */ k, sum(v) AS total FROM t GROUP BY k;
----
EXPLAIN SELECT k, sum(v) AS total FROM t GROUP BY k OPTIONS ('state.ttl.t' = '1d');

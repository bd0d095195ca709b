CREATE SOURCE a (id BIGINT, x BIGINT) WITH (connector = 'file', path = 'a.ndjson') ON ERROR SKIP;
CREATE SOURCE s (id BIGINT, x BIGINT) WITH (connector = 'stream', topic = 's') ON ERROR DEAD_LETTER 'bad' LIMIT 5 PERCENT, 100 ROWS WITHIN 1m;
CREATE VIEW v AS SELECT id, 10 / x AS y FROM a;
----
SELECT * FROM ERRORS(a);
----
SELECT reason FROM ERRORS(v) WHERE stage = 'evaluate';
----
SELECT count(*) FROM ERRORS((SELECT id, sum(x) FROM s GROUP BY id));
----
SELECT TUMBLE_START(at, INTERVAL '1' MINUTE), count(*) FROM ERRORS(s) GROUP BY TUMBLE(at, INTERVAL '1' MINUTE);

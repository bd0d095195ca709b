CREATE VIEW nothing AS SELECT 1 AS one FROM 'trades.ndjson';
----
CREATE SOURCE s (a INT) WITH (pat = 'x');
----
CREATE SOURCE s (a INT) WITH (connector = 'fil', path = 'x');
----
CREATE SOURCE s (a INT) WITH (connector = 'file', pth = 'x', follow = 'maybe', format = 'xml');
----
CREATE SOURCE s (a INT) WITH (connector = 'blackhole');
----
CREATE SINK s WITH (connector = 'stream') AS SELECT * FROM nothing;
----
CREATE SOURCE s (a INT, a STRING, b AS c + 1, PRIMARY KEY (d) NOT ENFORCED) WITH (connector = 'stream');
----
CREATE SOURCE s (a BIGINT, WATERMARK FOR a AS a) WITH (connector = 'stream');
----
CREATE SOURCE s (a BIGINT, WATERMARK FOR b AS b) WITH (connector = 'stream');
----
CREATE SOURCE s (a BIGINT, o BIGINT METADATA FROM 'offst') WITH (connector = 'stream');
----
CREATE SOURCE s (a STRING, b AS sum(a), c AS a * 2) WITH (connector = 'stream');
----
CREATE SOURCE s (a INT) WITH (connector = 'file', path = 'missing.ndjson');
----
CREATE SOURCE s WITH (connector = 'stream');
----
SET worker = 3;
----
SET workers = 'many';
----
CREATE SOURCE s (a INT) WITH (connector = 'stream', topic = 's');
SELECT * FROM ERRORS((SELECT a + 1 FROM s));
----
CREATE SOURCE sized (a INT, name STRING) WITH (connector = 'stream', 'statistics.rows' = 'many');
SELECT a FROM sized;
----
CREATE SOURCE sized (a INT, name STRING) WITH (connector = 'stream', 'statistics.rows' = '-1', 'statistics.distinct.name' = '7');
SELECT a FROM sized;
----
CREATE SOURCE sized (a INT, name STRING) WITH (connector = 'stream', 'statistics.rows' = '10', 'statistics.distinct.nam' = '7');
SELECT a FROM sized;

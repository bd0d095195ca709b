CREATE SOURCE a (x BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE SOURCE b (x BIGINT, y BIGINT) WITH (connector = 'stream');
----
SELECT a.x FROM a JOIN b ON a.x = b.x;
----
SELECT a.x FROM a, b WHERE a.x = b.x;
----
SELECT x FROM a WHERE x IN (SELECT x FROM b);
----
SELECT x, row_number() OVER (PARTITION BY x ORDER BY ts) FROM a;
----
SELECT x FROM a INTERSECT SELECT x FROM b;
----
SELECT corr(x, y) FROM b;

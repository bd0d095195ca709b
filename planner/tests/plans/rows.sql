CREATE SOURCE a (k BIGINT NOT NULL, x BIGINT NOT NULL, s VARCHAR) WITH (connector = 'file', path = 'a.ndjson');
CREATE SOURCE b (k BIGINT NOT NULL, y BIGINT, s VARCHAR) WITH (connector = 'file', path = 'b.ndjson');
----
SELECT s FROM a WHERE (k, x) IN (SELECT k, y FROM b);
----
SELECT s FROM a WHERE (k, x) NOT IN (SELECT k, k FROM b);
----
SELECT s FROM a WHERE (k, x) NOT IN (SELECT k, y FROM b);
----
SELECT s FROM a WHERE (k, x) IN ((1, 2), (3, 4));
----
SELECT * FROM a NATURAL RIGHT JOIN b;
----
SELECT k, s, x, y FROM a NATURAL FULL JOIN b;
----
SELECT K AS "K", S FROM a;
----
SELECT * FROM b PIVOT (sum(y) FOR s IN ('one', 'two' AS second)) AS p;
----
SELECT * FROM a UNPIVOT (v FOR name IN (k, x));
----
SELECT k, row_number() OVER (ORDER BY x) AS n, rank() OVER (ORDER BY x) AS r, ntile(4) OVER (ORDER BY x) AS q FROM a;
----
SELECT approx_distinct(k) AS n, count(*) AS c FROM a;

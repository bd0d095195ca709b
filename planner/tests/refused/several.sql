CREATE SOURCE t (k VARCHAR, v BIGINT) WITH (connector = 'file', path = 't.ndjson');
----
SELECT k FROM t WHERE v >;
SELECT kk FROM t;
CREATE VIEW w AS SELECT v FRM t;
SELECT v FROM w;
----
SELECT summ(vv), k FROM t GROUP BY k;
----
SELECT frobnicate(k), kk FROM t;

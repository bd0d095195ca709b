CREATE SOURCE trades (symbol STRING, price DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE SINK out (symbol STRING, price DOUBLE) WITH (connector = 'file', path = 'o');
----
SELECT pric, symbl, price FROM trades WHERE prce > 3;
----
SELECT symbol FROM trade;
----
SELECT t.symbol, u.price FROM trades t;
----
SELECT sqaure(price), uper(symbol) FROM trades;
----
SELECT symbol, count(*) FROM trades;
----
SELECT symbol, price, max(ts) FROM trades GROUP BY symbol;
----
SELECT * FROM out;
----
INSERT INTO trades SELECT * FROM trades;
----
INSERT INTO nowhere SELECT * FROM trades;
----
INSERT INTO out (symbol, pric) SELECT symbol, price FROM trades;
----
SELECT * FROM 'missing.ndjson';
----
SELECT * FROM 'trades.xml';
----
CREATE VIEW trades AS SELECT 1 FROM trades;
----
CREATE VIEW v (a, b) AS SELECT symbol FROM trades;
----
SELECT symbol FROM broken; CREATE VIEW broken AS SELECT nothing FROM trades; SELECT * FROM broken;

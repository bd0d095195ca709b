CREATE TABLE orders (id BIGINT NOT NULL, Price DECIMAL(10, 2), at BIGINT, ts AS to_timestamp_millis(at), part INT METADATA FROM 'partition',
  PRIMARY KEY (id) NOT ENFORCED, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)
  WITH ('connector' = 'filesystem', 'path' = 'orders.ndjson', 'follow' = 'true');
CREATE SINK out (id BIGINT, total DECIMAL(20, 2), note STRING) WITH (connector = 'file', path = 'out.ndjson');
CREATE SOURCE bid WITH (connector = 'nexmark', events = 1000);
----
SHOW TABLES; DESCRIBE orders; DESCRIBE bid; DESCRIBE out; SHOW CREATE SINK out;
SET workers = 4; SHOW workers; SHOW SETTINGS;
----
INSERT INTO out SELECT id, price, 'x' FROM orders;
----
INSERT INTO out (total, id) SELECT sum(price), id FROM orders GROUP BY id;
----
CREATE SINK other WITH (connector = 'blackhole') AS SELECT id, ts FROM orders WHERE part = 0;
SELECT id, ts FROM orders WHERE part = 0;
----
EXPLAIN SELECT auction, channel FROM bid WHERE price > 5;
EXPLAIN LOGICAL SELECT auction, channel FROM bid WHERE price > 5;
EXPLAIN OPTIMIZED SELECT auction, channel FROM bid WHERE price > 5;
EXPLAIN (FORMAT JSON) SELECT auction FROM bid WHERE price > 5;
----
SELECT auction, count(*) AS n FROM bid WINDOW TUMBLING(10s) GROUP BY auction;
----
SELECT datetime, DATETIME + INTERVAL '1' SECOND AS later FROM bid;
----
SET emit = 'changes';
SELECT auction, count(*) AS n FROM bid WINDOW TUMBLING(10s) GROUP BY auction;
----
EXPLAIN CREATE SINK other WITH (connector = 'blackhole') AS SELECT auction, md5(url) AS h FROM bid;
CREATE SINK other WITH (connector = 'blackhole') AS SELECT auction FROM bid;
----
CREATE SINK later WITH (connector = 'blackhole');
INSERT INTO later SELECT auction FROM bid;
INSERT INTO later SELECT bidder FROM bid;

CREATE SOURCE sale (shop VARCHAR, season VARCHAR, amount BIGINT) WITH (connector = 'file', path = 'sale.ndjson');
----
SELECT * FROM sale PIVOT (sum(amount) FOR season IN (ANY));
----
SELECT * FROM sale PIVOT (sum(amount) + 1 FOR season IN ('spring'));
----
SELECT * FROM sale PIVOT (sum(amounts) FOR season IN ('spring'));

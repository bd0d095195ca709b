SELECT 1;
SELECT * FROM trades WHERE symbol = 'AAPL
AND price > 1;

-- The highest bid of every ten seconds, and who made it: Nexmark's query 7, over generated auctions.
CREATE SOURCE bid WITH (
    connector = 'nexmark',
    shape = 'bid',
    events = 400000
);

SELECT window_start,
       max(price)              AS price,
       arg_max(auction, price) AS auction,
       arg_max(bidder, price)  AS bidder,
       count(*)                AS bids
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '10' SECOND))
GROUP BY window_start, window_end
EMIT FINAL;

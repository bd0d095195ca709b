-- q20: bids with their auction, of one category
CREATE TABLE nexmark_q20 (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, bid_dateTime TIMESTAMP(3), itemName VARCHAR, reserve BIGINT, seller BIGINT,
  category BIGINT
) WITH ('connector' = 'blackhole');

INSERT INTO nexmark_q20
SELECT B.auction, B.bidder, B.price, B.channel, B.dateTime, A.itemName, A.reserve, A.seller, A.category
FROM bid AS B INNER JOIN auction AS A ON B.auction = A.id
WHERE A.category = 10;

-- Claims, one or many: $1 is a JSON list of [partition, epoch seen, node, incarnation, claim,
-- forced], node and claim in hex; $2 is the present time. The transaction holds the file's write
-- lock, so that each claim is a compare-and-set (P1). PostgreSQL's claim.sql explains the columns
-- that a claim sets; counts of flaps halve every $3 microseconds.
UPDATE partitions
   SET epoch = epoch + 1, owner = a.node, owner_incarnation = a.incarnation, claim = a.claim,
       released_to = NULL,
       flaps = CASE WHEN a.forced AND owner IS NOT NULL
                    THEN (flaps >> min(max($2 - flapped_at, 0) / $3, 62)) + 1
                    ELSE flaps END,
       flapped_at = CASE WHEN a.forced AND owner IS NOT NULL THEN $2 ELSE flapped_at END
  FROM (SELECT value ->> 0 AS id, value ->> 1 AS seen, CAST(unhex(value ->> 2) AS TEXT) AS node,
               value ->> 3 AS incarnation, unhex(value ->> 4) AS claim, value ->> 5 AS forced
          FROM json_each($1)) AS a
 WHERE partitions.id = a.id AND epoch = a.seen

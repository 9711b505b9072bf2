-- Publishes the checkpoint of partition $1 at segment $4 with hash $5, parts $6 (names, one a
-- line) and summary $7, under epoch $2 and claim $3 (P22).
--
-- The partition's row holds the segment of the newest checkpoint, so that the fence and the order
-- of checkpoints are checked under one lock. The segment must have been appended and have this hash
-- (P18), and every part must have been written.
WITH fence AS (
    UPDATE partitions
       SET checkpoint_segment = $4
     WHERE id = $1 AND epoch = $2 AND claim = $3
       AND checkpoint_segment < $4 AND next_segment > $4
       AND NOT EXISTS (SELECT 1 FROM segments
                        WHERE partition = $1 AND segment = $4 AND hash <> $5)
       AND NOT EXISTS (SELECT 1 FROM unnest(string_to_array($6, E'\n')) AS named (part)
                        WHERE NOT EXISTS (SELECT 1 FROM checkpoint_parts
                                           WHERE partition = $1 AND name = named.part))
    RETURNING 1
)
INSERT INTO checkpoint_manifests (partition, segment, hash, parts, summary)
SELECT $1, $4, $5, $6, $7 FROM fence

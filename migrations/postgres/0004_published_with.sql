-- For each publication, by its catalogue version: the version of the time-zone database with which
-- the publishing process read dates, such as `2026e`. It is not a column of catalogue, because
-- every listing reads it, and a listing reads no body. A version that an older process published
-- has no row.
CREATE TABLE published_with (
    catalogue_version BIGINT PRIMARY KEY REFERENCES catalogue (catalogue_version),
    tz_database       TEXT COLLATE "C" NOT NULL
);

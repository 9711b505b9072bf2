-- The version of the time-zone database with which the publishing process read dates, such as
-- `2026e`, by the catalogue version that the publication made. A row of its own, not a column of
-- catalogue: it is read with every listing, which reads no body. A version that an older process
-- published has no row.
CREATE TABLE published_with (
    catalogue_version BIGINT PRIMARY KEY REFERENCES catalogue (catalogue_version),
    tz_database       TEXT COLLATE "C" NOT NULL
);

-- With which time-zone database a version was published. Tables and columns are those of
-- PostgreSQL's schema, and what they mean is said there.
CREATE TABLE published_with (
    catalogue_version INTEGER PRIMARY KEY REFERENCES catalogue (catalogue_version),
    tz_database       TEXT NOT NULL
) STRICT;

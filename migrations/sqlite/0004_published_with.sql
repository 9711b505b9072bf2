-- The time-zone database with which a version was published. Tables and columns are those of the
-- PostgreSQL schema, which explains them.
CREATE TABLE published_with (
    catalogue_version INTEGER PRIMARY KEY REFERENCES catalogue (catalogue_version),
    tz_database       TEXT NOT NULL
) STRICT;

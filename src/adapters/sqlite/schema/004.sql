-- What operators need over the years.

-- Statistics: numbers that are added to as things happen. What a measure is, the code knows. A webhook's
-- row stays for as long as it has some.
CREATE TABLE tidings_statistic (
    webhook INTEGER NOT NULL,
    hour INTEGER NOT NULL,              -- since 1970
    measure INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (webhook, hour, measure)
) WITHOUT ROWID;
CREATE INDEX tidings_statistic_hour ON tidings_statistic (hour);

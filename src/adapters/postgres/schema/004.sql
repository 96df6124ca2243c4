-- What operators need over the years.

-- Statistics: numbers that are added to as things happen. What a measure is, the code knows. A webhook's
-- row stays for as long as it has some.
CREATE TABLE {s}.statistic (
    webhook bigint NOT NULL,
    hour integer NOT NULL,              -- since 1970
    measure smallint NOT NULL,
    part smallint NOT NULL,             -- so that nodes that send to the same webhook need not wait for each other
    count bigint NOT NULL,
    PRIMARY KEY (webhook, hour, measure, part)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
CREATE INDEX statistic_hour ON {s}.statistic (hour);

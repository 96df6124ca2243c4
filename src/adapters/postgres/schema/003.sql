-- A lane remembers what receivers asked for apart from the pause of a probe that is out.
ALTER TABLE {s}.webhook ADD COLUMN asked_until bigint;

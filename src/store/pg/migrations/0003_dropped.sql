-- On which node the job of a file was dropped that people put there: by its name and this the node knows, after a crash,
-- that it has taken the file over.
alter table record add column dropped_on text;

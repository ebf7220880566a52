-- Whose database it is, and the secret behind the ids and tokens that were given out: one row.
create table tenant (
  one boolean primary key check (one),
  name text not null,
  key bytea not null
);

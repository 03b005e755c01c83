-- +goose Up
alter table contacts add column company text;

-- Searches by the start of an address (like 'name@%') cannot use the plain
-- index unless the database's collation is C.
-- crmctl:allow index-blocks one tenant's contacts take milliseconds, while CONCURRENTLY waits for every other tenant
create index idx_contacts_email_pattern on contacts (email text_pattern_ops);

-- +goose Down
drop index idx_contacts_email_pattern;
alter table contacts drop column company;

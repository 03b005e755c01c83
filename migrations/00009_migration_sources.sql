-- The other programs that migrated tenants before they were adopted, and may go on.

-- +goose Up
create table migration_sources (
    program        text  not null,
    versions_table text  not null,
    files          jsonb not null default '{}',
    exact          boolean not null default false,
    constraint migration_sources_pkey primary key (program, versions_table)
);

comment on table migration_sources is 'Programs other than crmctl that migrated tenants before they were adopted. A run looks whether they have gone on.';
comment on column migration_sources.versions_table is 'The table of each tenant in which the program keeps what it did.';
comment on column migration_sources.files is 'Versions of the files that a migration of the program stands for, by its name.';
comment on column migration_sources.exact is 'Numbers of the program are no versions of files unless files says so.';

insert into migration_sources (program, versions_table)
select 'goose', 'goose_db_version' where exists (
    select from tenant_events where action = 'adopt' and detail->>'from' = 'goose'
);

-- +goose Down
drop table migration_sources;

-- The way back of a deleted tenant, the way of a purge through a large one, and an
-- audit that says more and forgets nothing.

-- +goose Up
alter table tenants add column deleted_from text;
alter table tenants add column purge_started_at timestamptz;
alter table tenants add constraint tenants_deleted_from_known
    check (deleted_from is null or (status = 'deleted' and deleted_from in ('active', 'suspended')));
alter table tenants add constraint tenants_purging_deleted check (purge_started_at is null or status = 'deleted');
alter table tenants add constraint tenants_role_name_key unique (role_name);

comment on column tenants.role_name is 'The tenant''s own role, which may not log in; empty where it has none.';
comment on column tenants.deleted_from is 'The status that undelete brings back.';
comment on column tenants.purge_started_at is 'Tables of the tenant are gone already: there is no way back.';

alter table tenant_events add column seq bigint generated always as identity;
alter table tenant_events add column os_user text;
alter table tenant_events add column host text;
alter table tenant_events add column client_addr inet;
alter table tenant_events alter column client_addr set default inet_client_addr();
alter table tenant_events add column program text;
alter table tenant_events add column run_id bigint;
alter table tenant_events add column before jsonb;
alter table tenant_events add column after jsonb;
alter table tenant_events alter column db_role set default session_user;
update tenant_events set os_user = substring(actor from '^(.*)@'), host = substring(actor from '[^@]*$') where actor like '%@%';

comment on column tenant_events.seq is 'The order of the audit.';
comment on column tenant_events.os_user is 'Who ran the program, as the program says.';
comment on column tenant_events.db_role is 'Who logged in to the database, as the server says.';
comment on column tenant_events.client_addr is 'Where from, as the server sees it; empty for a socket.';
comment on column tenant_events.program is 'The program and its version.';
comment on column tenant_events.before is 'The fields of the registry that changed, as they were.';
comment on column tenant_events.after is 'The same fields, as they are since.';

create unique index idx_tenant_events_seq on tenant_events (seq);
create index idx_tenant_events_slug on tenant_events (slug, seq);
create index idx_migration_run_tenants_tenant on migration_run_tenants (tenant_id);

-- The audit is appended to, never changed. Neither its owner nor a superuser can do
-- so by accident; on purpose they can (alter table ... disable trigger), which is
-- why a copy belongs where they cannot reach.
-- +goose StatementBegin
create function tenant_events_append_only() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'public.tenant_events is append-only: % is refused', tg_op
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'The audit of tenants is never changed. To keep it small, copy old rows away and ask its owner.';
end
$$;
-- +goose StatementEnd
create trigger tenant_events_append_only before update or delete or truncate on tenant_events
    for each statement execute function tenant_events_append_only();
alter table tenant_events enable always trigger tenant_events_append_only;
revoke update, delete, truncate on tenant_events from public;

-- +goose Down
drop trigger tenant_events_append_only on tenant_events;
drop function tenant_events_append_only();
drop index idx_migration_run_tenants_tenant;
drop index idx_tenant_events_slug;
drop index idx_tenant_events_seq;
alter table tenant_events alter column db_role set default current_user;
alter table tenant_events drop column after;
alter table tenant_events drop column before;
alter table tenant_events drop column run_id;
alter table tenant_events drop column program;
alter table tenant_events drop column client_addr;
alter table tenant_events drop column host;
alter table tenant_events drop column os_user;
alter table tenant_events drop column seq;
alter table tenants drop constraint tenants_role_name_key;
alter table tenants drop constraint tenants_purging_deleted;
alter table tenants drop constraint tenants_deleted_from_known;
alter table tenants drop column purge_started_at;
alter table tenants drop column deleted_from;

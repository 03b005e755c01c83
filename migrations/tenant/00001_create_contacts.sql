-- A tenant's tables use what a distributed engine accepts too: uuid keys, no
-- triggers (whoever updates a row sets updated_at), no foreign key out of the
-- schema, names for all constraints.

-- +goose Up
create table contacts (
    id         uuid        not null default gen_random_uuid(),
    email      text,
    phone      text,
    name       text,
    metadata   jsonb       not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint contacts_pkey primary key (id),
    constraint contacts_email_normalised check (email = lower(btrim(email)) and email <> ''),
    constraint contacts_metadata_object check (jsonb_typeof(metadata) = 'object')
);

-- E-mail is the import key: unique where it is present.
create unique index idx_contacts_email on contacts (email);
create index idx_contacts_phone on contacts (phone);
create index idx_contacts_created_at on contacts (created_at desc);
create index idx_contacts_metadata on contacts using gin (metadata);

-- +goose Down
drop table contacts;

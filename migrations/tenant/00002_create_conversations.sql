-- +goose Up
create table conversations (
    id         uuid        not null default gen_random_uuid(),
    contact_id uuid        not null,
    channel    text        not null,
    status     text        not null default 'open',
    subject    text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint conversations_pkey primary key (id),
    constraint conversations_contact_id_fkey foreign key (contact_id) references contacts (id) on delete cascade,
    constraint conversations_status_known check (status in ('open', 'pending', 'closed')),
    constraint conversations_channel_named check (channel <> '')
);

create index idx_conversations_contact_status on conversations (contact_id, status);

-- +goose Down
drop table conversations;

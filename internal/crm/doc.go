// Package crm is the data of one tenant: contacts, conversations, messages. It
// makes sample data; package importer below it loads files of contacts.
//
// The package stands on db and knows nothing of the registry. It never prints.
package crm

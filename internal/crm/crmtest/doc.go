// Package crmtest gives a test a database with one empty tenant of the CRM. It is
// for the tests of crm and of the packages below it.
package crmtest

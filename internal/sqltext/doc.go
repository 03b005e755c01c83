// Package sqltext reads the text of SQL as PostgreSQL's own scanner and psql do: it
// finds tokens, cuts a text into commands and looks for words in it, without a
// server and without a grammar.
//
// It promises to follow src/backend/parser/scan.l (strings in every spelling, dollar
// quotes, nested comments, identifiers) with standard_conforming_strings on, and
// src/fe_utils/psqlscan.l for where a command ends (parentheses, and the bodies of
// SQL-standard functions).
//
// It imports nothing of this project, and every package may import it.
package sqltext

// Package tabular reads lists as they are found in the wild: delimited text in any
// of the usual encodings and dialects, with titles above the header and notes
// below the rows; JSON objects; vCards; workbooks; and any of them compressed.
//
// It promises that nothing is silent. A row it cannot read is handed on with its
// text, its line and the reason; a file it cannot read is an error that names the
// line, and asks where only the user can know. It holds one row at a time, within
// Limits, whatever the file's size.
//
// A new format is a Reader, an open function that sets Format and the header, and a
// line in Open.
//
// It imports nothing of the project.
package tabular

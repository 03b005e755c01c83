// Package tabular reads delimited text files as they are found in the wild: any
// of the usual encodings and delimiters, any line ending, titles above the
// header, quotes that do not close.
//
// It promises that nothing is silent. A row it cannot read is handed on with its
// text, its line and the reason; a file it cannot read is an error that names the
// line. It holds one row at a time, within Limits, whatever the file's size.
//
// It imports nothing of the project.
package tabular

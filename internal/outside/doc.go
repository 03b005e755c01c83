// Package outside finds what a transaction does outside of one schema, by fresh rows of
// the catalogs and by the session's own statistics: what no reading of its statements
// shows.
//
// It promises to name what was made, altered or changed there before the transaction
// ends, and changes nothing. It imports db alone of this project's packages.
package outside

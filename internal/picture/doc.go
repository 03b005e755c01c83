// Package picture makes pictures of what programs show on a terminal: it runs them on a pseudo-terminal, keeps
// the screen that they draw, and renders it as SVG. It also reads such a picture back, so that a test can tell
// whether it still is what the program shows. It is never imported by code that is not a test.
package picture

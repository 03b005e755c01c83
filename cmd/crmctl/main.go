package main

import (
	"context"
	"os"

	"github.com/crmctl/crmctl/internal/cli"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], cli.SystemStreams()))
}

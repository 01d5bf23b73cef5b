// Command etcd is etcd's server, built from its module: the release has no main package that `go install` could name.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }

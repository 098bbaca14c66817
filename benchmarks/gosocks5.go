// A server of the library go-socks5, as small as it can be.
//
//	gosocks5 ADDRESS [USER PASSWORD]
package main

import (
	"log"
	"os"

	"github.com/armon/go-socks5"
)

func main() {
	configuration := &socks5.Config{}
	if len(os.Args) > 3 {
		configuration.Credentials = socks5.StaticCredentials{os.Args[2]: os.Args[3]}
	}
	server, err := socks5.New(configuration)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.ListenAndServe("tcp", os.Args[1]))
}

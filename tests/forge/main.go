// Command gitea is Gitea without its web assets, for tests only: a forge with users, pull requests, reviews and webhooks that
// no package registry ships as a program.
package main

import (
	"os"
	"time"

	"code.gitea.io/gitea/cmd"
	"code.gitea.io/gitea/modules/log"
	"code.gitea.io/gitea/modules/setting"
)

// Version is set by the build.
var Version = "development"

func main() {
	setting.AppVer = Version
	setting.AppStartTime = time.Now().UTC()
	app := cmd.NewMainApp(cmd.AppVersion{Version: Version})
	err := cmd.RunMainApp(app, os.Args...)
	// what is queued for the log would be lost
	log.GetManager().Close()
	if err != nil {
		os.Exit(1)
	}
}

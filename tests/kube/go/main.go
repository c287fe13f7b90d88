// One program with the commands of a test cluster: etcd and the parts of Kubernetes, from ordinary Go modules.
//
// Usage: kube COMMAND [its own arguments]. `make kube` builds it once into the user's cache;
// tests/support/kube starts it. It is for tests: nothing here runs in production.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Constructors, not commands: the API server's installs the process's signal handler when it is called,
// and the handler may be installed only once.
var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kube-proxy":              proxy.NewProxyCommand,
	"check-kind-config":       newCheckKindConfigCommand,
}

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	construct, isKnown := commands[name]
	if !isKnown {
		usage()
	}
	os.Exit(cli.Run(construct()))
}

func usage() {
	names := append(slices.Sorted(maps.Keys(commands)), "etcd")
	fmt.Fprintf(os.Stderr, "usage: kube COMMAND [arguments]; the commands are %s\n", strings.Join(names, ", "))
	os.Exit(2)
}

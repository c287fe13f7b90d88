package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"
)

// kind's own loader is internal to kind. Its types are not, and a strict decoding refuses what they do not have.
func newCheckKindConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check-kind-config FILE...",
		Short: "decode configuration files of kind strictly: a misspelt field is refused",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			for _, file := range files {
				if err := checkKindConfig(file); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func checkKindConfig(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cluster v1alpha4.Cluster
	if err := yaml.UnmarshalStrict(text, &cluster); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if cluster.APIVersion != "kind.x-k8s.io/v1alpha4" || cluster.Kind != "Cluster" {
		return fmt.Errorf("%s: apiVersion and kind are %q and %q, not kind.x-k8s.io/v1alpha4 and Cluster",
			file, cluster.APIVersion, cluster.Kind)
	}
	for i, node := range cluster.Nodes {
		if node.Role != v1alpha4.ControlPlaneRole && node.Role != v1alpha4.WorkerRole {
			return fmt.Errorf("%s: nodes[%d].role is %q, not control-plane or worker", file, i, node.Role)
		}
	}
	return nil
}

// Another team's program in TypeScript, with an Ebbtide stack on a cluster that is there. The keys are those of
// docs/stack-file.md.
import * as ebbtide from "@pulumi/ebbtide";

const llm = new ebbtide.Stack("llm", {
    config: {
        environment: "dev",
        platform: {
            kind: "existing",
            kubeconfig: "~/.kube/config",
            context: "gpu-cluster", // yours
            storageClass: "fast-ssd", // yours
            registry: { address: "registry.example.com/ebbtide" }, // yours
            // yours: a claim with the weights, under <owner>--<name>/model
            modelStore: { claim: "model-weights", accessMode: "ReadOnlyMany" },
            // yours: the TLS proxy before the node port
            ingress: { serviceType: "NodePort", nodePort: 30400, url: "https://llm.example.com" },
        },
        pools: {
            "gpu-1xl40s": {
                gpu: { count: 1, product: "L40S", memory: "48Gi" },
                max: 1,
                nodes: ["gpu-node-1"], // yours
                nodeImage: "ubuntu-22.04",
            },
        },
        models: {
            "qwen-8b": {
                id: "Qwen/Qwen3-8B",
                revision: "b968826d9c46dd6066d109eabc6255188de91218",
                pool: "gpu-1xl40s",
                gpus: 1,
                min: 0,
                max: 1,
                idleTtl: "20m",
                coldStart: "5m",
                maxTokens: 8192,
                maxSequences: 32,
            },
        },
        guard: { maxGpus: 1 },
        gateway: { groups: { everyone: { models: ["qwen-8b"] } }, keys: { first: { group: "everyone" } } },
        gpuLayer: { install: "existing" },
        idleScaling: { install: "existing" }, // helm: the stack installs KEDA and its HTTP add-on
    },
});

export const endpoint = llm.endpoint;
export const models = llm.models;
export const apiKeys = llm.apiKeys;

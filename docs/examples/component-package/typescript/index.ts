// Another team's program in TypeScript, with an Ebbtide stack on AWS. The keys are those of docs/stack-file.md.
import * as ebbtide from "@pulumi/ebbtide";

const llm = new ebbtide.Stack("llm", {
    config: {
        environment: "dev",
        platform: { kind: "aws", region: "eu-central-1", account: "123456789012" },
        pools: { "gpu-1xa10g": { machine: "g5.2xlarge", max: 2, spot: true } },
        models: {
            "qwen-8b": {
                id: "Qwen/Qwen3-8B",
                revision: "b968826d9c46dd6066d109eabc6255188de91218",
                pool: "gpu-1xa10g",
                max: 1,
                idleTtl: "20m",
                coldStart: "10m",
                maxTokens: 8192,
            },
        },
        guard: { maxGpus: 2, maxDollarsPerHour: 5 },
        gateway: { groups: { everyone: { models: ["qwen-8b"] } }, keys: { first: { group: "everyone" } } },
    },
});

export const endpoint = llm.endpoint;
export const apiKeys = llm.apiKeys;

// Stand-in for the SDK that `pulumi package add` writes, which takes Pulumi's Node.js language host.
import * as pulumi from "@pulumi/pulumi";

export interface StackArgs {
    config: pulumi.Input<Record<string, any>>;
}

export declare class Stack extends pulumi.ComponentResource {
    readonly endpoint: pulumi.Output<string>;
    readonly models: pulumi.Output<string[]>;
    readonly apiKeys: pulumi.Output<Record<string, string>>;
    constructor(name: string, args: StackArgs, opts?: pulumi.ComponentResourceOptions);
}

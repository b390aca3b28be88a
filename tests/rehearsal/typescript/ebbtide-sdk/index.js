// Stand-in for the SDK that `pulumi package add` writes, which takes Pulumi's Node.js language host.
const pulumi = require("@pulumi/pulumi");
const { version } = require("./package.json");

class Stack extends pulumi.ComponentResource {
    constructor(name, args, opts) {
        const outputs = { endpoint: undefined, models: undefined, apiKeys: undefined };
        super("ebbtide:index:Stack", name, { ...args, ...outputs }, { version, ...opts }, true);
    }
}

exports.Stack = Stack;

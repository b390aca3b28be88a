// Runs the compiled program for the real engine, through Pulumi's own Automation API for Node.js: a stand-in for its
// Node.js language host, which no package registry has.
const automation = require("@pulumi/pulumi/automation");

async function main() {
    const [command, workDir, program, ...rest] = process.argv.slice(2);
    const workspace = await automation.LocalWorkspace.create({ workDir, program: async () => require(program) });
    const stack = await automation.Stack.createOrSelect("test", workspace);
    const options = { onOutput: (text) => process.stdout.write(text), color: "never" };
    if (command === "preview") {
        await stack.preview({ ...options, expectNoChanges: rest.includes("--expect-no-changes") });
    } else {
        await stack[command](options);
    }
}

main().catch((error) => {
    console.error(error.message);
    process.exit(1);
});

// Makes a component of hello-pod.js: `node build.js WIT OUT`, where WIT is the folder of attache:pod's interfaces.

import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [wit, out] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: "hello-pod.js",
  witPath: wit,
  worldName: "command",
  // Without these it would import wasi:http, which only some grants open.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(out, component);

import * as client from "../../../src/client.ts";

// What tests call from outside; each makes trainers as it needs them.
Object.assign(globalThis, { client });

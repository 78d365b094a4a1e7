import { FrameSandbox } from "../../../demo/reward/sandbox.ts";
import * as client from "../../../src/client.ts";

// A page whose trainer runs the user's rewards in the page's sandbox.

Object.assign(globalThis, { client, trainer: client.createTrainer({ rewards: new FrameSandbox() }) });
